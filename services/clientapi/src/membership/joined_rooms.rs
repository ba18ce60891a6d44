//! `GET /_matrix/client/*/joined_rooms`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3joined_rooms)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::membership::joined_rooms;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.joined_rooms", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(_): Matrix<joined_rooms::v3::Request>,
) -> Result<Matrix<joined_rooms::v3::Response>, MatrixError> {
    let rooms = app.rooms.joined_rooms(&user.id).await?;
    Ok(Matrix(joined_rooms::v3::Response::new(rooms)))
}
