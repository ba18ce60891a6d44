//! What users do in rooms.

use std::{
    fmt,
    future::IntoFuture,
    sync::atomic::{AtomicU64, Ordering},
};

use futures::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};

use super::User;
use crate::wire::{Json as _, Request};

static NEXT_TRANSACTION: AtomicU64 = AtomicU64::new(0);

/// A room, by its ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Room(pub(crate) String);

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A room that is made when this is awaited.
#[must_use = "the room is made when this is awaited"]
#[derive(Debug, Clone)]
pub(crate) struct CreateRoom {
    user: User,
    body: Value,
    members: Vec<User>,
}

impl CreateRoom {
    /// Anybody may join.
    pub(crate) fn public(self) -> Self {
        self.with("preset", json!("public_chat"))
    }

    /// Sets a field of the request.
    pub(crate) fn with(mut self, field: &str, value: Value) -> Self {
        self.body[field] = value;
        self
    }

    /// Adds an event to the initial state, with the empty state key.
    pub(crate) fn state(mut self, event_type: &str, content: Value) -> Self {
        let entry = json!({ "type": event_type, "state_key": "", "content": content });
        match self.body["initial_state"].as_array_mut() {
            Some(entries) => entries.push(entry),
            None => self.body["initial_state"] = json!([entry]),
        }
        self
    }

    /// Invites a user, who joins.
    pub(crate) fn member(mut self, user: &User) -> Self {
        self.members.push(user.clone());
        self
    }
}

impl IntoFuture for CreateRoom {
    type Output = Room;
    type IntoFuture = BoxFuture<'static, Room>;

    fn into_future(mut self) -> Self::IntoFuture {
        async move {
            if !self.members.is_empty() {
                self.body["invite"] = self.members.iter().map(|member| member.id.clone()).collect();
            }
            let answer = self.user.post("/createRoom", self.body).await.ok();
            let room = Room(answer.text("/room_id"));
            for member in &self.members {
                member.joins(&room).await.ok();
            }
            room
        }
        .boxed()
    }
}

impl User {
    /// Makes a private room, unless the builder says else.
    pub(crate) fn creates_room(&self) -> CreateRoom {
        CreateRoom { user: self.clone(), body: json!({ "preset": "private_chat" }), members: Vec::new() }
    }

    /// `POST /rooms/{roomId}/join`
    pub(crate) fn joins(&self, room: &Room) -> Request {
        self.post(path!("/rooms/{}/join", room), json!({}))
    }

    /// `POST /knock/{roomIdOrAlias}`
    pub(crate) fn knocks(&self, room: &Room) -> Request {
        self.post(path!("/knock/{}", room), json!({}))
    }

    /// `POST /rooms/{roomId}/leave`
    pub(crate) fn leaves(&self, room: &Room) -> Request {
        self.post(path!("/rooms/{}/leave", room), json!({}))
    }

    /// `POST /rooms/{roomId}/forget`
    pub(crate) fn forgets(&self, room: &Room) -> Request {
        self.post(path!("/rooms/{}/forget", room), json!({}))
    }

    /// `POST /rooms/{roomId}/invite`
    pub(crate) fn invites(&self, user: &Self, room: &Room) -> Request {
        self.post(path!("/rooms/{}/invite", room), json!({ "user_id": user.id }))
    }

    /// `POST /rooms/{roomId}/kick`
    pub(crate) fn kicks(&self, user: &Self, room: &Room) -> Request {
        self.post(path!("/rooms/{}/kick", room), json!({ "user_id": user.id }))
    }

    /// `POST /rooms/{roomId}/ban`
    pub(crate) fn bans(&self, user: &Self, room: &Room) -> Request {
        self.post(path!("/rooms/{}/ban", room), json!({ "user_id": user.id }))
    }

    /// `POST /rooms/{roomId}/unban`
    pub(crate) fn unbans(&self, user: &Self, room: &Room) -> Request {
        self.post(path!("/rooms/{}/unban", room), json!({ "user_id": user.id }))
    }

    /// `PUT /rooms/{roomId}/send/{eventType}/{txnId}` with a transaction ID of its own.
    pub(crate) fn sends(&self, room: &Room, event_type: &str, content: Value) -> Request {
        let transaction = format!("t{}", NEXT_TRANSACTION.fetch_add(1, Ordering::Relaxed));
        self.put(path!("/rooms/{}/send/{}/{}", room, event_type, transaction), content)
    }

    /// Sends a text; returns its event ID.
    pub(crate) async fn says(&self, room: &Room, text: &str) -> String {
        let content = json!({ "msgtype": "m.text", "body": text });
        self.sends(room, "m.room.message", content).await.ok().text("/event_id")
    }

    /// `PUT /rooms/{roomId}/redact/{eventId}/{txnId}` with a transaction ID of its own.
    pub(crate) fn redacts(&self, room: &Room, event: &str) -> Request {
        let transaction = format!("t{}", NEXT_TRANSACTION.fetch_add(1, Ordering::Relaxed));
        self.put(path!("/rooms/{}/redact/{}/{}", room, event, transaction), json!({}))
    }

    /// `PUT /rooms/{roomId}/state/{eventType}/{stateKey}`
    pub(crate) fn sets_state(&self, room: &Room, event_type: &str, key: &str, content: Value) -> Request {
        self.put(path!("/rooms/{}/state/{}/{}", room, event_type, key), content)
    }

    /// `GET /rooms/{roomId}/state/{eventType}/{stateKey}`
    pub(crate) fn reads_state(&self, room: &Room, event_type: &str, key: &str) -> Request {
        self.get(path!("/rooms/{}/state/{}/{}", room, event_type, key))
    }

    /// `GET /rooms/{roomId}/state`
    pub(crate) fn reads_all_state(&self, room: &Room) -> Request {
        self.get(path!("/rooms/{}/state", room))
    }

    /// `GET /rooms/{roomId}/event/{eventId}`
    pub(crate) fn reads_event(&self, room: &Room, event: &str) -> Request {
        self.get(path!("/rooms/{}/event/{}", room, event))
    }

    /// `GET /rooms/{roomId}/context/{eventId}`
    pub(crate) fn reads_context(&self, room: &Room, event: &str) -> Request {
        self.get(path!("/rooms/{}/context/{}", room, event))
    }

    /// `GET /rooms/{roomId}/messages`, newest first.
    pub(crate) fn reads_messages(&self, room: &Room) -> Request {
        self.get(path!("/rooms/{}/messages", room)).query("dir", "b")
    }

    /// `GET /rooms/{roomId}/members`
    pub(crate) fn reads_members(&self, room: &Room) -> Request {
        self.get(path!("/rooms/{}/members", room))
    }

    /// The membership of a user, as this user reads it in the state.
    pub(crate) async fn reads_membership(&self, room: &Room, of: &Self) -> String {
        self.reads_state(room, "m.room.member", &of.id).await.ok().text("/membership")
    }

    /// Sets one power level: in a table of them (`users`, `events`), or, if that is empty, by itself (`kick`).
    pub(crate) async fn sets_power(&self, room: &Room, table: &str, key: &str, level: i64) {
        let mut levels = self.reads_state(room, "m.room.power_levels", "").await.ok();
        if table.is_empty() {
            levels[key] = json!(level);
        } else {
            levels[table][key] = json!(level);
        }
        self.sets_state(room, "m.room.power_levels", "", levels).await.ok();
    }
}
