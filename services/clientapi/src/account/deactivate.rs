//! `POST /_matrix/client/*/account/deactivate`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use plexus_proto::log::v1::{Deactivate, input_user_event::Command};
use ruma::api::client::account::{ThirdPartyIdRemovalStatus, deactivate::v3::Response};
use serde::Deserialize;
use tracing::instrument;

use crate::{
    App, account,
    uia::{self, InteractiveRequest, Operation, Stage},
};

#[derive(Debug, Deserialize)]
struct Params {
    #[serde(default)]
    erase: bool,
}

#[instrument(name = "http.client.deactivate", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    request: InteractiveRequest,
) -> Result<Matrix<Response>, MatrixError> {
    let operation =
        Operation { endpoint: "account/deactivate", user: Some(&user), flows: &[&[Stage::Password]] };
    let params = uia::authenticate(&app, operation, request).await?;
    let params: Params = uia::read_params(&params)?;
    let command = Command::Deactivate(Deactivate { erase: params.erase });
    app.input.submit_user(&user.id, command).await?;
    account::await_rooms(&app, &user.id).await;
    // No third-party identifier was ever bound here.
    Ok(Matrix(Response::new(ThirdPartyIdRemovalStatus::Success)))
}
