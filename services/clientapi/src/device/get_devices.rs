//! `GET /_matrix/client/*/devices`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devices)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::device::get_devices::v3::Response;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_devices", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
) -> Result<Matrix<Response>, MatrixError> {
    Ok(Matrix(Response::new(super::list(&app, &user.id, Vec::new()).await?)))
}
