//! `PUT /_matrix/client/*/user/{userId}/account_data/{type}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridaccount_datatype)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use ruma::OwnedUserId;
use tracing::instrument;

use crate::{App, account};

#[instrument(name = "http.client.set_global_account_data", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((user_id, event_type)): PathArgs<(OwnedUserId, String)>,
    content: JsonObject,
) -> Result<JsonObject, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    super::write(&app, &user_id, None, event_type, content).await
}
