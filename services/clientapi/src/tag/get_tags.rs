//! `GET /_matrix/client/*/user/{userId}/rooms/{roomId}/tags`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridroomsroomidtags)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use ruma::{OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::instrument;

use crate::{App, account, config};

#[derive(Default, Serialize, Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Map<String, Value>,
}

#[instrument(name = "http.client.get_tags", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((user_id, room_id)): PathArgs<(OwnedUserId, OwnedRoomId)>,
) -> Result<JsonObject, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    let tags = match config::read(&app, &user.id, Some(&room_id), "m.tag".to_owned()).await {
        // Clients may set the whole of it as account data: what is not as it should be holds no tags.
        Ok(content) => serde_json::from_str(content.get()).unwrap_or_default(),
        Err(error) if error.is("M_NOT_FOUND") => Tags::default(),
        Err(error) => return Err(error),
    };
    JsonObject::of(&tags)
}
