//! Selects the parts of other servers' answers about rooms that clients get: the keys of the specification, with values of the right
//! types and bounded lengths. Clients need not be able to cope with anything else.

use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId};
use serde_json::{Map, Value};

/// Longest text.
const MAX_TEXT: usize = 64 * 1024;
/// Most children of a space, and most rooms whose members may join.
const MAX_CHILDREN: usize = 1000;
const MAX_ALLOWED: usize = 100;
/// Texts that are passed on as they are.
const TEXTS: [&str; 8] = [
    "name",
    "topic",
    "avatar_url",
    "canonical_alias",
    "join_rule",
    "room_type",
    "room_version",
    "encryption",
];

/// A room of a directory; `None` for what is none.
pub(super) fn public_room(room: Map<String, Value>) -> Option<Map<String, Value>> {
    let mut told = Map::new();
    for (key, value) in room {
        let is_right = match key.as_str() {
            "room_id" => value.as_str().is_some_and(|id| OwnedRoomId::try_from(id).is_ok()),
            "canonical_alias" => {
                value.as_str().is_some_and(|alias| OwnedRoomAliasId::try_from(alias).is_ok())
            }
            key if TEXTS.contains(&key) => value.as_str().is_some_and(|text| text.len() <= MAX_TEXT),
            "num_joined_members" => value.is_u64(),
            "world_readable" | "guest_can_join" => value.is_boolean(),
            _ => false,
        };
        if is_right {
            told.insert(key, value);
        }
    }
    if !told.contains_key("room_id") {
        return None;
    }
    for (key, default) in [
        ("num_joined_members", Value::from(0)),
        ("world_readable", Value::from(false)),
        ("guest_can_join", Value::from(false)),
    ] {
        told.entry(key).or_insert(default);
    }
    Some(told)
}

/// A room of a space, without its children.
pub(super) fn space_child(mut room: Map<String, Value>) -> Option<Map<String, Value>> {
    let allowed = room.remove("allowed_room_ids");
    let mut told = public_room(room)?;
    if let Some(Value::Array(allowed)) = allowed {
        let is_room = |id: &Value| id.as_str().is_some_and(|id| OwnedRoomId::try_from(id).is_ok());
        let allowed: Vec<Value> = allowed.into_iter().filter(is_room).take(MAX_ALLOWED).collect();
        told.insert("allowed_room_ids".to_owned(), Value::Array(allowed));
    }
    Some(told)
}

/// A room of a space, with its children.
pub(super) fn space_room(mut room: Map<String, Value>, suggested_only: bool) -> Option<Map<String, Value>> {
    let children = room.remove("children_state");
    let mut told = space_child(room)?;
    let Some(Value::Array(children)) = children else {
        told.insert("children_state".to_owned(), Value::Array(Vec::new()));
        return Some(told);
    };
    let children = children.into_iter().take(MAX_CHILDREN).filter_map(child);
    let is_wanted = |child: &Map<String, Value>| !suggested_only || is_suggested(child);
    let children = children.filter(is_wanted).map(Value::Object).collect();
    told.insert("children_state".to_owned(), Value::Array(children));
    Some(told)
}

/// A valid `m.space.child` event, stripped.
fn child(event: Value) -> Option<Map<String, Value>> {
    let Value::Object(mut event) = event else { return None };
    let mut text = |key: &str| match event.remove(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let kind = text("type").filter(|kind| kind == "m.space.child")?;
    let room_id = OwnedRoomId::try_from(text("state_key")?).ok()?;
    let sender = OwnedUserId::try_from(text("sender")?).ok()?;
    let ts = event.remove("origin_server_ts").filter(Value::is_u64)?;
    let Some(Value::Object(content)) = event.remove("content") else { return None };
    // Who names no server has taken the child away.
    let via = content.get("via").and_then(Value::as_array)?;
    if via.is_empty() || !via.iter().all(Value::is_string) {
        return None;
    }
    let mut told = Map::new();
    told.insert("type".to_owned(), Value::from(kind));
    told.insert("state_key".to_owned(), Value::from(room_id.to_string()));
    told.insert("sender".to_owned(), Value::from(sender.to_string()));
    told.insert("content".to_owned(), Value::Object(content));
    told.insert("origin_server_ts".to_owned(), ts);
    Some(told)
}

fn is_suggested(child: &Map<String, Value>) -> bool {
    child.get("content").and_then(|content| content.get("suggested")) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_has_other_types_is_left_out() {
        let room = object(json!({
            "room_id": "!r:x", "name": 7, "topic": "t", "num_joined_members": -1, "odd": true, "world_readable": true,
        }));
        let expected = object(json!({
            "room_id": "!r:x", "topic": "t", "num_joined_members": 0, "world_readable": true, "guest_can_join": false,
        }));
        assert_eq!(public_room(room), Some(expected));
        assert_eq!(public_room(object(json!({ "room_id": "r" }))), None);
    }

    #[test]
    fn children_without_servers_are_none() {
        let child = |room: &str, content: Value| {
            json!({
                "type": "m.space.child", "state_key": room, "sender": "@a:x", "origin_server_ts": 1, "content": content,
                "event_id": "$x",
            })
        };
        let room = json!({ "room_id": "!r:x", "children_state": [
            child("!a:x", json!({ "via": ["x"], "suggested": true })),
            child("!b:x", json!({ "via": [] })),
            child("b", json!({ "via": ["x"] })),
            child("!c:x", json!({ "via": ["x"] })),
            "nonsense",
        ] });
        let keys = |suggested| {
            let told = space_room(object(room.clone()), suggested).unwrap();
            let children = told["children_state"].as_array().unwrap().clone();
            children.iter().map(|child| child["state_key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(keys(false), ["!a:x", "!c:x"]);
        assert_eq!(keys(true), ["!a:x"]);
    }
}
