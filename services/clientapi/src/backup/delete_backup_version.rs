//! `DELETE /_matrix/client/*/room_keys/version/{version}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keysversionversion)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use plexus_proto::log::v1::{DeleteBackup, input_user_event::Command};
use tracing::instrument;

use super::read_version;
use crate::App;

#[instrument(name = "http.client.delete_backup_version", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((version,)): PathArgs<(String,)>,
) -> Result<JsonObject, MatrixError> {
    let command = DeleteBackup { version: read_version(&version)? };
    app.input.submit_user(&user.id, Command::DeleteBackup(command)).await?;
    Ok(JsonObject::empty())
}
