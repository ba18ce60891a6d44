//! A room of the server under test, as a peer sees it one of whose users is in it. (Room version 11.)

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::peer::{Peer, now};
use crate::{
    actor::{Room, User},
    server::Server,
    wire::{Answer, Json as _},
};

/// An event that a peer has made.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Its ID.
    pub(super) id: String,
    /// The event, signed.
    pub(super) json: Value,
}

/// A room, and what of it a new event cites.
pub(super) struct RemoteRoom<'p> {
    server: Server,
    peer: &'p Peer,
    /// The room.
    pub(super) room: Room,
    /// The user of the peer.
    pub(super) user: String,
    /// IDs of the events that authorize others: create event, power levels, join rules.
    auth: [String; 3],
    /// The member event of the user.
    pub(super) member: String,
    /// What the next event follows on.
    pub(super) latest: Vec<String>,
    depth: u64,
}

impl<'p> RemoteRoom<'p> {
    /// A user of the peer joins a public room that a user has made.
    pub(super) async fn joined(server: &Server, peer: &'p Peer, alice: &User) -> Self {
        let room = alice.creates_room().public().with("room_version", json!("11")).await;
        Self::joins(server, peer, alice, room).await
    }

    /// A user of the peer joins a room, by an event that the peer sends.
    pub(super) async fn joins(server: &Server, peer: &'p Peer, alice: &User, room: Room) -> Self {
        let state = alice.get(path!("/rooms/{}/state", room)).await.ok();
        let id_of = |event_type: &str| {
            let event = state.as_array().into_iter().flatten().find(|event| event["type"] == event_type);
            event.map(|event| event.text("/event_id")).unwrap_or_else(|| panic!("no {event_type} in {state}"))
        };
        let auth = ["m.room.create", "m.room.power_levels", "m.room.join_rules"].map(id_of);
        let last =
            alice.get(path!("/rooms/{}/messages", room)).query("dir", "b").query("limit", 1).await.ok();
        let user = format!("@{}:{}", server.unique("bob"), peer.name);
        let mut remote = Self {
            server: server.clone(),
            peer,
            room,
            user: user.clone(),
            auth,
            member: String::new(),
            latest: vec![last.text("/chunk/0/event_id")],
            depth: 100,
        };
        let since = alice.sync_token().await;
        let join = remote.makes("m.room.member", Some(&user), json!({ "membership": "join" }));
        remote.member.clone_from(&join.id);
        remote.sends(&[&join]).await;
        alice.hears(&since, &remote.room, &join.id).await;
        remote
    }

    /// Makes an event of the user that follows on the last one.
    pub(super) fn makes(&mut self, event_type: &str, state_key: Option<&str>, content: Value) -> Event {
        let mut auth: Vec<&str> = self.auth[..2].iter().map(String::as_str).collect();
        if event_type == "m.room.member" {
            auth.push(&self.auth[2]);
        }
        if !self.member.is_empty() {
            auth.push(&self.member);
        }
        let mut event = json!({
            "auth_events": auth, "content": content, "depth": self.depth, "origin_server_ts": now(),
            "prev_events": self.latest, "room_id": self.room.0, "sender": self.user, "type": event_type,
        });
        if let Some(state_key) = state_key {
            event["state_key"] = json!(state_key);
        }
        let event = self.signs(event);
        self.latest = vec![event.id.clone()];
        self.depth += 1;
        event
    }

    /// Makes a message that follows on the last event.
    pub(super) fn says(&mut self, text: &str) -> Event {
        self.makes("m.room.message", None, json!({ "msgtype": "m.text", "body": text }))
    }

    /// Hashes and signs an event.
    pub(super) fn signs(&self, mut event: Value) -> Event {
        event["hashes"] = json!({ "sha256": STANDARD_NO_PAD.encode(Sha256::digest(event.to_string())) });
        let redacted = redacted(&event).to_string();
        event["signatures"] =
            json!({ &self.peer.name: { "ed25519:a": self.peer.signature(redacted.as_bytes()) } });
        Event { id: format!("${}", URL_SAFE_NO_PAD.encode(Sha256::digest(&redacted))), json: event }
    }

    /// Sends a transaction of events, which is taken; returns what is answered of them.
    pub(super) async fn sends(&self, events: &[&Event]) -> Value {
        let pdus: Vec<&Value> = events.iter().map(|event| &event.json).collect();
        self.transacts(json!({ "pdus": pdus })).await.ok()["pdus"].clone()
    }

    /// Sends a transaction.
    pub(super) async fn transacts(&self, body: Value) -> Answer {
        transacts(&self.server, self.peer, &self.server.unique("txn"), body).await
    }

    /// What a path about the room begins with, encoded as it is asked.
    pub(super) fn path(&self, method: &str, endpoint: &str) -> String {
        format!("{method} /_matrix/federation/v1/{endpoint}/{}", crate::wire::encoded(&self.room.0))
    }
}

/// Sends a transaction of a peer.
pub(super) async fn transacts(server: &Server, peer: &Peer, txn_id: &str, mut body: Value) -> Answer {
    let uri = format!("/_matrix/federation/v1/send/{txn_id}");
    for (field, value) in [("origin", json!(peer.name)), ("origin_server_ts", json!(now()))] {
        if body.get(field).is_none() {
            body[field] = value;
        }
    }
    let header = peer.signs("PUT", &uri, server.name(), Some(&body));
    server.federation().put(uri.as_str(), body).header("authorization", &header).await
}

/// What is left of an event when it is redacted, without signatures.
fn redacted(event: &Value) -> Value {
    let content: &[&str] = match event["type"].as_str() {
        Some("m.room.member") => &["membership", "join_authorised_via_users_server"],
        Some("m.room.power_levels") => {
            &["users", "users_default", "events", "events_default", "state_default"]
        }
        _ => &[],
    };
    let mut redacted = event.clone();
    let kept: Map<String, Value> = content
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), event["content"].get(*key)?.clone())))
        .collect();
    redacted["content"] = Value::Object(kept);
    if let Some(fields) = redacted.as_object_mut() {
        fields.remove("signatures");
        fields.remove("unsigned");
    }
    redacted
}
