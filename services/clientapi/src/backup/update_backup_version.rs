//! `PUT /_matrix/client/*/room_keys/version/{version}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keysversionversion)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Json, JsonObject, MatrixError, PathArgs};
use plexus_proto::log::v1::{UpdateBackup, input_user_event::Command};
use tracing::instrument;

use super::{AlgorithmBody, read_version};
use crate::App;

#[instrument(name = "http.client.update_backup_version", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((version,)): PathArgs<(String,)>,
    Json(body): Json<AlgorithmBody>,
) -> Result<JsonObject, MatrixError> {
    body.check()?;
    if body.version.as_ref().is_some_and(|told| *told != version) {
        return Err(MatrixError::invalid_param("`version` is not the one of the path"));
    }
    let algorithm = body.algorithm.clone();
    let version = read_version(&version)?;
    let command = UpdateBackup { version, algorithm, auth_data: body.into_auth_data().into() };
    app.input.submit_user(&user.id, Command::UpdateBackup(command)).await?;
    Ok(JsonObject::empty())
}
