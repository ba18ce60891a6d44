//! `POST /_matrix/client/*/keys/device_signing/upload`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload)

use axum::extract::State;
use bytes::Bytes;
use plexus_events::keys::check_cross_signing_key;
use plexus_input::SubmitError;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{UploadCrossSigningKeys, input_user_event::Command},
};
use ruma::UserId;
use serde_json::{Map, Value};
use tracing::instrument;

use super::{canonical_object, stored_form};
use crate::{
    App,
    uia::{self, InteractiveRequest, Operation, Stage},
};

#[instrument(name = "http.client.upload_signing_keys", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    request: InteractiveRequest,
) -> Result<JsonObject, MatrixError> {
    // A client that goes on with a session need not repeat the keys.
    if !(request.params.is_empty() && request.auth.is_some()) {
        // The first keys, and those that are there, need no authentication: who writes them tells which these are.
        let command = read(&user.id, &request.params)?;
        match app.input.submit_user(&user.id, Command::UploadCrossSigningKeys(command)).await {
            Ok(_) => return Ok(JsonObject::empty()),
            Err(SubmitError::Rejected { reason: ErrorReason::BadState, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let operation =
        Operation { endpoint: "keys/device_signing/upload", user: Some(&user), flows: &[&[Stage::Password]] };
    let params = uia::authenticate(&app, operation, request).await?;
    let command = UploadCrossSigningKeys { authenticated: true, ..read(&user.id, &params)? };
    app.input.submit_user(&user.id, Command::UploadCrossSigningKeys(command)).await?;
    Ok(JsonObject::empty())
}

fn read(user: &UserId, params: &Map<String, Value>) -> Result<UploadCrossSigningKeys, MatrixError> {
    let key = |field: &str, usage: &str| match params.get(field) {
        None => Ok(Bytes::new()),
        Some(key @ Value::Object(_)) => {
            let object = canonical_object(key.to_string().as_bytes())?;
            check_cross_signing_key(&object, user, usage)
                .map_err(|error| MatrixError::invalid_param(error.to_string()))?;
            Ok(stored_form(object).into())
        }
        Some(_) => Err(MatrixError::bad_json(format!("`{field}` must be an object"))),
    };
    Ok(UploadCrossSigningKeys {
        master_key: key("master_key", "master")?,
        self_signing_key: key("self_signing_key", "self_signing")?,
        user_signing_key: key("user_signing_key", "user_signing")?,
        authenticated: false,
    })
}
