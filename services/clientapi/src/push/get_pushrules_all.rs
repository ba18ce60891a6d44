//! `GET /_matrix/client/*/pushrules/` and `GET /_matrix/client/*/pushrules/global/`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrules)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError};
use ruma::UserId;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_pushrules_all", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(State(app): State<App>, user: AuthedUser) -> Result<JsonObject, MatrixError> {
    read(&app, &user.id).await
}

/// Reads all rules of a user: the content of `m.push_rules`.
pub(crate) async fn read(app: &App, user: &UserId) -> Result<JsonObject, MatrixError> {
    let content = super::rules(app, user).await?.content().map_err(|error| super::broken(&error))?;
    JsonObject::parse(&content)
}

#[instrument(name = "http.client.get_pushrules_global_scope", skip_all, fields(user.id = %user.id))]
pub(crate) async fn global_handler(
    State(app): State<App>,
    user: AuthedUser,
) -> Result<JsonObject, MatrixError> {
    let global = super::rules(&app, &user.id).await?.global().map_err(|error| super::broken(&error))?;
    JsonObject::of(&global)
}
