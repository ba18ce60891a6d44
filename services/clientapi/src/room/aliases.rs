//! `GET /_matrix/client/*/rooms/{roomId}/aliases`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidaliases)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::room::aliases;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.aliases", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<aliases::v3::Request>,
) -> Result<Matrix<aliases::v3::Response>, MatrixError> {
    user.not_guest()?;
    let aliases = app.rooms.aliases(&user.id, &request.room_id).await?;
    Ok(Matrix(aliases::v3::Response::new(aliases)))
}
