//! `DELETE /_matrix/client/*/pushrules/global/{kind}/{ruleId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3pushrulesglobalkindruleid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use plexus_proto::log::v1::{DeletePushRule, input_user_event::Command};
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.delete_pushrule", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
) -> Result<JsonObject, MatrixError> {
    super::change(&app, &user.id, Command::DeletePushRule(DeletePushRule { kind, rule_id })).await
}
