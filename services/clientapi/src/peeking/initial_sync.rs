//! `GET /_matrix/client/*/initialSync`, which is deprecated
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3initialsync)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, QueryArgs};
use serde::Deserialize;
use tracing::instrument;

use crate::App;

#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    limit: Option<u64>,
    #[serde(default)]
    archived: bool,
}

#[instrument(name = "http.client.initial_sync", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonObject, MatrixError> {
    JsonObject::of(&app.rooms.initial_sync(&user, query.limit, query.archived).await?)
}
