//! Rooms as they are told to people outside of them: in the directory, in spaces, to clients and to other servers.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use plexus_proto::room::v1::{DirectoryPosition, ListPublicRoomsResponse, RoomSummary, SpaceRoom};
use ruma::{OwnedRoomId, RoomId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

use crate::MatrixError;

/// Longest ID in a token: the longest room ID in base64, and some room.
const MAX_TOKEN_BYTES: usize = 512;

/// A page of the directory.
#[must_use]
pub fn directory_page(page: &ListPublicRoomsResponse) -> Value {
    let mut answer = json!({ "total_room_count_estimate": page.total });
    if let Some(first) = page.rooms.first().filter(|_| page.more_before) {
        answer["prev_batch"] = Value::from(place_token(first, true));
    }
    if let Some(last) = page.rooms.last().filter(|_| page.more_after) {
        answer["next_batch"] = Value::from(place_token(last, false));
    }
    answer["chunk"] = page.rooms.iter().map(|room| Value::Object(told(room))).collect();
    answer
}

/// A room as the directory tells it.
#[must_use]
pub fn told(room: &RoomSummary) -> Map<String, Value> {
    let mut told = Map::new();
    let texts = [
        ("room_id", &room.room_id),
        ("name", &room.name),
        ("topic", &room.topic),
        ("avatar_url", &room.avatar_url),
        ("canonical_alias", &room.canonical_alias),
        ("join_rule", &room.join_rule),
        ("room_type", &room.room_type),
    ];
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        told.insert(key.to_owned(), Value::from(text.as_str()));
    }
    told.insert("num_joined_members".to_owned(), Value::from(room.joined_members));
    told.insert("guest_can_join".to_owned(), Value::from(room.guest_can_join));
    told.insert("world_readable".to_owned(), Value::from(room.world_readable));
    told
}

/// A room as it is told to who asks for it, or for its space.
#[must_use]
pub fn extended(room: &RoomSummary) -> Map<String, Value> {
    let mut told = told(room);
    told.insert("room_version".to_owned(), Value::from(room.room_version.as_str()));
    if !room.encryption.is_empty() {
        told.insert("encryption".to_owned(), Value::from(room.encryption.as_str()));
    }
    if !room.allowed_room_ids.is_empty() {
        told.insert("allowed_room_ids".to_owned(), Value::from(room.allowed_room_ids.clone()));
    }
    told
}

/// A room of a space, with its children.
pub fn space_room(room: SpaceRoom) -> Result<Value, MatrixError> {
    let mut told = extended(&room.summary.unwrap_or_default());
    let children = room.children.iter().map(|json| {
        let child: Child = serde_json::from_slice(json)?;
        serde_json::to_value(child)
    });
    let children = children.collect::<Result<Vec<_>, _>>().map_err(|error| {
        tracing::error!(%error, "stored child of a space is malformed");
        MatrixError::internal()
    })?;
    told.insert("children_state".to_owned(), Value::Array(children));
    Ok(Value::Object(told))
}

/// A child of a space, as others are told of it.
#[derive(Serialize, Deserialize)]
struct Child {
    #[serde(rename = "type")]
    event_type: String,
    state_key: String,
    sender: String,
    content: Box<RawValue>,
    origin_server_ts: i64,
}

/// A place in the directory: `p1_`, whether what comes before it is wanted, its members, its ID.
fn place_token(room: &RoomSummary, before: bool) -> String {
    let direction = if before { 'b' } else { 'a' };
    format!("p1_{direction}_{}_{}", room.joined_members, URL_SAFE_NO_PAD.encode(&room.room_id))
}

/// Reads a token of the directory; `None` if it is none of ours.
#[must_use]
pub fn parse_place(token: &str) -> Option<DirectoryPosition> {
    let (direction, rest) = token.strip_prefix("p1_")?.split_once('_')?;
    let (joined_members, room_id) = rest.split_once('_')?;
    Some(DirectoryPosition {
        joined_members: joined_members.parse().ok()?,
        room_id: parse_room(room_id)?.to_string(),
        before: match direction {
            "a" => false,
            "b" => true,
            _ => return None,
        },
    })
}

fn parse_room(encoded: &str) -> Option<OwnedRoomId> {
    let encoded = Some(encoded).filter(|encoded| encoded.len() <= MAX_TOKEN_BYTES)?;
    let room_id = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    RoomId::parse(room_id).ok().filter(|room_id| !room_id.as_str().contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_were_told() {
        let room = RoomSummary { room_id: "!r:x".to_owned(), joined_members: 7, ..RoomSummary::default() };
        let place = parse_place(&place_token(&room, true)).unwrap();
        assert_eq!((place.joined_members, place.room_id.as_str(), place.before), (7, "!r:x", true));
        for token in ["", "p1_", "p1_a_1", "p1_c_1_IXI6eA", "p1_a_x_IXI6eA", "p1_a_1_cjp4", "p1_a_1_!!"] {
            assert_eq!(parse_place(token), None, "{token}");
        }
    }
}
