//! `PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}`, and what is left of version 1
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_leaveroomideventid)

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use plexus_matrix_http::{MatrixError, PathArgs};
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};
use serde_json::json;
use tracing::instrument;

use super::check::{Expected, check_event, check_room, submit};
use crate::{
    Federation,
    receiver::{Membership, Signed},
};

#[instrument(name = "http.server.send_leave", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((room_id, event_id)): PathArgs<(OwnedRoomId, OwnedEventId)>,
    signed: Signed<Membership>,
) -> Result<Response, MatrixError> {
    take(&federation, &room_id, &event_id, &signed).await?;
    Ok(Json(json!({})).into_response())
}

/// Version 1 is an array of the status and the same.
#[instrument(name = "http.server.send_leave_v1", skip_all, fields(room.id = %room_id))]
pub(crate) async fn v1_handler(
    State(federation): State<Federation>,
    PathArgs((room_id, event_id)): PathArgs<(OwnedRoomId, OwnedEventId)>,
    signed: Signed<Membership>,
) -> Result<Response, MatrixError> {
    take(&federation, &room_id, &event_id, &signed).await?;
    Ok(Json(json!([200, {}])).into_response())
}

async fn take(
    federation: &Federation,
    room_id: &RoomId,
    event_id: &EventId,
    signed: &Signed<Membership>,
) -> Result<(), MatrixError> {
    let rules = check_room(federation, room_id, &signed.origin).await?;
    let expected = Expected { origin: &signed.origin, room_id, event_id, membership: "leave" };
    let event = check_event(federation, &expected, &signed.body, rules).await?;
    submit(federation, &event, &signed.origin).await
}
