//! Whom and what an attack is about: an attacker, a room, and somebody else who is in it.

use serde_json::json;

use crate::{
    actor::{Room, User},
    server::Server,
    wire::Json as _,
};

/// An attacker in a room of theirs, with a victim.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    /// The attacker.
    pub(super) user_id: String,
    /// Access token of the attacker.
    pub(super) token: String,
    /// Device of the attacker.
    pub(super) device: String,
    /// The room.
    pub(super) room: String,
    /// An event of the attacker's.
    pub(super) event: String,
    /// Who shares the room.
    pub(super) victim_id: String,
    /// What the victim reads it by.
    victim: User,
    /// Where the victim goes on from.
    since: String,
}

impl Scene {
    /// Sets a scene.
    pub(super) async fn set(server: &Server, room_version: &str) -> Self {
        let (attacker, victim) = futures::join!(server.user("attacker"), server.user("victim"));
        let room = attacker.creates_room().public().with("room_version", json!(room_version)).await;
        victim.joins(&room).await.ok();
        attacker.sets_power(&room, "", "state_default", 0).await;
        victim.says(&room, "hello").await;
        let event = attacker.says(&room, "hello").await;
        let since = victim.sync_token().await;
        Self {
            user_id: attacker.id.clone(),
            token: attacker.token().to_owned(),
            device: attacker.device.clone(),
            room: room.0,
            event,
            victim_id: victim.id.clone(),
            victim,
            since,
        }
    }

    /// The victim reads everything there is of the room. Returns what could not be read: an error of the server's in any
    /// case, and whatever is refused to them while they are in the room.
    pub(super) async fn unreadable(&self) -> Vec<String> {
        let victim = &self.victim;
        let mut wrong = Vec::new();
        let joined = victim.get("/joined_rooms").await.ok();
        let is_in = joined.list("/joined_rooms").contains(&json!(self.room));
        let room = Room(self.room.clone());
        let (event, room_id) = (self.event.as_str(), room.0.as_str());
        let of_room = [
            victim.reads_all_state(&room),
            victim.reads_members(&room),
            victim.get(path!("/rooms/{}/joined_members", room_id)),
            victim.reads_messages(&room).query("limit", 100),
            victim.get(path!("/rooms/{}/messages", room_id)).query("dir", "f").query("limit", 100),
            victim.reads_event(&room, event),
            victim.reads_context(&room, event).query("limit", 50),
            victim.get(path!("/rooms/{}/aliases", room_id)),
            victim.get(path!("/rooms/{}/initialSync", room_id)).query("limit", 50),
            victim
                .get(path!("/_matrix/client/v1/rooms/{}/relations/{}", room_id, event))
                .query("recurse", true),
            victim.get(path!("/_matrix/client/v1/rooms/{}/threads", room_id)),
            victim.get(path!("/_matrix/client/v1/rooms/{}/hierarchy", room_id)),
            victim.get(path!("/_matrix/client/v1/room_summary/{}", room_id)),
        ];
        let of_all = [
            victim.syncs(),
            victim
                .syncs()
                .query("full_state", true)
                .query("filter", r#"{"room":{"timeline":{"limit":100}}}"#),
            victim.syncs_since(&self.since),
            victim.get("/initialSync").query("limit", 20),
            victim.get("/notifications"),
            victim.get("/publicRooms").query("limit", 50),
            victim.post("/user_directory/search", json!({ "search_term": "attacker" })),
        ];
        for (request, needs_room) in of_room
            .into_iter()
            .map(|request| (request, true))
            .chain(of_all.into_iter().map(|request| (request, false)))
        {
            let answer = request.attempt().await;
            let refused = answer.status != 200 && (!needs_room || is_in);
            if answer.status >= 500 || refused {
                wrong.push(format!(
                    "{answer} to the victim ({})",
                    if is_in { "in the room" } else { "outside" }
                ));
            }
        }
        wrong
    }
}
