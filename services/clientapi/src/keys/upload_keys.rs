//! `POST /_matrix/client/*/keys/upload`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload)

use std::collections::BTreeMap;

use axum::extract::State;
use plexus_events::{
    Object,
    keys::{check_device_keys, check_published_key},
};
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, RawBody};
use plexus_proto::{
    log::v1::{KeyCounts, PublishedKey, UploadKeys, input_user_event::Command},
    user::v1::GetKeyCountsRequest,
};
use prost::Message as _;
use serde_json::json;
use tracing::instrument;

use super::{read_body, stored_form, take_object, wrong_key};
use crate::App;

/// The algorithm that clients look for: of which none is left is told, too.
const USUAL: &str = "signed_curve25519";

#[instrument(name = "http.client.upload_keys", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    body: RawBody,
) -> Result<JsonObject, MatrixError> {
    let mut body = read_body(&body)?;
    let device_keys = match take_object(&mut body, "device_keys")? {
        Some(keys) => {
            check_device_keys(&keys, &user.id, user.device_id.as_str()).map_err(|error| wrong_key(&error))?;
            stored_form(keys)
        }
        None => Vec::new(),
    };
    let one_time_keys = published(take_object(&mut body, "one_time_keys")?)?;
    let fallback_keys = published(take_object(&mut body, "fallback_keys")?)?;
    let mut algorithms: Vec<&str> = fallback_keys.iter().map(|key| key.algorithm.as_str()).collect();
    algorithms.dedup();
    if algorithms.len() < fallback_keys.len() {
        return Err(MatrixError::invalid_param("There may be one fallback key of an algorithm"));
    }
    let device_id = user.device_id.to_string();
    let counts = if device_keys.is_empty() && one_time_keys.is_empty() && fallback_keys.is_empty() {
        let request = GetKeyCountsRequest { user_id: user.id.to_string(), device_id: device_id.clone() };
        app.keys.clone().get_key_counts(request).await?.into_inner().devices.remove(&device_id)
    } else {
        let device_keys = device_keys.into();
        let command = UploadKeys { device_id, device_keys, one_time_keys, fallback_keys };
        let accepted = app.input.submit_user(&user.id, Command::UploadKeys(command)).await?;
        Some(KeyCounts::decode(accepted.payload).map_err(|error| {
            tracing::error!(%error, "the answer to uploaded keys cannot be read");
            MatrixError::internal()
        })?)
    };
    let mut counts: BTreeMap<String, u32> = counts.unwrap_or_default().one_time_keys.into_iter().collect();
    counts.entry(USUAL.to_owned()).or_default();
    JsonObject::of(&json!({ "one_time_key_counts": counts }))
}

/// Checks one-time or fallback keys; they are sorted by algorithm and ID.
fn published(keys: Option<Object>) -> Result<Vec<PublishedKey>, MatrixError> {
    let mut published = Vec::new();
    for (name, key) in keys.into_iter().flatten() {
        let (algorithm, key_id) = check_published_key(&name, &key).map_err(|error| wrong_key(&error))?;
        published.push(PublishedKey {
            algorithm: algorithm.to_owned(),
            key_id: key_id.to_owned(),
            key: key.to_string().into(),
        });
    }
    Ok(published)
}
