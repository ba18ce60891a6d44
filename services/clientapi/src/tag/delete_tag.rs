//! `DELETE /_matrix/client/*/user/{userId}/rooms/{roomId}/tags/{tag}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3useruseridroomsroomidtagstag)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use ruma::{OwnedRoomId, OwnedUserId};
use tracing::instrument;

use crate::{App, account};

#[instrument(name = "http.client.delete_tag", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((user_id, room_id, tag)): PathArgs<(OwnedUserId, OwnedRoomId, String)>,
) -> Result<JsonObject, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    super::write(&app, &user.id, &room_id, tag, Vec::new()).await?;
    Ok(JsonObject::empty())
}
