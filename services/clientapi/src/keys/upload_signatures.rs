//! `POST /_matrix/client/*/keys/signatures/upload`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload)

use std::collections::BTreeMap;

use axum::extract::State;
use plexus_events::{Value, keys::signatures_by};
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, RawBody};
use plexus_proto::log::v1::{
    KeyFailure, KeyFailures, SignedKey, UploadSignatures, input_user_event::Command,
};
use prost::Message as _;
use serde_json::json;
use tracing::instrument;

use super::{read_body, stored_form, user_id};
use crate::App;

/// Most keys that are signed at once, and signatures of a user on one.
const MAX_SIGNED_KEYS: usize = 500;
const MAX_OWN_SIGNATURES: usize = 100;

#[instrument(name = "http.client.upload_signatures", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    body: RawBody,
) -> Result<JsonObject, MatrixError> {
    let mut keys = Vec::new();
    for (id, objects) in read_body(&body)? {
        user_id(&id)?;
        let Value::Object(objects) = objects else {
            return Err(MatrixError::bad_json("The body must hold an object for each user"));
        };
        for (key, object) in objects {
            let Value::Object(object) = object else {
                return Err(MatrixError::bad_json("The body must hold an object for each key"));
            };
            if key.contains('\0') {
                return Err(MatrixError::invalid_param("The name of a key has a NUL"));
            }
            let signers = signatures_by(&object, user.id.as_str());
            let signing_devices: Vec<String> = signers
                .filter_map(|(key_id, _)| key_id.strip_prefix("ed25519:"))
                .filter(|device| !device.contains('\0'))
                .map(ToOwned::to_owned)
                .collect();
            if signing_devices.len() > MAX_OWN_SIGNATURES {
                let message = format!("A key may have {MAX_OWN_SIGNATURES} signatures of a user");
                return Err(MatrixError::invalid_param(message));
            }
            keys.push(SignedKey {
                user_id: id.clone(),
                key,
                object: stored_form(object).into(),
                signing_devices,
            });
        }
    }
    if keys.len() > MAX_SIGNED_KEYS {
        return Err(MatrixError::too_large(format!("At most {MAX_SIGNED_KEYS} keys may be signed at once")));
    }
    let mut failures: BTreeMap<String, BTreeMap<String, serde_json::Value>> = BTreeMap::new();
    if !keys.is_empty() {
        let command = Command::UploadSignatures(UploadSignatures { keys });
        let accepted = app.input.submit_user(&user.id, command).await?;
        let answer = KeyFailures::decode(accepted.payload).map_err(|error| {
            tracing::error!(%error, "the answer to uploaded signatures cannot be read");
            MatrixError::internal()
        })?;
        for KeyFailure { user_id, key, is_known, message } in answer.failures {
            let errcode = if is_known { "M_INVALID_SIGNATURE" } else { "M_NOT_FOUND" };
            let failure = json!({ "errcode": errcode, "error": message });
            failures.entry(user_id).or_default().insert(key, failure);
        }
    }
    JsonObject::of(&json!({ "failures": failures }))
}
