//! `GET /_matrix/client/*/rooms/{roomId}/initialSync`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidinitialsync)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs, QueryArgs};
use ruma::OwnedRoomId;
use serde::Deserialize;
use tracing::instrument;

use crate::App;

/// The specification has no parameters; clients send this one.
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    limit: Option<u64>,
}

#[instrument(name = "http.client.room_initial_sync", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonObject, MatrixError> {
    JsonObject::of(&app.rooms.initial_room(&user, &room_id, query.limit).await?)
}
