//! `PUT /_matrix/client/*/pushrules/global/{kind}/{ruleId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs, QueryArgs};
use plexus_proto::log::v1::{PutPushRule, input_user_event::Command};
use serde::Deserialize;
use tracing::instrument;

use crate::App;

#[derive(Deserialize)]
pub(crate) struct Query {
    before: Option<String>,
    after: Option<String>,
}

#[instrument(name = "http.client.set_pushrule", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    rule: JsonObject,
) -> Result<JsonObject, MatrixError> {
    if !KINDS.contains(&kind.as_str()) {
        return Err(MatrixError::invalid_param("There is no such kind of push rules"));
    }
    let command = PutPushRule {
        kind,
        rule_id,
        rule: rule.into_bytes().into(),
        before: query.before.unwrap_or_default(),
        after: query.after.unwrap_or_default(),
    };
    super::change(&app, &user.id, Command::PutPushRule(command)).await
}

const KINDS: [&str; 5] = ["override", "content", "room", "sender", "underride"];
