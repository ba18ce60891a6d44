//! `POST /_matrix/client/*/delete_devices`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3delete_devices)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use plexus_proto::log::v1::{DeleteDevices, input_user_event::Command};
use ruma::api::client::device::delete_devices::v3::Response;
use serde::Deserialize;
use tracing::instrument;

use crate::{
    App,
    uia::{self, InteractiveRequest, Operation, Stage},
};

#[derive(Debug, Deserialize)]
struct Params {
    devices: Vec<String>,
}

#[instrument(name = "http.client.delete_devices", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    request: InteractiveRequest,
) -> Result<Matrix<Response>, MatrixError> {
    let operation = Operation { endpoint: "delete_devices", user: Some(&user), flows: &[&[Stage::Password]] };
    let params = uia::authenticate(&app, operation, request).await?;
    let params: Params = uia::read_params(&params)?;
    if !params.devices.is_empty() {
        let command = Command::DeleteDevices(DeleteDevices { device_ids: params.devices, all: false });
        app.input.submit_user(&user.id, command).await?;
    }
    Ok(Matrix(Response::new()))
}
