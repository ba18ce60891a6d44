//! Events as this client sees them.

use std::collections::HashMap;

use plexus_matrix_http::{
    AuthedUser, MatrixError,
    event::{EventFormat, Viewer, client_room_event},
};
use plexus_proto::room::v1::{Aggregations, RoomEvent};
use ruma::serde::Raw;

use super::broken_answer;
use crate::clock::now_ms;

/// Puts an event into the format of clients.
pub(super) fn shown<T>(event: &RoomEvent, viewer: &AuthedUser) -> Result<Raw<T>, MatrixError> {
    client_room_event(event, &viewer.id, &viewer.device_id, now_ms(), EventFormat::Client)
        .map(Raw::from_json)
        .map_err(|error| broken_answer("event", &error))
}

/// Puts events into the format of clients. One that is broken is left out, and reported: it must not hide the others.
pub(super) fn all_shown<T>(events: &[RoomEvent], viewer: &AuthedUser) -> Vec<Raw<T>> {
    events.iter().filter_map(|event| shown(event, viewer).ok()).collect()
}

/// Like [`all_shown`], with what relations have made of the events, by event ID.
pub(super) fn all_shown_with<T>(
    events: &[RoomEvent],
    viewer: &AuthedUser,
    aggregations: &HashMap<String, Aggregations>,
) -> Vec<Raw<T>> {
    let viewer = Viewer {
        user_id: &viewer.id,
        device_id: &viewer.device_id,
        now_ms: now_ms(),
        format: EventFormat::Client,
    };
    let shown = events.iter().filter_map(|event| {
        let shown = viewer.show(event, aggregations.get(&event.event_id));
        shown.inspect_err(|error| drop(broken_answer("event", error))).ok()
    });
    shown.map(Raw::from_json).collect()
}
