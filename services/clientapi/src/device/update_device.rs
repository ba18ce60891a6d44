//! `PUT /_matrix/client/*/devices/{deviceId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3devicesdeviceid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use plexus_proto::log::v1::{UpdateDevice, input_user_event::Command};
use ruma::api::client::device::update_device::v3::{Request, Response};
use tracing::instrument;

use crate::{App, session};

#[instrument(name = "http.client.update_device", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<Request>,
) -> Result<Matrix<Response>, MatrixError> {
    if let Some(name) = &request.display_name {
        session::check_device_name(name)?;
    }
    let command = Command::UpdateDevice(UpdateDevice {
        device_id: request.device_id.to_string(),
        display_name: request.display_name,
    });
    app.input.submit_user(&user.id, command).await?;
    Ok(Matrix(Response::new()))
}
