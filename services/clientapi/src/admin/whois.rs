//! `GET /_matrix/client/*/admin/whois/{userId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3adminwhoisuserid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use ruma::OwnedUserId;
use serde_json::{Map, json};
use tracing::instrument;

use crate::{App, account, device};

/// Tells users about themselves; operators ask by `plexus-admin user sessions`.
#[instrument(name = "http.client.get_admin_whois", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((user_id,)): PathArgs<(OwnedUserId,)>,
) -> Result<JsonObject, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    let mut devices = Map::new();
    for device in device::list(&app, &user_id, Vec::new()).await? {
        let mut connection = Map::new();
        if let Some(ip) = device.last_seen_ip {
            connection.insert("ip".to_owned(), ip.into());
        }
        if let Some(ts) = device.last_seen_ts {
            connection.insert("last_seen".to_owned(), u64::from(ts.get()).into());
        }
        devices
            .insert(device.device_id.to_string(), json!({ "sessions": [{ "connections": [connection] }] }));
    }
    JsonObject::of(&json!({ "user_id": user_id, "devices": devices }))
}
