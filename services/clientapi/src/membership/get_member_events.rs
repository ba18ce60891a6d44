//! `GET /_matrix/client/*/rooms/{roomId}/members`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers)

use axum::{extract::State, response::Response};
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::membership::get_member_events;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_member_events", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<get_member_events::v3::Request>,
) -> Result<Response, MatrixError> {
    app.rooms.members(&user, &request).await
}
