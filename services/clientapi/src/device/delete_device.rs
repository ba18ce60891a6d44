//! `DELETE /_matrix/client/*/devices/{deviceId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3devicesdeviceid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError, PathArgs};
use plexus_proto::log::v1::{DeleteDevices, input_user_event::Command};
use ruma::api::client::device::delete_device::v3::Response;
use tracing::instrument;

use crate::{
    App,
    uia::{self, InteractiveRequest, Operation, Stage},
};

#[instrument(name = "http.client.delete_device", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((device_id,)): PathArgs<(String,)>,
    request: InteractiveRequest,
) -> Result<Matrix<Response>, MatrixError> {
    let endpoint = format!("devices/{device_id}");
    let operation = Operation { endpoint: &endpoint, user: Some(&user), flows: &[&[Stage::Password]] };
    uia::authenticate(&app, operation, request).await?;
    let command = Command::DeleteDevices(DeleteDevices { device_ids: vec![device_id], all: false });
    app.input.submit_user(&user.id, command).await?;
    Ok(Matrix(Response::new()))
}
