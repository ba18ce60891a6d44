//! `PUT /_matrix/client/*/pushrules/global/{kind}/{ruleId}/actions`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleidactions)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use plexus_proto::log::v1::{SetPushRuleActions, input_user_event::Command};
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::instrument;

use crate::App;

#[derive(Deserialize)]
struct Body {
    actions: Box<RawValue>,
}

#[instrument(name = "http.client.set_pushrule_actions", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
    body: JsonObject,
) -> Result<JsonObject, MatrixError> {
    let Body { actions } = body.read()?;
    let actions = actions.get().as_bytes().to_vec().into();
    let command = SetPushRuleActions { kind, rule_id, actions };
    super::change(&app, &user.id, Command::SetPushRuleActions(command)).await
}
