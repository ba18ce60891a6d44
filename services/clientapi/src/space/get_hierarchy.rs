//! `GET /_matrix/client/v1/rooms/{roomId}/hierarchy`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, Matrix, MatrixError};
use ruma::api::client::space::get_hierarchy;
use tracing::instrument;

use crate::{App, rooms::SpaceRequest};

#[instrument(name = "http.client.get_hierarchy", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<get_hierarchy::v1::Request>,
) -> Result<JsonObject, MatrixError> {
    let asked = SpaceRequest {
        room_id: &request.room_id,
        suggested_only: request.suggested_only,
        max_depth: request.max_depth.map(u64::from),
        limit: request.limit.map(u64::from),
        from: request.from.as_deref(),
    };
    JsonObject::of(&app.rooms.hierarchy(&user, asked).await?)
}
