//! `POST /_matrix/client/*/rooms/{roomId}/leave`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidleave)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::membership::leave_room;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.leave_room", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<leave_room::v3::Request>,
) -> Result<Matrix<leave_room::v3::Response>, MatrixError> {
    app.rooms.leave(&user.id, &request.room_id, request.reason.as_deref()).await?;
    Ok(Matrix(leave_room::v3::Response::new()))
}
