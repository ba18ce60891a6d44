//! `GET /_matrix/client/*/user/{userId}/account_data/{type}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridaccount_datatype)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use ruma::OwnedUserId;
use tracing::instrument;

use crate::{App, account, push};

#[instrument(name = "http.client.get_global_account_data", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((user_id, event_type)): PathArgs<(OwnedUserId, String)>,
) -> Result<JsonObject, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    if event_type == "m.push_rules" {
        // Who changed nothing has the predefined ones.
        return push::get_pushrules_all::read(&app, &user_id).await;
    }
    super::read(&app, &user_id, None, event_type).await
}
