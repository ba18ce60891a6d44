//! `GET /_matrix/client/*/keys/changes`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3keyschanges)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, QueryArgs, token::SyncToken};
use plexus_proto::user::v1::ListDeviceListChangesRequest;
use serde::Deserialize;
use serde_json::json;
use tracing::instrument;

use crate::App;

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    from: String,
    to: String,
}

#[instrument(name = "http.client.get_key_changes", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    QueryArgs(Args { from, to }): QueryArgs<Args>,
) -> Result<JsonObject, MatrixError> {
    let token = |name: &str, text: &str| {
        let wrong = |_| MatrixError::invalid_param(format!("`{name}` is no token of this server"));
        text.parse::<SyncToken>().map_err(wrong)
    };
    let from = token("from", &from)?;
    // What came after it is told all the same: only the last change of a user is kept.
    token("to", &to)?;
    let request = ListDeviceListChangesRequest {
        viewer: user.id.to_string(),
        from_rooms: from.rooms.to_vec(),
        from_users: from.users.to_vec(),
        generation: from.generation.unwrap_or_default(),
        to_users: Vec::new(),
    };
    let mut changes = app.keys.clone().list_device_list_changes(request).await?.into_inner();
    changes.changed.sort_unstable();
    changes.left.sort_unstable();
    JsonObject::of(&json!({ "changed": changes.changed, "left": changes.left }))
}
