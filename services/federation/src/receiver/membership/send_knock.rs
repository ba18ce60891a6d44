//! `PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1send_knockroomideventid)

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::header;
use plexus_matrix_http::{MatrixError, PathArgs};
use ruma::{OwnedEventId, OwnedRoomId};
use tracing::instrument;

use super::{
    check::{Expected, check_event, check_room, submit},
    stripped,
};
use crate::{
    Federation,
    receiver::{Membership, Signed},
};

#[instrument(name = "http.server.send_knock", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((room_id, event_id)): PathArgs<(OwnedRoomId, OwnedEventId)>,
    signed: Signed<Membership>,
) -> Result<Response, MatrixError> {
    let rules = check_room(&federation, &room_id, &signed.origin).await?;
    let expected =
        Expected { origin: &signed.origin, room_id: &room_id, event_id: &event_id, membership: "knock" };
    let event = check_event(&federation, &expected, &signed.body, rules).await?;
    submit(&federation, &event, &signed.origin).await?;
    let state = stripped::of_room(&federation.rooms, &room_id, &[]).await?;
    let body = format!("{{\"knock_room_state\":[{}]}}", state.join(","));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
