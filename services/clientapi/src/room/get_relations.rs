//! `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}`, also with `/{relType}` and `/{relType}/{eventType}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidrelationseventid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs, QueryArgs};
use ruma::{OwnedEventId, OwnedRoomId};
use tracing::instrument;

use crate::{
    App,
    rooms::{RelationsQuery, RelationsRequest},
};

#[instrument(name = "http.client.get_relating_events", skip_all, fields(room.id = %room_id, event.id = %event_id))]
pub(crate) async fn all(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id, event_id)): PathArgs<(OwnedRoomId, OwnedEventId)>,
    QueryArgs(query): QueryArgs<RelationsQuery>,
) -> Result<JsonObject, MatrixError> {
    let request =
        RelationsRequest { room_id: &room_id, event_id: &event_id, rel_type: None, event_type: None, query };
    JsonObject::of(&app.rooms.relations(&user, request).await?)
}

#[instrument(
    name = "http.client.get_relating_events_with_rel_type",
    skip_all,
    fields(room.id = %room_id, event.id = %event_id)
)]
pub(crate) async fn with_rel_type(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id, event_id, rel_type)): PathArgs<(OwnedRoomId, OwnedEventId, String)>,
    QueryArgs(query): QueryArgs<RelationsQuery>,
) -> Result<JsonObject, MatrixError> {
    let request = RelationsRequest {
        room_id: &room_id,
        event_id: &event_id,
        rel_type: Some(&rel_type),
        event_type: None,
        query,
    };
    JsonObject::of(&app.rooms.relations(&user, request).await?)
}

#[instrument(
    name = "http.client.get_relating_events_with_rel_type_and_event_type",
    skip_all,
    fields(room.id = %room_id, event.id = %event_id)
)]
pub(crate) async fn with_event_type(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id, event_id, rel_type, event_type)): PathArgs<(
        OwnedRoomId,
        OwnedEventId,
        String,
        String,
    )>,
    QueryArgs(query): QueryArgs<RelationsQuery>,
) -> Result<JsonObject, MatrixError> {
    let request = RelationsRequest {
        room_id: &room_id,
        event_id: &event_id,
        rel_type: Some(&rel_type),
        event_type: Some(&event_type),
        query,
    };
    JsonObject::of(&app.rooms.relations(&user, request).await?)
}
