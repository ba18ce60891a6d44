//! `POST /_matrix/federation/v1/user/keys/query`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysquery)

use std::collections::BTreeMap;

use axum::extract::State;
use plexus_events::{Object, Value};
use plexus_matrix_http::{Json, JsonObject, MatrixError};
use plexus_proto::user::v1::{QueryKeysRequest, WantedKeys};
use serde::Deserialize;
use serde_json::json;
use tracing::instrument;

use super::own_user;
use crate::{
    Federation,
    receiver::{Query, Signed},
    shown_keys::ShownKeys,
    upstream::{self, timed},
};

/// Most users, and devices of one, whose keys are asked for; and users of one call.
const MAX_USERS: usize = 1_000;
const MAX_DEVICES: usize = 1_000;
const USERS_OF_CALL: usize = 250;

#[derive(Deserialize)]
struct Body {
    device_keys: BTreeMap<String, Vec<String>>,
}

#[instrument(name = "http.server.get_keys", skip_all, fields(origin = %signed.origin))]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    signed: Signed<Query>,
) -> Result<JsonObject, MatrixError> {
    let Json(body) = Json::<Body>::parse(&signed.body)?;
    if body.device_keys.len() > MAX_USERS {
        return Err(MatrixError::too_large(format!("At most {MAX_USERS} users may be asked for")));
    }
    let mut wanted = Vec::with_capacity(body.device_keys.len());
    for (user_id, device_ids) in body.device_keys {
        own_user(&user_id, federation.name())?;
        if device_ids.len() > MAX_DEVICES || device_ids.iter().any(|id| id.contains('\0')) {
            let message = format!("At most {MAX_DEVICES} devices of a user may be asked for, by their IDs");
            return Err(MatrixError::invalid_param(message));
        }
        wanted.push(WantedKeys { user_id, device_ids });
    }
    let mut devices: BTreeMap<String, BTreeMap<String, Object>> =
        wanted.iter().map(|user| (user.user_id.clone(), BTreeMap::new())).collect();
    let (mut masters, mut self_signing) = (BTreeMap::new(), BTreeMap::new());
    for users in wanted.chunks(USERS_OF_CALL) {
        let request = QueryKeysRequest { viewer: String::new(), users: users.to_vec() };
        let found = upstream::keys(&federation.rooms).query_keys(timed(request)).await?.into_inner().users;
        for keys in found {
            let user_id = keys.user_id.clone();
            let shown = ShownKeys::new(keys, federation.config.federation.device_names);
            let of_user = devices.entry(user_id.clone()).or_default();
            for device in shown.devices {
                let mut keys = device.keys;
                if let Some(name) = device.name {
                    let unsigned = Object::from([("device_display_name".to_owned(), Value::String(name))]);
                    keys.insert("unsigned".to_owned(), Value::Object(unsigned));
                }
                of_user.insert(device.device_id, keys);
            }
            masters.extend(shown.master.map(|key| (user_id.clone(), key)));
            self_signing.extend(shown.self_signing.map(|key| (user_id, key)));
        }
    }
    JsonObject::of(
        &json!({ "device_keys": devices, "master_keys": masters, "self_signing_keys": self_signing }),
    )
}
