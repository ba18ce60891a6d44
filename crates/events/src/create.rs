//! The event that opens a room, as its creator's server makes it before anybody signs it.

use ruma::{OwnedRoomId, RoomId, RoomVersionId, UserId};
use serde_json::Map;

use crate::{
    build::{BuildError, Draft},
    canonical,
    version::RoomRules,
};

/// Builds an `m.room.create` event with its content hash and without signatures; returns the room ID and the
/// canonical JSON.
///
/// In room versions 12 and later the room ID is the event's reference hash, and `room_id` must be `None`; before, it
/// must be given, and its server part must be the sender's. `content` is completed: `room_version` is set, and
/// `creator` where the version wants it.
///
/// # Errors
///
/// Fails if the version is not served, `room_id` does not fit it, the content has no canonical form, or the event
/// becomes too large.
pub fn unsigned_create_event(
    room_version: &RoomVersionId,
    sender: &UserId,
    room_id: Option<&RoomId>,
    content: Map<String, serde_json::Value>,
    origin_server_ts: i64,
) -> Result<(OwnedRoomId, Vec<u8>), BuildError> {
    let rules = RoomRules::of(room_version.as_str())?;
    match room_id {
        Some(_) if rules.room_id_is_create_hash() => return Err(BuildError::RoomId),
        None if !rules.room_id_is_create_hash() => return Err(BuildError::RoomId),
        Some(room_id) if room_id.server_name() != Some(sender.server_name()) => {
            return Err(BuildError::RoomId);
        }
        Some(_) | None => {}
    }
    let text = serde_json::to_vec(&content).map_err(BuildError::Serialize)?;
    let mut content = canonical::parse_object(&text)?;
    content.insert("room_version".to_owned(), canonical::Value::String(room_version.to_string()));
    if !rules.rules.authorization.use_room_create_sender {
        content.insert("creator".to_owned(), canonical::Value::String(sender.to_string()));
    }
    let draft = Draft {
        room_id,
        sender,
        event_type: "m.room.create",
        state_key: Some(""),
        content,
        redacts: None,
        prev_events: &[],
        auth_events: &[],
        depth: 1,
        origin_server_ts,
    };
    let hashed = draft.hash(rules)?;
    let created = match room_id {
        Some(room_id) => room_id.to_owned(),
        None => RoomId::new_v2(hashed.event_id().as_str().trim_start_matches('$'))
            .map_err(|_| BuildError::RoomId)?,
    };
    Ok((created, hashed.unsigned_json()))
}
