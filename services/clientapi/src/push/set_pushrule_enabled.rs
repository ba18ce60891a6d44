//! `PUT /_matrix/client/*/pushrules/global/{kind}/{ruleId}/enabled`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleidenabled)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use plexus_proto::log::v1::{EnablePushRule, input_user_event::Command};
use serde::Deserialize;
use tracing::instrument;

use crate::App;

#[derive(Deserialize)]
struct Body {
    enabled: bool,
}

#[instrument(name = "http.client.set_pushrule_enabled", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
    body: JsonObject,
) -> Result<JsonObject, MatrixError> {
    let Body { enabled } = body.read()?;
    super::change(&app, &user.id, Command::EnablePushRule(EnablePushRule { kind, rule_id, enabled })).await
}
