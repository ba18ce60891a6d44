//! A server that has rooms: users of the server under test join them, leave them, knock on them, and are invited.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{
    event,
    peer::{Peer, Told, now},
};

/// What a server has, and what it was asked.
#[derive(Default)]
struct Facts {
    /// The current state.
    state: BTreeMap<(String, String), Value>,
    /// All events, in order.
    events: Vec<Value>,
    /// Requests: method and path.
    asked: Vec<String>,
    /// Answers to requests whose path contains something, instead of the usual one.
    refusals: Vec<(String, u16, &'static str)>,
}

/// A server with one room, of version 11.
#[derive(Clone)]
pub(super) struct Resident {
    pub(super) peer: Peer,
    pub(super) room: String,
    /// Who made the room.
    pub(super) creator: String,
    facts: Arc<Mutex<Facts>>,
}

impl Resident {
    /// Starts a server whose room has a join rule.
    pub(super) async fn start(join_rule: &str) -> Self {
        let peer = Peer::start(Told::Current).await;
        let name = peer.name.clone();
        let facts = Arc::default();
        let resident =
            Self { room: format!("!far:{name}"), creator: format!("@creator:{name}"), peer, facts };
        let answering = resident.clone();
        resident.peer.answers_otherwise(Box::new(move |asked| {
            let (method, path) = asked.what.split_once(' ')?;
            answering.answer(method, path, asked.body.clone())
        }));
        let creator = resident.creator.as_str();
        resident.says("m.room.create", "", json!({ "room_version": "11" }));
        resident.says("m.room.member", creator, json!({ "membership": "join" }));
        resident.says("m.room.power_levels", "", json!({ "users": { creator: 100 } }));
        resident.says("m.room.join_rules", "", json!({ "join_rule": join_rule }));
        resident.says("m.room.history_visibility", "", json!({ "history_visibility": "shared" }));
        resident.says("m.room.name", "", json!({ "name": "Far away" }));
        resident
    }

    /// Has requests whose path contains a word refused.
    pub(super) fn refuses(&self, word: &str, status: u16, errcode: &'static str) {
        self.facts.lock().expect("no test panics here").refusals.push((word.to_owned(), status, errcode));
    }

    /// Requests whose path contains a word.
    pub(super) fn asked(&self, word: &str) -> Vec<String> {
        let facts = self.facts.lock().expect("no test panics here");
        facts.asked.iter().filter(|asked| asked.contains(word)).cloned().collect()
    }

    /// What a user is in the room.
    pub(super) fn membership(&self, user: &str) -> Value {
        let facts = self.facts.lock().expect("no test panics here");
        let key = ("m.room.member".to_owned(), user.to_owned());
        facts.state.get(&key).map(|event| event["content"]["membership"].clone()).unwrap_or_default()
    }

    /// Member events of a user, of all times.
    pub(super) fn member_events(&self, user: &str) -> Vec<Value> {
        let facts = self.facts.lock().expect("no test panics here");
        facts.events.iter().filter(|event| event["state_key"] == user).cloned().collect()
    }

    /// Sends an event of the creator to the room; nobody else is told.
    pub(super) fn says(&self, kind: &str, state_key: &str, content: Value) -> Value {
        let mut draft = self.draft(kind, &self.creator, state_key, content);
        draft["origin_server_ts"] = now().into();
        let event = event::finish(draft, &self.peer);
        self.takes(event.clone());
        event
    }

    fn takes(&self, event: Value) {
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let mut facts = self.facts.lock().expect("no test panics here");
        facts.state.insert((text("type"), text("state_key")), event.clone());
        facts.events.push(event);
    }

    /// An event at the end of the room, without hash and signature.
    fn draft(&self, kind: &str, sender: &str, state_key: &str, content: Value) -> Value {
        let facts = self.facts.lock().expect("no test panics here");
        let mut keys = vec![("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", sender)];
        if kind == "m.room.member" {
            keys.push(("m.room.join_rules", ""));
            keys.push(("m.room.member", state_key));
        }
        let mut cited: Vec<String> = Vec::new();
        for (kind, state_key) in keys {
            let found = facts.state.get(&(kind.to_owned(), state_key.to_owned())).map(event::id);
            cited.extend(found.filter(|id| !cited.contains(id)));
        }
        let last: Vec<String> = facts.events.last().map(event::id).into_iter().collect();
        json!({
            "type": kind, "room_id": self.room, "sender": sender, "state_key": state_key, "content": content,
            "depth": facts.events.len() + 1, "prev_events": last, "auth_events": cited,
            "origin_server_ts": now(),
        })
    }

    fn answer(&self, method: &str, path: &str, body: Value) -> Option<(u16, Value)> {
        let refusal = {
            let mut facts = self.facts.lock().expect("no test panics here");
            facts.asked.push(format!("{method} {path}"));
            facts.refusals.iter().find(|(word, ..)| path.contains(word)).cloned()
        };
        if let Some((_, status, errcode)) = refusal {
            return Some((status, json!({ "errcode": errcode, "error": "refused by the test" })));
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<String> = path.split('/').map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match *parts.as_slice() {
            ["", "_matrix", "federation", "v1", make, room, user]
                if method == "GET" && make.starts_with("make_") && room == self.room =>
            {
                let membership = make.trim_start_matches("make_");
                if membership != "leave" && !query.split('&').any(|part| part == "ver=11") {
                    return Some((
                        400,
                        json!({ "errcode": "M_INCOMPATIBLE_ROOM_VERSION", "room_version": "11" }),
                    ));
                }
                let event = self.draft("m.room.member", user, user, json!({ "membership": membership }));
                Some((200, json!({ "room_version": "11", "event": event })))
            }
            ["", "_matrix", "federation", "v2", "send_join", room, id]
                if method == "PUT" && room == self.room =>
            {
                let (state, chain) = {
                    let facts = self.facts.lock().expect("no test panics here");
                    let state: Vec<Value> = facts.state.values().cloned().collect();
                    (state, facts.events.clone())
                };
                self.takes_about(&body, id)?;
                let answer = json!({
                    "state": state, "auth_chain": chain, "origin": self.peer.name, "event": body,
                    "members_omitted": false, "servers_in_room": [self.peer.name],
                });
                Some((200, answer))
            }
            ["", "_matrix", "federation", "v2", "send_leave", room, id]
                if method == "PUT" && room == self.room =>
            {
                self.takes_about(&body, id)?;
                Some((200, json!({})))
            }
            ["", "_matrix", "federation", "v1", "send_knock", room, id]
                if method == "PUT" && room == self.room =>
            {
                let facts = ["m.room.create", "m.room.join_rules", "m.room.name"];
                let state: Vec<Value> = {
                    let known = self.facts.lock().expect("no test panics here");
                    facts
                        .iter()
                        .filter_map(|kind| known.state.get(&((*kind).to_owned(), String::new())))
                        .cloned()
                        .collect()
                };
                self.takes_about(&body, id)?;
                Some((200, json!({ "knock_room_state": state })))
            }
            ["", "_matrix", "federation", "v1", "exchange_third_party_invite", room]
                if method == "PUT" && room == self.room =>
            {
                self.says("m.room.member", body["state_key"].as_str()?, json!({ "membership": "invite" }));
                Some((200, json!({})))
            }
            ["", "_matrix", "federation", "v2", "invite", _, _] if method == "PUT" => {
                let mut event = body["event"].clone();
                event::countersign(&mut event, &self.peer);
                Some((200, json!({ "event": event })))
            }
            ["", "_matrix", "federation", "v1", "query", "directory"] => {
                Some((200, json!({ "room_id": self.room, "servers": [self.peer.name] })))
            }
            _ => None,
        }
    }

    /// Takes an event that another server sends, once.
    fn takes_about(&self, event: &Value, id: &str) -> Option<()> {
        if event::id(event) != id {
            return None;
        }
        let user = event["state_key"].as_str().unwrap_or_default();
        if !self.member_events(user).iter().any(|known| event::id(known) == id) {
            self.takes(event.clone());
        }
        Some(())
    }

    /// An invite of a user to the room, and what is told of the room with it.
    pub(super) fn invites(&self, user: &str) -> (Value, String) {
        let event = self.says("m.room.member", user, json!({ "membership": "invite" }));
        let id = event::id(&event);
        let name = {
            let facts = self.facts.lock().expect("no test panics here");
            let key = |kind: &str| (kind.to_owned(), String::new());
            [facts.state[&key("m.room.create")].clone(), facts.state[&key("m.room.name")].clone()]
        };
        (json!({ "room_version": "11", "event": event, "invite_room_state": name }), id)
    }
}

/// A part of a path, decoded.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: Vec<u8> = rest.by_ref().take(2).collect();
            let text = String::from_utf8_lossy(&digits).into_owned();
            bytes.push(u8::from_str_radix(&text, 16).unwrap_or_default());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
