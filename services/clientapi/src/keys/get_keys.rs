//! `POST /_matrix/client/*/keys/query`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery)

use std::collections::{BTreeMap, HashMap};

use axum::extract::State;
use plexus_events::{Object, Value, canonical};
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, RawBody};
use plexus_proto::user::v1::{KeySignature, QueryKeysRequest, UserKeys, WantedKeys};
use ruma::UserId;
use serde_json::json;
use tracing::instrument;

use super::{
    failures, read_body,
    remote::{self, Failures},
    take_object, timeout, user_id,
};
use crate::App;

/// Most users, and devices of one, whose keys are asked for.
const MAX_QUERIED_USERS: usize = 1000;
const MAX_QUERIED_DEVICES: usize = 1000;
/// Users of one call.
const USERS_OF_CALL: usize = 250;

/// The answer, but for `failures`.
#[derive(Default)]
struct Answer {
    devices: BTreeMap<String, BTreeMap<String, Object>>,
    masters: BTreeMap<String, Object>,
    self_signing: BTreeMap<String, Object>,
    user_signing: BTreeMap<String, Object>,
}

#[instrument(name = "http.client.get_keys", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    body: RawBody,
) -> Result<JsonObject, MatrixError> {
    let mut body = read_body(&body)?;
    let asked = take_object(&mut body, "device_keys")?
        .ok_or_else(|| MatrixError::missing_param("`device_keys` is missing"))?;
    let timeout_ms = timeout(&body)?;
    if asked.len() > MAX_QUERIED_USERS {
        return Err(MatrixError::too_large(format!("At most {MAX_QUERIED_USERS} users may be asked for")));
    }
    let (mut wanted, mut elsewhere) = (Vec::new(), Vec::new());
    for (id, devices) in &asked {
        let user_id = user_id(id)?;
        let device_ids = device_ids(devices)?;
        if user_id.server_name() == app.server_name {
            wanted.push(WantedKeys { user_id: id.clone(), device_ids });
        } else {
            elsewhere.push(WantedKeys { user_id: id.clone(), device_ids });
        }
    }
    let (mut answer, mut failed) = (Answer::default(), Failures::new());
    let remote = remote::query(&app, elsewhere.clone(), timeout_ms, &mut failed);
    let (remote, signatures) = tokio::join!(remote, own_signatures(&app, &user.id, &elsewhere));
    let mut signatures = signatures?;
    for mut keys in remote {
        keys.signatures = signatures.remove(&keys.user_id).unwrap_or_default();
        answer.add(keys)?;
    }
    for wanted in wanted.chunks(USERS_OF_CALL) {
        // Who has no keys is told, too: else clients take it for a failure.
        answer.devices.extend(wanted.iter().map(|user| (user.user_id.clone(), BTreeMap::new())));
        let request = QueryKeysRequest { viewer: user.id.to_string(), users: wanted.to_vec() };
        for keys in app.keys.clone().query_keys(request).await?.into_inner().users {
            answer.add(keys)?;
        }
    }
    let Answer { devices, masters, self_signing, user_signing } = answer;
    JsonObject::of(&json!({
        "device_keys": devices,
        "failures": failures(&failed),
        "master_keys": masters,
        "self_signing_keys": self_signing,
        "user_signing_keys": user_signing,
    }))
}

/// The signatures of a user on keys of users of other servers.
async fn own_signatures(
    app: &App,
    viewer: &UserId,
    users: &[WantedKeys],
) -> Result<HashMap<String, Vec<KeySignature>>, MatrixError> {
    let mut signatures = HashMap::new();
    for users in users.chunks(USERS_OF_CALL) {
        let request = QueryKeysRequest { viewer: viewer.to_string(), users: users.to_vec() };
        for keys in app.keys.clone().query_keys(request).await?.into_inner().users {
            signatures.insert(keys.user_id, keys.signatures);
        }
    }
    Ok(signatures)
}

fn device_ids(devices: &Value) -> Result<Vec<String>, MatrixError> {
    let Value::Array(devices) = devices else {
        return Err(MatrixError::bad_json("`device_keys` must hold lists of device IDs"));
    };
    if devices.len() > MAX_QUERIED_DEVICES {
        let message = format!("At most {MAX_QUERIED_DEVICES} devices of a user may be asked for");
        return Err(MatrixError::too_large(message));
    }
    let id = |device: &Value| device.as_str().filter(|id| !id.contains('\0')).map(ToOwned::to_owned);
    let ids: Option<Vec<String>> = devices.iter().map(id).collect();
    ids.ok_or_else(|| MatrixError::bad_json("a device ID must be a string without a NUL"))
}

impl Answer {
    fn add(&mut self, keys: UserKeys) -> Result<(), MatrixError> {
        let UserKeys { user_id, devices, master_key, self_signing_key, user_signing_key, signatures, .. } =
            keys;
        let mut by_key: HashMap<String, Vec<KeySignature>> = HashMap::new();
        for signature in signatures {
            by_key.entry(signature.key.clone()).or_default().push(signature);
        }
        let of_user = self.devices.entry(user_id.clone()).or_default();
        for device in devices {
            let mut object = stored(&device.keys)?;
            sign(&mut object, by_key.get(&device.device_id));
            if let Some(name) = device.display_name {
                let unsigned = Object::from([("device_display_name".to_owned(), Value::String(name))]);
                object.insert("unsigned".to_owned(), Value::Object(unsigned));
            }
            of_user.insert(device.device_id, object);
        }
        for (key, into) in [
            (master_key, &mut self.masters),
            (self_signing_key, &mut self.self_signing),
            (user_signing_key, &mut self.user_signing),
        ] {
            if key.is_empty() {
                continue;
            }
            let mut object = stored(&key)?;
            let public = object.get("keys").and_then(Value::as_object).and_then(|keys| keys.values().next());
            let signatures = public.and_then(Value::as_str).and_then(|public| by_key.get(public));
            sign(&mut object, signatures);
            into.insert(user_id.clone(), object);
        }
        Ok(())
    }
}

fn stored(key: &[u8]) -> Result<Object, MatrixError> {
    canonical::parse_object(key).map_err(|error| {
        tracing::error!(%error, "a stored key is no object");
        MatrixError::internal()
    })
}

/// Adds signatures that were uploaded apart.
fn sign(object: &mut Object, signatures: Option<&Vec<KeySignature>>) {
    for signature in signatures.into_iter().flatten() {
        let all = object.entry("signatures".to_owned()).or_insert_with(|| Value::Object(Object::new()));
        let Value::Object(all) = all else { continue };
        let by_user =
            all.entry(signature.signer_user_id.clone()).or_insert_with(|| Value::Object(Object::new()));
        if let Value::Object(by_user) = by_user {
            by_user.insert(signature.signer_key_id.clone(), Value::String(signature.signature.clone()));
        }
    }
}
