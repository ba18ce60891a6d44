//! `GET /_matrix/client/*/room_keys/version` and `…/version/{version}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keysversion)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use plexus_proto::user::v1::GetBackupVersionResponse;
use serde::Serialize;
use serde_json::value::RawValue;
use tracing::instrument;

use super::{find, read_version};
use crate::App;

#[derive(Serialize)]
struct Info<'a> {
    algorithm: &'a str,
    auth_data: &'a RawValue,
    count: u64,
    etag: String,
    version: String,
}

#[instrument(name = "http.client.get_backup_info", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((version,)): PathArgs<(String,)>,
) -> Result<JsonObject, MatrixError> {
    show(&find(&app, &user.id, read_version(&version)?).await?)
}

/// Of the current version.
#[instrument(name = "http.client.get_latest_backup_info", skip_all, fields(user.id = %user.id))]
pub(crate) async fn latest_handler(
    State(app): State<App>,
    user: AuthedUser,
) -> Result<JsonObject, MatrixError> {
    show(&find(&app, &user.id, 0).await?)
}

fn show(found: &GetBackupVersionResponse) -> Result<JsonObject, MatrixError> {
    let state = found.state.unwrap_or_default();
    let auth_data = serde_json::from_slice(&found.auth_data).map_err(|error| {
        tracing::error!(%error, "a backup cannot be shown");
        MatrixError::internal()
    })?;
    JsonObject::of(&Info {
        algorithm: &found.algorithm,
        auth_data,
        count: state.count,
        etag: state.etag.to_string(),
        version: state.version.to_string(),
    })
}
