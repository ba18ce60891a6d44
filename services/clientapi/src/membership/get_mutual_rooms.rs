//! `GET /_matrix/client/v1/mutual_rooms`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, QueryArgs};
use ruma::OwnedUserId;
use serde::Deserialize;
use tracing::instrument;

use crate::App;

#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    user_id: OwnedUserId,
    from: Option<String>,
}

#[instrument(name = "http.client.get_mutual_rooms", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonObject, MatrixError> {
    if query.user_id == user.id {
        return Err(MatrixError::invalid_param("You share all of your rooms with yourself"));
    }
    JsonObject::of(&app.rooms.mutual_rooms(&user.id, &query.user_id, query.from.as_deref()).await?)
}
