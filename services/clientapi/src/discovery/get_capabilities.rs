//! `GET /_matrix/client/*/capabilities`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3capabilities)

use std::collections::BTreeMap;

use axum::extract::State;
use plexus_events::RoomRules;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError};
use serde_json::json;
use tracing::instrument;

use crate::App;

// Not ruma's type: it leaves out what equals the default, and some clients look for it.
#[instrument(name = "http.client.get_capabilities", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(State(app): State<App>, user: AuthedUser) -> Result<JsonObject, MatrixError> {
    let available: BTreeMap<_, _> =
        RoomRules::served().map(|version| (version.id.as_str(), "stable")).collect();
    // Guests may set their display name, and nothing else.
    let profile_fields = match user.guest {
        true => json!({ "enabled": true, "allowed": ["displayname"] }),
        false => json!({ "enabled": true }),
    };
    JsonObject::of(&json!({
        "capabilities": {
            "m.3pid_changes": { "enabled": false },
            "m.change_password": { "enabled": !user.guest },
            "m.get_login_token": { "enabled": false },
            "m.profile_fields": profile_fields,
            "m.room_versions": {
                "default": app.config.server.default_room_version,
                "available": available,
            },
            "m.set_avatar_url": { "enabled": !user.guest },
            "m.set_displayname": { "enabled": true },
        }
    }))
}
