//! `POST /_matrix/client/*/keys/signatures/upload`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload)

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use bytes::Bytes;
use plexus_events::{Value, keys::signatures_by};
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, RawBody};
use plexus_proto::{
    log::v1::{KeyFailure, KeyFailures, SignedKey, UploadSignatures, input_user_event::Command},
    user::v1::WantedKeys,
};
use prost::Message as _;
use ruma::UserId;
use serde_json::json;
use tracing::instrument;

use super::{
    read_body,
    remote::{self, Failures},
    stored_form, user_id,
};
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
                told_key: Bytes::new(),
            });
        }
    }
    if keys.len() > MAX_SIGNED_KEYS {
        return Err(MatrixError::too_large(format!("At most {MAX_SIGNED_KEYS} keys may be signed at once")));
    }
    add_told_keys(&app, &mut keys).await;
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

/// Adds what other servers tell of the master keys of their users.
async fn add_told_keys(app: &App, keys: &mut [SignedKey]) {
    let is_remote =
        |id: &str| <&UserId>::try_from(id).is_ok_and(|user| user.server_name() != app.server_name);
    let users: BTreeSet<String> =
        keys.iter().map(|key| key.user_id.clone()).filter(|id| is_remote(id)).collect();
    // No device is asked for: there is none without a name.
    let wanted = |user_id| WantedKeys { user_id, device_ids: vec![String::new()] };
    let users = users.into_iter().map(wanted).collect();
    for told in remote::query(app, users, 0, &mut Failures::new()).await {
        for key in keys.iter_mut().filter(|key| key.user_id == told.user_id) {
            key.told_key = told.master_key.clone();
        }
    }
}
