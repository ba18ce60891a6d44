//! `GET /_matrix/client/v1/rooms/{roomId}/threads`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidthreads)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::threads::get_threads;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_threads", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<get_threads::v1::Request>,
) -> Result<Matrix<get_threads::v1::Response>, MatrixError> {
    Ok(Matrix(app.rooms.threads(&user, &request).await?))
}
