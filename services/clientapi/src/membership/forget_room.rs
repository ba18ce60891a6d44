//! `POST /_matrix/client/*/rooms/{roomId}/forget`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::membership::forget_room;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.forget_room", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<forget_room::v3::Request>,
) -> Result<Matrix<forget_room::v3::Response>, MatrixError> {
    user.not_guest()?;
    app.rooms.forget(&user.id, &request.room_id).await?;
    Ok(Matrix(forget_room::v3::Response::new()))
}
