//! `DELETE /_matrix/client/*/room_keys/keys`, `…/keys/{roomId}` and `…/keys/{roomId}/{sessionId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeys)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs, QueryArgs};
use plexus_proto::log::v1::{DeleteBackupKeys, input_user_event::Command};
use ruma::OwnedRoomId;
use tracing::instrument;

use super::{VersionQuery, contents, state_of};
use crate::App;

#[instrument(name = "http.client.delete_backup_keys", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    QueryArgs(query): QueryArgs<VersionQuery>,
) -> Result<JsonObject, MatrixError> {
    delete(&app, &user, query, String::new(), String::new()).await
}

/// Of one room.
#[instrument(name = "http.client.delete_backup_keys_for_room", skip_all, fields(user.id = %user.id))]
pub(crate) async fn room_handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    QueryArgs(query): QueryArgs<VersionQuery>,
) -> Result<JsonObject, MatrixError> {
    delete(&app, &user, query, room_id.into(), String::new()).await
}

/// Of one session.
#[instrument(name = "http.client.delete_backup_keys_for_session", skip_all, fields(user.id = %user.id))]
pub(crate) async fn session_handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id, session_id)): PathArgs<(OwnedRoomId, String)>,
    QueryArgs(query): QueryArgs<VersionQuery>,
) -> Result<JsonObject, MatrixError> {
    delete(&app, &user, query, room_id.into(), session_id).await
}

async fn delete(
    app: &App,
    user: &AuthedUser,
    query: VersionQuery,
    room_id: String,
    session_id: String,
) -> Result<JsonObject, MatrixError> {
    let version = query.read()?;
    if room_id.contains('\0') || session_id.contains('\0') {
        return Err(MatrixError::invalid_param("An ID contains a NUL character"));
    }
    let command = Command::DeleteBackupKeys(DeleteBackupKeys { version, room_id, session_id });
    contents(state_of(&app.input.submit_user(&user.id, command).await?)?)
}
