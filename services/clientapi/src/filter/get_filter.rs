//! `GET /_matrix/client/*/user/{userId}/filter/{filterId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridfilterfilterid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use plexus_proto::user::v1::GetFilterRequest;
use ruma::OwnedUserId;
use tracing::instrument;

use crate::{App, account};

#[instrument(name = "http.client.get_filter", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((user_id, filter_id)): PathArgs<(OwnedUserId, String)>,
) -> Result<JsonObject, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    let request = GetFilterRequest { user_id: user_id.to_string(), filter_id };
    let filter = app.users.clone().get_filter(request).await?.into_inner().filter;
    JsonObject::parse(&filter).map_err(|error| {
        tracing::error!(%error, "stored filter is not a JSON object");
        MatrixError::internal()
    })
}
