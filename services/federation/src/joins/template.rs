//! Templates of other servers: what is taken of them, and the event that is made of it.
//!
//! A template is not signed as it came. It says how the event is woven into the room, and who vouches for it; all else is
//! ours to say.

use plexus_events::{Built, Draft, MAX_AUTH_EVENTS, MAX_INTEGER, MAX_PREV_EVENTS, Object, RoomRules, Value};
use ruma::{OwnedEventId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;

use super::failure::Failure;
use crate::{Federation, front::MEMBER};

const VOUCHER: &str = "join_authorised_via_users_server";

#[derive(Deserialize)]
struct Answer {
    /// Version 1, if the server does not say.
    #[serde(default)]
    room_version: Option<String>,
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    room_id: String,
    sender: String,
    state_key: String,
    content: Content,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    #[serde(default)]
    depth: serde_json::Value,
}

#[derive(Deserialize)]
struct Content {
    membership: String,
    #[serde(default)]
    join_authorised_via_users_server: Option<serde_json::Value>,
}

/// What is taken of a template.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) rules: &'static RoomRules,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    depth: i64,
    voucher: Option<OwnedUserId>,
}

/// Reads a template, and checks that it is about what was asked.
pub(crate) fn read(
    body: &[u8],
    room_id: &RoomId,
    user_id: &UserId,
    membership: &str,
) -> Result<Template, Failure> {
    let bad = |why: &str| Failure::Answer(format!("the template {why}"));
    let answer: Answer = serde_json::from_slice(body).map_err(|error| bad(&format!("is none: {error}")))?;
    let version = answer.room_version.unwrap_or_else(|| "1".to_owned());
    let rules = RoomRules::of(&version).map_err(|error| Failure::Version(error.0))?;
    let Event { kind, room_id: room, sender, state_key, content, prev_events, auth_events, depth } =
        answer.event;
    if kind != MEMBER || content.membership != membership {
        return Err(bad("is of another kind"));
    }
    if room != room_id.as_str() {
        return Err(bad("is of another room"));
    }
    if sender != user_id.as_str() || state_key != user_id.as_str() {
        return Err(bad("is about another user"));
    }
    if prev_events.is_empty() || prev_events.len() > MAX_PREV_EVENTS || auth_events.len() > MAX_AUTH_EVENTS {
        return Err(bad("cites too few or too many events"));
    }
    // Depth is a claim. It only must be one that can be told.
    let depth = depth.as_i64().unwrap_or(MAX_INTEGER).clamp(0, MAX_INTEGER);
    let voucher = match content.join_authorised_via_users_server {
        Some(voucher) if membership == "join" => {
            let parsed = voucher.as_str().and_then(|voucher| voucher.try_into().ok());
            Some(parsed.ok_or_else(|| bad("names nobody who vouches"))?)
        }
        Some(_) | None => None,
    };
    Ok(Template { rules, prev_events, auth_events, depth, voucher })
}

impl Template {
    /// A template of our own, for an event that follows one event and is authorized by it.
    pub(crate) fn citing(rules: &'static RoomRules, event_id: OwnedEventId) -> Self {
        Self {
            rules,
            prev_events: vec![event_id.clone()],
            auth_events: vec![event_id],
            depth: 1,
            voucher: None,
        }
    }

    /// Makes the event: `content` is what we say.
    pub(crate) fn sign(
        &self,
        federation: &Federation,
        room_id: &RoomId,
        user_id: &UserId,
        mut content: Object,
        origin_server_ts: i64,
    ) -> Result<Built, plexus_events::BuildError> {
        content.remove(VOUCHER);
        if let Some(voucher) = &self.voucher {
            content.insert(VOUCHER.to_owned(), Value::String(voucher.to_string()));
        }
        let draft = Draft {
            room_id: Some(room_id),
            sender: user_id,
            event_type: MEMBER,
            state_key: Some(user_id.as_str()),
            content,
            redacts: None,
            prev_events: &self.prev_events,
            auth_events: &self.auth_events,
            depth: self.depth,
            origin_server_ts,
        };
        draft.hash(self.rules)?.sign(federation.name(), &federation.key)
    }
}

#[cfg(test)]
mod tests {
    use ruma::{room_id, user_id};
    use serde_json::json;

    use super::*;

    fn template() -> serde_json::Value {
        json!({
            "room_version": "11",
            "event": {
                "type": "m.room.member", "room_id": "!r:far.test", "sender": "@a:us.test", "state_key": "@a:us.test",
                "content": { "membership": "join", "join_authorised_via_users_server": "@v:far.test" },
                "prev_events": ["$p"], "auth_events": ["$c"], "depth": 7, "origin_server_ts": 1,
            },
        })
    }

    fn read_of(template: &serde_json::Value) -> Result<Template, Failure> {
        let body = template.to_string();
        read(body.as_bytes(), room_id!("!r:far.test"), user_id!("@a:us.test"), "join")
    }

    #[test]
    fn templates_about_something_else_are_not_taken() {
        let good = read_of(&template()).unwrap();
        assert_eq!((good.depth, good.voucher.unwrap().as_str()), (7, "@v:far.test"));
        for (pointer, value) in [
            ("/event/type", json!("m.room.power_levels")),
            ("/event/room_id", json!("!other:far.test")),
            ("/event/sender", json!("@b:us.test")),
            ("/event/state_key", json!("@b:us.test")),
            ("/event/content/membership", json!("leave")),
            ("/event/content/join_authorised_via_users_server", json!("nobody")),
            ("/event/prev_events", json!([])),
            ("/event/prev_events", json!(vec!["$p"; 21])),
            ("/event/prev_events", json!([["$p", {}]])),
            ("/event/auth_events", json!(vec!["$p"; 11])),
            ("/event/state_key", json!(null)),
            ("/room_version", json!("1")),
            ("/room_version", json!("none")),
            ("/event", json!([])),
        ] {
            let mut template = template();
            *template.pointer_mut(pointer).unwrap() = value.clone();
            assert!(read_of(&template).is_err(), "{pointer} {value}");
        }
        let mut deep = template();
        for depth in [json!(1_u64 << 60), json!(-5), json!(1.5), json!("x")] {
            deep["event"]["depth"] = depth;
            assert!((0..=MAX_INTEGER).contains(&read_of(&deep).unwrap().depth));
        }
    }
}
