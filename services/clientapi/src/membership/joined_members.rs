//! `GET /_matrix/client/*/rooms/{roomId}/joined_members`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, Matrix, MatrixError};
use ruma::api::client::membership::joined_members;
use serde_json::json;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.joined_members", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<joined_members::v3::Request>,
) -> Result<JsonObject, MatrixError> {
    user.not_guest()?;
    let joined = app.rooms.joined_members(&user.id, &request.room_id).await?;
    JsonObject::of(&json!({ "joined": joined }))
}
