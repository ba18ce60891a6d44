//! `GET /_matrix/client/*/pushrules/global/{kind}/{ruleId}/enabled` and `…/actions`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleidenabled)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use serde_json::{Map, Value};
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_pushrule_enabled", skip_all, fields(user.id = %user.id))]
pub(crate) async fn enabled_handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
) -> Result<JsonObject, MatrixError> {
    attribute(&super::find(&app, &user.id, &kind, &rule_id).await?, "enabled")
}

#[instrument(name = "http.client.get_pushrule_actions", skip_all, fields(user.id = %user.id))]
pub(crate) async fn actions_handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
) -> Result<JsonObject, MatrixError> {
    attribute(&super::find(&app, &user.id, &kind, &rule_id).await?, "actions")
}

fn attribute(rule: &Value, name: &str) -> Result<JsonObject, MatrixError> {
    let value = rule.get(name).cloned().unwrap_or_default();
    JsonObject::of(&Map::from_iter([(name.to_owned(), value)]))
}
