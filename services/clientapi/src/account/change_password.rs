//! `POST /_matrix/client/*/account/password`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use plexus_proto::log::v1::{SetPassword, input_user_event::Command};
use ruma::api::client::account::change_password::v3::Response;
use serde::Deserialize;
use tracing::instrument;

use crate::{
    App,
    uia::{self, InteractiveRequest, Operation, Stage},
};

#[derive(Debug, Deserialize)]
struct Params {
    new_password: Option<String>,
    #[serde(default = "yes")]
    logout_devices: bool,
}

fn yes() -> bool {
    true
}

#[instrument(name = "http.client.change_password", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    request: InteractiveRequest,
) -> Result<Matrix<Response>, MatrixError> {
    user.not_guest()?;
    let operation =
        Operation { endpoint: "account/password", user: Some(&user), flows: &[&[Stage::Password]] };
    let params = uia::authenticate(&app, operation, request).await?;
    let params: Params = uia::read_params(&params)?;
    let password =
        params.new_password.ok_or_else(|| MatrixError::missing_param("`new_password` is missing"))?;
    let command = Command::SetPassword(SetPassword {
        password_hash: app.passwords.hash(&password).await?,
        logout_devices: params.logout_devices,
        keep_device_id: user.device_id.to_string(),
    });
    app.input.submit_user(&user.id, command).await?;
    Ok(Matrix(Response::new()))
}
