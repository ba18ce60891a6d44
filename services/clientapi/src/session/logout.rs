//! `POST /_matrix/client/*/logout`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use plexus_proto::log::v1::{DeleteDevices, input_user_event::Command};
use ruma::api::client::session::logout::v3::Response;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.logout", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
) -> Result<Matrix<Response>, MatrixError> {
    let command =
        Command::DeleteDevices(DeleteDevices { device_ids: vec![user.device_id.to_string()], all: false });
    app.input.submit_user(&user.id, command).await?;
    Ok(Matrix(Response::new()))
}
