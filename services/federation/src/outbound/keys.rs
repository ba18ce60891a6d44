//! `OutboundService.QueryKeys` and `OutboundService.ClaimKeys`

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::Method;
use plexus_events::{
    Object, Value, canonical,
    keys::{check_cross_signing_key, check_device_keys, check_published_key, find_signature, is_signed},
};
use plexus_proto::{
    federation::v1::{
        ClaimKeysRequest, ClaimKeysResponse, QueryKeysRequest, QueryKeysResponse, ServerFailure, UserClaimed,
        UserClaims,
    },
    log::v1::ClaimedKey,
    user::v1::{DeviceKeys, UserKeys, WantedKeys},
};
use plexus_s2s::{Call, CallError, Class};
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};
use tokio::time::timeout;
use tonic::Status;
use tracing::{debug, instrument};

use super::{any_user, invalid};
use crate::Federation;

/// Most users, and keys, that are asked for.
const MAX_ASKED: usize = 1_000;
/// How long servers are waited for, if nothing is said, and at most.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_PATIENCE: Duration = Duration::from_secs(30);
/// Servers that are asked at a time.
const SERVERS_AT_ONCE: usize = 20;
/// Most bytes of an answer, of the keys of a device, and of another key.
const MAX_ANSWER: usize = 8 << 20;
const MAX_DEVICE_KEYS: usize = 64 * 1024;
const MAX_KEY: usize = 16 * 1024;
/// Most devices of a user that are told.
const MAX_DEVICES: usize = 5_000;
/// Most bytes of the name of a device.
const MAX_NAME: usize = 255;

#[derive(Deserialize)]
struct Queried {
    device_keys: BTreeMap<String, BTreeMap<String, Box<RawValue>>>,
    #[serde(default)]
    master_keys: BTreeMap<String, Box<RawValue>>,
    #[serde(default)]
    self_signing_keys: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct Claimed {
    one_time_keys: BTreeMap<String, BTreeMap<String, BTreeMap<String, Box<RawValue>>>>,
}

/// Asks for keys.
#[instrument(name = "rpc.outbound.query_keys", skip_all)]
pub(super) async fn query(
    federation: &Federation,
    request: QueryKeysRequest,
) -> Result<QueryKeysResponse, Status> {
    let QueryKeysRequest { users, timeout_ms } = request;
    if users.len() > MAX_ASKED {
        return Err(invalid("users", format!("at most {MAX_ASKED} may be asked for")));
    }
    let mut servers: HashMap<OwnedServerName, Vec<(OwnedUserId, WantedKeys)>> = HashMap::new();
    for wanted in users {
        let user = other_user(federation, &wanted.user_id)?;
        servers.entry(user.server_name().to_owned()).or_default().push((user, wanted));
    }
    let body = |users: &[(OwnedUserId, WantedKeys)]| {
        let keys = users.iter().map(|(_, wanted)| (wanted.user_id.as_str(), wanted.device_ids.as_slice()));
        json!({ "device_keys": keys.collect::<BTreeMap<_, _>>() })
    };
    let read = |(user, wanted): &(OwnedUserId, WantedKeys), answer: &Queried| read_keys(user, wanted, answer);
    let (users, failures) = ask_each(federation, "query", timeout_ms, servers, body, read).await;
    Ok(QueryKeysResponse { users, failures })
}

/// Claims keys.
#[instrument(name = "rpc.outbound.claim_keys", skip_all)]
pub(super) async fn claim(
    federation: &Federation,
    request: ClaimKeysRequest,
) -> Result<ClaimKeysResponse, Status> {
    let ClaimKeysRequest { users, timeout_ms } = request;
    if users.iter().map(|user| user.claims.len().max(1)).sum::<usize>() > MAX_ASKED {
        return Err(invalid("users", format!("at most {MAX_ASKED} keys may be claimed")));
    }
    let mut servers: HashMap<OwnedServerName, Vec<UserClaims>> = HashMap::new();
    for claims in users {
        let user = other_user(federation, &claims.user_id)?;
        servers.entry(user.server_name().to_owned()).or_default().push(claims);
    }
    let body = |users: &[UserClaims]| {
        let claims = users.iter().map(|user| {
            let devices = user.claims.iter();
            let devices = devices.map(|claim| (claim.device_id.as_str(), claim.algorithm.as_str()));
            (user.user_id.as_str(), devices.collect::<BTreeMap<_, _>>())
        });
        json!({ "one_time_keys": claims.collect::<BTreeMap<_, _>>() })
    };
    let (mut users, failures) = ask_each(federation, "claim", timeout_ms, servers, body, read_claimed).await;
    users.retain(|user| !user.keys.is_empty());
    Ok(ClaimKeysResponse { users, failures })
}

/// Asks each server about its users, several servers at a time; reads what it answers of each of them.
async fn ask_each<W, A: DeserializeOwned, R>(
    federation: &Federation,
    what: &str,
    timeout_ms: u32,
    servers: HashMap<OwnedServerName, Vec<W>>,
    body: fn(&[W]) -> serde_json::Value,
    read: fn(&W, &A) -> R,
) -> (Vec<R>, Vec<ServerFailure>) {
    let patience = patience(timeout_ms);
    let mut answers = futures::stream::iter(servers)
        .map(|(server, users)| async move {
            let answer = ask(federation, &server, what, &body(&users), patience).await;
            let answer =
                answer.and_then(|body| serde_json::from_slice(&body).map_err(|error| error.to_string()));
            (server, answer.map(|answer| users.iter().map(|user| read(user, &answer)).collect::<Vec<_>>()))
        })
        .buffer_unordered(SERVERS_AT_ONCE);
    let (mut users, mut failures) = (Vec::new(), Vec::new());
    while let Some((server, answer)) = answers.next().await {
        match answer {
            Ok(read) => users.extend(read),
            Err(message) => failures.push(failure(&server, message)),
        }
    }
    (users, failures)
}

fn other_user(federation: &Federation, id: &str) -> Result<OwnedUserId, Status> {
    let user = any_user("user_id", id)?;
    let is_ours = user.server_name() == federation.name();
    if is_ours { Err(invalid("user_id", "is a user of this server")) } else { Ok(user) }
}

fn patience(timeout_ms: u32) -> Duration {
    if timeout_ms == 0 { PATIENCE } else { Duration::from_millis(timeout_ms.into()).min(MAX_PATIENCE) }
}

fn failure(server: &ServerName, message: String) -> ServerFailure {
    debug!(%server, message, "another server does not tell keys");
    ServerFailure { server: server.to_string(), message: message.chars().take(200).collect() }
}

async fn ask(
    federation: &Federation,
    server: &ServerName,
    what: &str,
    body: &serde_json::Value,
    patience: Duration,
) -> Result<Bytes, String> {
    let path = format!("/_matrix/federation/v1/user/keys/{what}");
    let call = Call {
        destination: server,
        method: Method::POST,
        path: &path,
        body: Some(body.to_string().into()),
        class: Class {
            name: "user_keys",
            deadline: PATIENCE.max(patience),
            max_body: MAX_ANSWER,
            ..Class::QUERY
        },
        is_signed: true,
    };
    match timeout(patience, federation.peers.call(call)).await {
        Ok(Ok(answer)) => Ok(answer.body),
        Ok(Err(CallError::BackOff { .. })) => Err("The server did not answer lately".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("The server did not answer in time".to_owned()),
    }
}

/// What a server says of the keys of a user whom it was asked for, as far as it makes sense.
fn read_keys(user: &UserId, wanted: &WantedKeys, answer: &Queried) -> UserKeys {
    let mut keys = UserKeys { user_id: user.to_string(), ..UserKeys::default() };
    let is_wanted: HashSet<&str> = wanted.device_ids.iter().map(String::as_str).collect();
    let devices = answer.device_keys.get(user.as_str()).into_iter().flatten();
    let devices = devices.filter(|(id, _)| is_wanted.is_empty() || is_wanted.contains(id.as_str()));
    keys.devices.extend(devices.take(MAX_DEVICES).filter_map(|(id, keys)| read_device(user, id, keys)));
    let cross_signing = |keys: &BTreeMap<String, Box<RawValue>>, usage: &str| {
        let text = keys.get(user.as_str())?.get();
        let object = canonical::parse_object(text.as_bytes()).ok().filter(|_| text.len() <= MAX_KEY)?;
        let public = check_cross_signing_key(&object, user, usage).ok()?.to_owned();
        Some((object, public))
    };
    let Some((master, public)) = cross_signing(&answer.master_keys, "master") else { return keys };
    keys.master_key = stored_form(master);
    if let Some((key, _)) = cross_signing(&answer.self_signing_keys, "self_signing") {
        let signature = find_signature(&key, user.as_str(), &format!("ed25519:{public}"));
        if signature.is_some_and(|signature| is_signed(&key, &public, signature)) {
            keys.self_signing_key = stored_form(key);
        }
    }
    keys
}

fn read_device(user: &UserId, id: &str, keys: &RawValue) -> Option<DeviceKeys> {
    if keys.get().len() > MAX_DEVICE_KEYS {
        return None;
    }
    let mut object = canonical::parse_object(keys.get().as_bytes()).ok()?;
    if let Err(error) = check_device_keys(&object, user, id) {
        debug!(user.id = %user, device.id = id, %error, "keys of a device of another server make no sense");
        return None;
    }
    let unsigned = object.remove("unsigned");
    let name = unsigned.as_ref().and_then(Value::as_object).and_then(|it| it.get("device_display_name"));
    let name = name.and_then(Value::as_str).filter(|name| name.len() <= MAX_NAME).map(ToOwned::to_owned);
    let keys = canonical::object_to_vec(&object).into();
    Some(DeviceKeys { device_id: id.to_owned(), keys, display_name: name })
}

fn stored_form(mut object: Object) -> Bytes {
    object.remove("unsigned");
    canonical::object_to_vec(&object).into()
}

/// What a server has handed out of what was claimed of a user, at most one key for each claim.
fn read_claimed(user: &UserClaims, answer: &Claimed) -> UserClaimed {
    let devices = answer.one_time_keys.get(&user.user_id);
    let keys = user.claims.iter().filter_map(|claim| {
        let keys = devices?.get(&claim.device_id)?;
        keys.iter().find_map(|(name, key)| {
            if key.get().len() > MAX_KEY {
                return None;
            }
            let value = canonical::parse_object(format!("{{\"key\":{}}}", key.get()).as_bytes()).ok()?;
            let value = value.get("key")?;
            let (algorithm, key_id) = check_published_key(name, value).ok()?;
            (algorithm == claim.algorithm).then(|| ClaimedKey {
                device_id: claim.device_id.clone(),
                algorithm: algorithm.to_owned(),
                key_id: key_id.to_owned(),
                key: Bytes::from(key.get().to_owned()),
            })
        })
    });
    UserClaimed { user_id: user.user_id.clone(), keys: keys.collect() }
}
