//! `GET /_matrix/client/*/devices/{deviceId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devicesdeviceid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::device::get_device::v3::{Request, Response};
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_device", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<Request>,
) -> Result<Matrix<Response>, MatrixError> {
    let devices = super::list(&app, &user.id, vec![request.device_id.to_string()]).await?;
    let device = devices.into_iter().next().ok_or_else(super::unknown_device)?;
    Ok(Matrix(Response::new(device)))
}
