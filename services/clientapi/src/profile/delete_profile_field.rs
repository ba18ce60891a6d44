//! `DELETE /_matrix/client/*/profile/{userId}/{keyName}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3profileuseridkeyname)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use ruma::OwnedUserId;
use tracing::instrument;

use super::{field, set_profile_field};
use crate::{App, account};

#[instrument(name = "http.client.delete_profile_field", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((user_id, name)): PathArgs<(OwnedUserId, String)>,
) -> Result<JsonObject, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    user.not_guest()?;
    field::check_name(&name)?;
    set_profile_field::store(&app, &user, name, String::new()).await?;
    Ok(JsonObject::empty())
}
