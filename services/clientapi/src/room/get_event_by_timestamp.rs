//! `GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs, QueryArgs};
use ruma::{OwnedRoomId, api::Direction};
use serde::Deserialize;
use serde_json::json;
use tracing::instrument;

use crate::App;

#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    ts: i64,
    dir: Direction,
}

#[instrument(name = "http.client.get_event_by_timestamp", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<JsonObject, MatrixError> {
    let found = app.rooms.event_by_time(&user, &room_id, query.ts, query.dir).await?;
    JsonObject::of(&json!({ "event_id": found.event_id, "origin_server_ts": found.origin_server_ts }))
}
