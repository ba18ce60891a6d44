//! `POST /_matrix/client/*/room_keys/version`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3room_keysversion)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Json, JsonObject, MatrixError};
use plexus_proto::log::v1::{CreateBackup, input_user_event::Command};
use serde_json::json;
use tracing::instrument;

use super::{AlgorithmBody, state_of};
use crate::App;

#[instrument(name = "http.client.create_backup_version", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Json(body): Json<AlgorithmBody>,
) -> Result<JsonObject, MatrixError> {
    body.check()?;
    let algorithm = body.algorithm.clone();
    let command = CreateBackup { algorithm, auth_data: body.into_auth_data().into() };
    let accepted = app.input.submit_user(&user.id, Command::CreateBackup(command)).await?;
    JsonObject::of(&json!({ "version": state_of(&accepted)?.version.to_string() }))
}
