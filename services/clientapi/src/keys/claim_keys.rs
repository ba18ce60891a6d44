//! `POST /_matrix/client/*/keys/claim`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim)

use std::collections::BTreeMap;

use axum::extract::State;
use futures::StreamExt as _;
use plexus_events::Value;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, RawBody};
use plexus_proto::{
    federation::v1::UserClaims,
    log::v1::{ClaimKeys, ClaimedKey, ClaimedKeys, KeyClaim, input_user_event::Command},
};
use prost::Message as _;
use ruma::OwnedUserId;
use serde_json::{json, value::RawValue};
use tracing::instrument;

use super::{
    failures, read_body,
    remote::{self, Failures},
    take_object, timeout, user_id,
};
use crate::App;

/// Most keys that a request claims.
const MAX_CLAIMED_KEYS: usize = 1000;
/// Claims of one command, so that its answer stays small.
const CLAIMS_OF_COMMAND: usize = 24;
/// Commands of one request at a time.
const COMMANDS_AT_ONCE: usize = 32;

/// By user, device, and algorithm with ID.
type Claimed = BTreeMap<String, BTreeMap<String, BTreeMap<String, Box<RawValue>>>>;

#[instrument(name = "http.client.claim_keys", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    body: RawBody,
) -> Result<JsonObject, MatrixError> {
    let mut body = read_body(&body)?;
    let asked = take_object(&mut body, "one_time_keys")?
        .ok_or_else(|| MatrixError::missing_param("`one_time_keys` is missing"))?;
    let timeout_ms = timeout(&body)?;
    let (mut commands, mut owners, mut elsewhere, mut count) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (id, devices) in &asked {
        let owner = user_id(id)?;
        let claims = claims(devices)?;
        count += claims.len();
        owners.push((owner.to_owned(), claims.len()));
        if owner.server_name() == app.server_name {
            let chunks = claims.chunks(CLAIMS_OF_COMMAND);
            commands.extend(chunks.map(|claims| (owner.to_owned(), ClaimKeys { claims: claims.to_vec() })));
        } else {
            elsewhere.push(UserClaims { user_id: id.clone(), claims });
        }
    }
    if count > MAX_CLAIMED_KEYS {
        return Err(MatrixError::too_large(format!("At most {MAX_CLAIMED_KEYS} keys may be claimed")));
    }
    for (owner, keys) in &owners {
        app.limits.check_claim(&user.id, owner, *keys)?;
    }
    let mut failed = Failures::new();
    let mut claimed = Claimed::new();
    for user in remote::claim(&app, elsewhere, timeout_ms, &mut failed).await {
        add(&mut claimed, &user.user_id, user.keys);
    }
    let mut answers = futures::stream::iter(commands)
        .map(|(owner, command)| {
            let app = app.clone();
            async move { (claim(&app, &owner, command).await, owner) }
        })
        .buffer_unordered(COMMANDS_AT_ONCE);
    while let Some((answer, owner)) = answers.next().await {
        let Ok(keys) = answer else {
            // What others have given is gone for good: it is told all the same.
            failed.insert(app.server_name.to_string(), "The key could not be claimed".to_owned());
            continue;
        };
        add(&mut claimed, owner.as_str(), keys.keys);
    }
    JsonObject::of(&json!({ "one_time_keys": claimed, "failures": failures(&failed) }))
}

fn add(claimed: &mut Claimed, owner: &str, keys: Vec<ClaimedKey>) {
    for key in keys {
        let value = String::from_utf8(key.key.to_vec()).ok().and_then(|key| RawValue::from_string(key).ok());
        let Some(value) = value else {
            tracing::error!(user.id = owner, "a one-time key is no JSON");
            continue;
        };
        let devices = claimed.entry(owner.to_owned()).or_default();
        let name = format!("{}:{}", key.algorithm, key.key_id);
        devices.entry(key.device_id).or_default().insert(name, value);
    }
}

fn claims(devices: &Value) -> Result<Vec<KeyClaim>, MatrixError> {
    let wrong = || MatrixError::bad_json("`one_time_keys` must hold an algorithm for each device");
    let devices = devices.as_object().ok_or_else(wrong)?;
    let claim = |(device_id, algorithm): (&String, &Value)| {
        let algorithm = algorithm.as_str().filter(|algorithm| !algorithm.contains('\0')).ok_or_else(wrong)?;
        if device_id.contains('\0') {
            return Err(wrong());
        }
        Ok(KeyClaim { device_id: device_id.clone(), algorithm: algorithm.to_owned() })
    };
    devices.iter().map(claim).collect()
}

async fn claim(app: &App, owner: &OwnedUserId, command: ClaimKeys) -> Result<ClaimedKeys, MatrixError> {
    let accepted = app.input.submit_user(owner, Command::ClaimKeys(command)).await?;
    ClaimedKeys::decode(accepted.payload).map_err(|error| {
        tracing::error!(%error, "the answer to a claim cannot be read");
        MatrixError::internal()
    })
}
