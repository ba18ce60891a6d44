//! Writes the inputs that the room server makes itself, since only inputs change rooms.

use bytes::Bytes;
use plexus_proto::log::v1::{
    InputRoomEvent, InputUserEvent, Intent, input_room_event::Body, input_user_event::Command,
};
use plexus_service::TraceContext;

use super::engine::now_ms;

/// A new input for a room.
pub(crate) fn room_input(room_id: String, body: Body) -> InputRoomEvent {
    InputRoomEvent {
        version: 1,
        input_id: Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes()),
        room_id,
        produced_ts: now_ms(),
        traceparent: TraceContext::next_step().to_string(),
        body: Some(body),
    }
}

/// A new input for a user.
pub(crate) fn user_input(user_id: String, command: Command) -> InputUserEvent {
    InputUserEvent {
        version: 1,
        input_id: Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes()),
        user_id,
        produced_ts: now_ms(),
        traceparent: TraceContext::next_step().to_string(),
        command: Some(command),
    }
}

/// A user of this server leaves a room.
pub(crate) fn leave(user_id: String) -> Intent {
    Intent {
        sender: user_id.clone(),
        r#type: "m.room.member".to_owned(),
        state_key: Some(user_id),
        content: Bytes::from_static(br#"{"membership":"leave"}"#),
        origin_server_ts: now_ms(),
        ..Intent::default()
    }
}
