//! `POST /_matrix/federation/v1/user/keys/claim`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysclaim)
//!
//! A request has nothing that names it: one that comes twice asks for two keys.

use std::collections::BTreeMap;

use axum::extract::State;
use futures::StreamExt as _;
use plexus_matrix_http::{Json, JsonObject, MatrixError};
use plexus_proto::log::v1::{ClaimKeys, ClaimedKeys, KeyClaim, input_user_event::Command};
use prost::Message as _;
use ruma::UserId;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tracing::instrument;

use super::own_user;
use crate::{
    Federation,
    receiver::{Query, Signed},
};

/// Most keys that a request claims, claims of one command, and commands at a time.
const MAX_CLAIMED_KEYS: usize = 1_000;
const CLAIMS_OF_COMMAND: usize = 24;
const COMMANDS_AT_ONCE: usize = 16;

#[derive(Deserialize)]
struct Body {
    one_time_keys: BTreeMap<String, BTreeMap<String, String>>,
}

/// By user, device, and algorithm with ID.
type Claimed = BTreeMap<String, BTreeMap<String, BTreeMap<String, Box<RawValue>>>>;

#[instrument(name = "http.server.claim_keys", skip_all, fields(origin = %signed.origin))]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    signed: Signed<Query>,
) -> Result<JsonObject, MatrixError> {
    let Json(body) = Json::<Body>::parse(&signed.body)?;
    if body.one_time_keys.values().map(BTreeMap::len).sum::<usize>() > MAX_CLAIMED_KEYS {
        return Err(MatrixError::too_large(format!("At most {MAX_CLAIMED_KEYS} keys may be claimed")));
    }
    let mut commands = Vec::new();
    let mut owners = Vec::new();
    for (user_id, devices) in body.one_time_keys {
        let owner = own_user(&user_id, federation.name())?;
        if devices.iter().any(|(device, algorithm)| device.contains('\0') || algorithm.contains('\0')) {
            return Err(MatrixError::invalid_param("A device or an algorithm has a NUL"));
        }
        owners.push((owner.clone(), u32::try_from(devices.len()).unwrap_or(u32::MAX)));
        let claim = |(device_id, algorithm)| KeyClaim { device_id, algorithm };
        let claims: Vec<KeyClaim> = devices.into_iter().map(claim).collect();
        let chunks = claims.chunks(CLAIMS_OF_COMMAND);
        commands.extend(chunks.map(|claims| (owner.clone(), ClaimKeys { claims: claims.to_vec() })));
    }
    for (owner, keys) in owners.iter().filter(|(_, keys)| *keys > 0) {
        let taken = federation.quotas.claims.take((signed.origin.as_str(), owner.as_str()), *keys);
        taken.map_err(MatrixError::limit_exceeded)?;
    }
    let mut answers = futures::stream::iter(commands)
        .map(|(owner, command)| {
            let federation = &federation;
            async move { (claim(federation, &owner, command).await, owner) }
        })
        .buffer_unordered(COMMANDS_AT_ONCE);
    let (mut claimed, mut failure) = (Claimed::new(), None);
    while let Some((answer, owner)) = answers.next().await {
        let keys = match answer {
            Ok(keys) => keys,
            Err(error) => {
                failure = Some(error);
                continue;
            }
        };
        for key in keys.keys {
            let value =
                String::from_utf8(key.key.to_vec()).ok().and_then(|key| RawValue::from_string(key).ok());
            let Some(value) = value else {
                tracing::error!(user.id = %owner, "a stored one-time key is no JSON");
                continue;
            };
            let devices = claimed.entry(owner.to_string()).or_default();
            let name = format!("{}:{}", key.algorithm, key.key_id);
            devices.entry(key.device_id).or_default().insert(name, value);
        }
    }
    match failure {
        // What others have given is gone for good: it is told all the same.
        Some(error) if claimed.is_empty() => Err(error),
        Some(_) | None => JsonObject::of(&json!({ "one_time_keys": claimed })),
    }
}

async fn claim(
    federation: &Federation,
    owner: &UserId,
    command: ClaimKeys,
) -> Result<ClaimedKeys, MatrixError> {
    let accepted = federation.input.submit_user(owner, Command::ClaimKeys(command)).await?;
    ClaimedKeys::decode(accepted.payload).map_err(|error| {
        tracing::error!(%error, "the answer to a claim cannot be read");
        MatrixError::internal()
    })
}
