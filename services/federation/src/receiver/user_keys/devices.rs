//! `GET /_matrix/federation/v1/user/devices/{userId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1userdevicesuserid)

use axum::extract::State;
use plexus_matrix_http::{JsonObject, MatrixError, PathArgs};
use plexus_proto::user::v1::{QueryKeysRequest, WantedKeys};
use serde_json::json;
use tracing::instrument;

use super::own_user;
use crate::{
    Federation,
    receiver::{Query, Signed},
    shown_keys::ShownKeys,
    upstream::{self, timed},
};

#[instrument(name = "http.server.get_devices", skip_all)]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((user_id,)): PathArgs<(String,)>,
    _signed: Signed<Query>,
) -> Result<JsonObject, MatrixError> {
    let user = own_user(&user_id, federation.name())?;
    let users = vec![WantedKeys { user_id: user.to_string(), device_ids: Vec::new() }];
    let request = QueryKeysRequest { viewer: String::new(), users };
    let found = upstream::keys(&federation.rooms).query_keys(timed(request)).await?.into_inner().users;
    let keys = found.into_iter().next().unwrap_or_default();
    let stream_id = keys.stream_id;
    let shown = ShownKeys::new(keys, federation.config.federation.device_names);
    let devices: Vec<_> = shown
        .devices
        .into_iter()
        .map(|device| {
            let mut told = json!({ "device_id": device.device_id, "keys": device.keys });
            if let Some(name) = device.name {
                told["device_display_name"] = json!(name);
            }
            told
        })
        .collect();
    let mut answer = json!({ "user_id": user, "stream_id": stream_id, "devices": devices });
    for (field, key) in [("master_key", shown.master), ("self_signing_key", shown.self_signing)] {
        if let Some(key) = key {
            answer[field] = json!(key);
        }
    }
    JsonObject::of(&answer)
}
