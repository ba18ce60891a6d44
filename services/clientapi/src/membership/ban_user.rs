//! `POST /_matrix/client/*/rooms/{roomId}/ban`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidban)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::membership::ban_user;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.ban_user", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<ban_user::v3::Request>,
) -> Result<Matrix<ban_user::v3::Response>, MatrixError> {
    user.not_guest()?;
    app.rooms.ban(&user.id, &request.room_id, &request.user_id, request.reason.as_deref()).await?;
    Ok(Matrix(ban_user::v3::Response::new()))
}
