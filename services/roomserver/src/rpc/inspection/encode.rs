//! Encodes events as text for operators.

use plexus_proto::{
    operator::v1::{InspectedEvent, InspectedMember},
    room::v1::RoomEvent,
};
use serde::Deserialize;
use serde_json::Value;

use crate::store::reads::events::EventRow;

/// What people want to see at a glance. Whatever is missing or of another kind is left empty: the text has it all.
#[derive(Debug, Default, Deserialize)]
struct Glance {
    #[serde(default)]
    r#type: Value,
    state_key: Option<Value>,
    #[serde(default)]
    sender: Value,
    #[serde(default)]
    origin_server_ts: Value,
    #[serde(default)]
    content: Value,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An event of a state or a timeline.
pub(super) fn event(event: RoomEvent) -> InspectedEvent {
    let json = String::from_utf8_lossy(&event.json).into_owned();
    let glance: Glance = serde_json::from_str(&json).unwrap_or_default();
    InspectedEvent {
        event_id: event.event_id,
        room_id: event.room_id,
        r#type: text(&glance.r#type),
        state_key: glance.state_key.as_ref().map(text),
        sender: text(&glance.sender),
        origin_server_ts: glance.origin_server_ts.as_i64().unwrap_or(0),
        position: event.position,
        json,
    }
}

/// An event as the database has it.
pub(super) fn row(row: EventRow) -> InspectedEvent {
    event(RoomEvent {
        event_id: row.event_id,
        room_id: row.room_id,
        json: row.json.into(),
        position: row.seq.unwrap_or(0),
        ..RoomEvent::default()
    })
}

/// A member event.
pub(super) fn member(event: RoomEvent) -> InspectedMember {
    let glance: Glance = serde_json::from_slice(&event.json).unwrap_or_default();
    InspectedMember {
        user_id: glance.state_key.as_ref().map(text).unwrap_or_default(),
        membership: text(&glance.content["membership"]),
        display_name: text(&glance.content["displayname"]),
        sender: text(&glance.sender),
        event_id: event.event_id,
        origin_server_ts: glance.origin_server_ts.as_i64().unwrap_or(0),
    }
}
