//! The few things that are told of a room to who is not in it, between servers and to users.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#stripped-state)

use plexus_events::{RoomRules, canonical, hash};
use plexus_matrix_http::MatrixError;
use plexus_service::RpcChannel;
use ruma::{RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tonic::Status;

use crate::front::Front;

/// What is told of a room.
const TYPES: [&str; 7] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.encryption",
    "m.room.name",
    "m.room.topic",
];
/// Most events of other servers that are kept, and most bytes of all.
const MAX_EVENTS: usize = 100;
const MAX_BYTES: usize = 256 * 1024;

/// The events that tell another server what the room is, as they were signed, with members.
pub(crate) async fn of_room(
    rooms: &RpcChannel,
    room_id: &RoomId,
    members: &[&UserId],
) -> Result<Vec<String>, Status> {
    let others: Vec<(&str, &str)> = TYPES.iter().map(|kind| (*kind, "")).collect();
    let front = Front::read(rooms, room_id, members, &others).await?;
    Ok(of_front(&front, members))
}

/// The same, of a front that was read with all of them.
pub(crate) fn of_front(front: &Front, members: &[&UserId]) -> Vec<String> {
    let facts = TYPES.iter().filter_map(|kind| front.find(kind, ""));
    let members = members.iter().filter_map(|user| front.find(crate::front::MEMBER, user.as_str()));
    let text = |json: &[u8]| std::str::from_utf8(json).ok().map(str::to_owned);
    facts.chain(members).filter_map(|(_, json)| text(json)).collect()
}

/// What is read of a room for [`of_front`].
pub(crate) fn keys() -> Vec<(&'static str, &'static str)> {
    TYPES.iter().map(|kind| (*kind, "")).collect()
}

#[derive(Deserialize)]
struct StrippedEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    state_key: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    sender: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(default)]
    origin_server_ts: Option<i64>,
}

#[derive(Serialize)]
struct Stripped<'a> {
    content: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_server_ts: Option<i64>,
    sender: &'a str,
    state_key: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

/// Reads what another server tells of a room, and makes it fit for users: a list of stripped state events. What is no event
/// is left out, and what is too much. Where the room ID is the hash of the create event, that must be there and be it.
pub(crate) fn read(
    events: Vec<&RawValue>,
    room_id: &RoomId,
    rules: &RoomRules,
) -> Result<String, MatrixError> {
    let (mut kept, mut has_create) = (Vec::new(), false);
    let mut bytes = 2;
    for event in events.into_iter().take(MAX_EVENTS) {
        let json = event.get();
        let Ok(told) = serde_json::from_str::<StrippedEvent<'_>>(json) else { continue };
        if <&UserId>::try_from(&*told.sender).is_err() || told.state_key.len() > 255 || told.kind.len() > 255
        {
            continue;
        }
        let is_create = told.kind == "m.room.create" && told.state_key.is_empty();
        if is_create && rules.room_id_is_create_hash() {
            let parsed = canonical::parse_object(json.as_bytes()).ok();
            let id = parsed.and_then(|mut event| {
                event.remove("unsigned");
                hash::event_id(&event, rules).ok()
            });
            let fits =
                id.is_some_and(|id| id.as_str().strip_prefix('$') == room_id.as_str().strip_prefix('!'));
            if !fits {
                return Err(MatrixError::invalid_param("The create event is of another room"));
            }
            has_create = true;
        }
        if !told.content.get().starts_with('{') {
            continue;
        }
        let stripped = Stripped {
            content: told.content,
            // Clients order rooms by when they were made.
            origin_server_ts: told.origin_server_ts.filter(|_| is_create),
            sender: &told.sender,
            state_key: &told.state_key,
            kind: &told.kind,
        };
        let Ok(stripped) = to_raw_value(&stripped) else { continue };
        bytes += stripped.get().len() + 1;
        if bytes > MAX_BYTES {
            break;
        }
        kept.push(stripped);
    }
    if rules.room_id_is_create_hash() && !has_create {
        return Err(MatrixError::missing_param("The state of the room lacks the create event"));
    }
    let kept: Vec<&str> = kept.iter().map(|event| event.get()).collect();
    Ok(format!("[{}]", kept.join(",")))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read_of(events: &Value, version: &str) -> Result<Value, MatrixError> {
        let text = events.to_string();
        let events: Vec<&RawValue> = serde_json::from_str(&text).unwrap();
        let read = read(events, ruma::room_id!("!room:other.test"), RoomRules::of(version).unwrap())?;
        Ok(serde_json::from_str(&read).unwrap())
    }

    #[test]
    fn what_is_no_event_is_left_out() {
        let event = |kind: &str, content: Value| serde_json::json!({ "type": kind, "state_key": "", "sender": "@a:other.test", "content": content });
        let name = event("m.room.name", serde_json::json!({ "name": "Far" }));
        let junk = serde_json::json!([
            null, 1, "a", [], {}, { "type": "m.room.name" }, { "type": 1, "state_key": "" },
            { "type": "m.room.name", "state_key": "", "sender": "nobody", "content": {} },
            event("m.room.topic", Value::Null), event("m.room.topic", serde_json::json!([])), name,
        ]);
        assert_eq!(read_of(&junk, "11").unwrap(), serde_json::json!([name]));
        let mut create = event("m.room.create", serde_json::json!({}));
        create["origin_server_ts"] = 5.into();
        create["hashes"] = serde_json::json!({});
        let told = read_of(&serde_json::json!([create]), "11").unwrap();
        assert_eq!((&told[0]["origin_server_ts"], &told[0]["hashes"]), (&5.into(), &Value::Null));
        // Where it must be the room, another one is not, and none is too little.
        assert!(read_of(&serde_json::json!([create]), "12").unwrap_err().is("M_INVALID_PARAM"));
        assert!(read_of(&serde_json::json!([name]), "12").unwrap_err().is("M_MISSING_PARAM"));
    }

    #[test]
    fn much_is_cut_off() {
        let large = serde_json::json!({
            "type": "m.room.topic", "state_key": "", "sender": "@a:other.test",
            "content": { "topic": "x".repeat(60_000) },
        });
        let told = read_of(&Value::Array(vec![large; 20]), "11").unwrap();
        assert_eq!(told.as_array().unwrap().len(), 4);
    }
}
