//! `GET /_matrix/client/*/pushrules/global/{kind}/{ruleId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_pushrule", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
) -> Result<JsonObject, MatrixError> {
    JsonObject::of(&super::find(&app, &user.id, &kind, &rule_id).await?)
}
