//! Reads room summaries from `current_facts`, and decides who may see them.

use std::collections::{HashMap, HashSet};

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::RoomSummary;
use ruma::{RoomId, RoomVersionId, room_version_rules::AuthorizationRules};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};

use crate::{
    rpc::check::unsigned,
    store::{
        StoreError,
        reads::facts::{self, FactRow, RoomRow},
    },
};

/// Most rooms whose members may join that are looked at.
const MAX_ALLOW: usize = 64;

/// A room.
#[derive(Debug)]
pub(super) struct Room {
    /// Numeric ID.
    pub(super) nid: i64,
    /// What is told of it.
    pub(super) summary: RoomSummary,
    /// Whether the viewer may know of it.
    pub(super) accessible: bool,
}

/// Reads what rooms are, in the order of the rows.
pub(super) async fn read(conn: &AsyncPgConnection, rows: Vec<RoomRow>) -> Result<Vec<Room>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let nids = rows.iter().map(|row| row.room_nid).collect::<Vec<_>>();
    let mut entries: HashMap<i64, Vec<FactRow>> = HashMap::new();
    for fact in facts::list_facts(conn, &nids).await? {
        entries.entry(fact.room_nid).or_default().push(fact);
    }
    let room = |row: RoomRow| {
        let mut summary = RoomSummary {
            room_id: row.room_id,
            room_version: row.version,
            joined_members: unsigned(row.joined_members.into()),
            membership: row.membership.unwrap_or_default(),
            join_rule: "invite".to_owned(),
            ..RoomSummary::default()
        };
        for fact in entries.remove(&row.room_nid).unwrap_or_default() {
            tell(&mut summary, &fact.event_type, &content_of(&fact.json));
        }
        Room { nid: row.room_nid, summary, accessible: false }
    };
    Ok(rows.into_iter().map(room).collect())
}

/// Adds what an entry of the state tells. What has a wrong type tells nothing.
fn tell(summary: &mut RoomSummary, event_type: &str, content: &Map<String, Value>) {
    let text = |key: &str| content.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match event_type {
        "m.room.name" => summary.name = text("name"),
        "m.room.topic" => summary.topic = text("topic"),
        "m.room.avatar" => summary.avatar_url = text("url"),
        "m.room.canonical_alias" => summary.canonical_alias = text("alias"),
        "m.room.create" => summary.room_type = text("type"),
        "m.room.encryption" => summary.encryption = text("algorithm"),
        "m.room.guest_access" => summary.guest_can_join = text("guest_access") == "can_join",
        "m.room.history_visibility" => {
            summary.world_readable = text("history_visibility") == "world_readable";
        }
        "m.room.join_rules" => {
            let rule = text("join_rule");
            if matches!(rule.as_str(), "restricted" | "knock_restricted") {
                summary.allowed_room_ids = allowed(content);
            }
            if !rule.is_empty() {
                summary.join_rule = rule;
            }
        }
        _ => {}
    }
}

fn allowed(content: &Map<String, Value>) -> Vec<String> {
    let rules = content.get("allow").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let room_of = |rule: &Value| {
        let room_id = rule.get("room_id")?.as_str()?;
        <&RoomId>::try_from(room_id).ok()?;
        let fits = rule.get("type")?.as_str()? == "m.room_membership" && !room_id.contains('\0');
        fits.then(|| room_id.to_owned())
    };
    rules.iter().take(MAX_ALLOW).filter_map(room_of).collect()
}

/// The content of an event; nothing if it cannot be read.
pub(super) fn content_of(json: &[u8]) -> Map<String, Value> {
    #[derive(Deserialize)]
    struct Event {
        content: Map<String, Value>,
    }
    serde_json::from_slice::<Event>(json).map(|event| event.content).unwrap_or_default()
}

/// On whose behalf rooms are described.
#[derive(Debug, Clone, Copy)]
pub(super) enum Viewer<'a> {
    /// A user of this server; empty for somebody who is nobody here.
    User(&'a str),
    /// Another server.
    Server(&'a str),
}

/// Finds out of which rooms the viewer may know.
pub(super) async fn mark_accessible(
    conn: &AsyncPgConnection,
    viewer: Viewer<'_>,
    rooms: &mut [Room],
) -> Result<(), StoreError> {
    let viewer = match viewer {
        Viewer::User(viewer) => viewer,
        Viewer::Server(server) => {
            let named = rooms.iter().flat_map(|room| &room.summary.allowed_room_ids);
            let asked: HashSet<&String> =
                rooms.iter().map(|room| &room.summary.room_id).chain(named).collect();
            let asked = asked.into_iter().cloned().collect::<Vec<_>>();
            let joined = facts::list_joined_by_server(conn, server, &asked).await?;
            let joined: HashSet<String> = joined.into_iter().map(|(room_id,)| room_id).collect();
            for room in rooms {
                let is_in = joined.contains(&room.summary.room_id);
                room.accessible = is_in || is_accessible(&room.summary, |room_id| joined.contains(room_id));
            }
            return Ok(());
        }
    };
    let asked: HashSet<&String> = rooms.iter().flat_map(|room| &room.summary.allowed_room_ids).collect();
    let joined: HashSet<String> = if asked.is_empty() || viewer.is_empty() {
        HashSet::new()
    } else {
        let asked = asked.into_iter().cloned().collect::<Vec<_>>();
        facts::list_joined(conn, viewer, &asked).await?.into_iter().map(|(room_id,)| room_id).collect()
    };
    for room in rooms {
        room.accessible = is_accessible(&room.summary, |room_id| joined.contains(room_id));
    }
    Ok(())
}

/// Whether somebody may know of a room: it is open to all, they are in it, or they could come in.
///
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy)
fn is_accessible(room: &RoomSummary, is_joined: impl Fn(&str) -> bool) -> bool {
    if room.world_readable {
        return true;
    }
    match room.membership.as_str() {
        "join" | "invite" => return true,
        "ban" => return false,
        _ => {}
    }
    let rules = RoomVersionId::try_from(room.room_version.as_str()).ok().and_then(|version| version.rules());
    let Some(AuthorizationRules { knocking, restricted_join_rule, knock_restricted_join_rule, .. }) =
        rules.map(|rules| rules.authorization)
    else {
        return room.join_rule == "public";
    };
    match room.join_rule.as_str() {
        "public" => true,
        "knock" => knocking,
        "knock_restricted" => knock_restricted_join_rule,
        "restricted" => {
            restricted_join_rule && room.allowed_room_ids.iter().any(|room_id| is_joined(room_id))
        }
        _ => false,
    }
}

/// A child of a space.
#[derive(Debug)]
pub(super) struct Child {
    /// Room ID.
    pub(super) room_id: String,
    /// Whether the space suggests it.
    pub(super) suggested: bool,
    /// The event.
    pub(super) json: Vec<u8>,
    order: Option<String>,
    origin_server_ts: i64,
}

impl Child {
    /// Reads a child; `None` if the event names no server to join through, and so no child.
    pub(super) fn read(fact: FactRow) -> Option<Self> {
        #[derive(Deserialize)]
        struct Event {
            content: Content,
            origin_server_ts: i64,
        }
        #[derive(Deserialize)]
        struct Content {
            via: Vec<IgnoredAny>,
            #[serde(default)]
            suggested: Value,
            #[serde(default)]
            order: Value,
        }
        <&RoomId>::try_from(fact.state_key.as_str()).ok()?;
        let Event { content, origin_server_ts } = serde_json::from_slice(&fact.json).ok()?;
        if content.via.is_empty() {
            return None;
        }
        let order = content
            .order
            .as_str()
            .filter(|order| order.len() <= 50 && order.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
        Some(Self {
            suggested: content.suggested == Value::Bool(true),
            order: order.map(ToOwned::to_owned),
            origin_server_ts,
            room_id: fact.state_key,
            json: fact.json,
        })
    }

    /// What the children of a space are ordered by: those with an order come first.
    pub(super) fn key(&self) -> (bool, Option<&str>, i64, &str) {
        (self.order.is_none(), self.order.as_deref(), self.origin_server_ts, &self.room_id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn room(version: &str, join_rule: &str, membership: &str) -> RoomSummary {
        RoomSummary {
            room_version: version.to_owned(),
            join_rule: join_rule.to_owned(),
            membership: membership.to_owned(),
            allowed_room_ids: vec!["!allowed:x".to_owned()],
            ..RoomSummary::default()
        }
    }

    #[test]
    fn rooms_are_known_to_those_who_could_come_in() {
        for (room, outside, inside) in [
            (room("12", "public", ""), true, true),
            (room("12", "invite", ""), false, false),
            (room("12", "invite", "join"), true, true),
            (room("12", "invite", "invite"), true, true),
            (room("12", "invite", "leave"), false, false),
            (room("12", "public", "ban"), false, false),
            (RoomSummary { world_readable: true, ..room("12", "invite", "ban") }, true, true),
            (room("12", "restricted", ""), false, true),
            (room("7", "restricted", ""), false, false),
            (room("12", "knock", ""), true, true),
            (room("6", "knock", ""), false, false),
            (room("12", "knock_restricted", ""), true, true),
            (room("9", "knock_restricted", ""), false, false),
            (room("12", "private", ""), false, false),
            (room("none", "public", ""), true, true),
        ] {
            assert_eq!(is_accessible(&room, |_| false), outside, "{room:?}");
            assert_eq!(is_accessible(&room, |room_id| room_id == "!allowed:x"), inside, "{room:?}");
        }
    }

    #[test]
    fn what_has_a_wrong_type_tells_nothing() {
        let mut summary = RoomSummary::default();
        for (event_type, content) in [
            ("m.room.name", json!({ "name": 1 })),
            ("m.room.join_rules", json!({ "join_rule": [] })),
            ("m.room.join_rules", json!({ "allow": "x" })),
            ("m.room.create", json!({ "type": {} })),
        ] {
            tell(&mut summary, event_type, content.as_object().unwrap());
        }
        assert_eq!(summary, RoomSummary::default());
        let rules = json!({ "join_rule": "restricted", "allow": [
            { "type": "m.room_membership", "room_id": "!a:x" }, { "type": "other", "room_id": "!b:x" },
            { "type": "m.room_membership", "room_id": "b" }, { "type": "m.room_membership" }, 1,
        ] });
        tell(&mut summary, "m.room.join_rules", rules.as_object().unwrap());
        assert_eq!(summary.allowed_room_ids, ["!a:x"]);
    }

    fn child(room_id: &str, content: Value, ts: i64) -> Option<Child> {
        let json = json!({ "content": content, "origin_server_ts": ts });
        Child::read(FactRow {
            room_nid: 1,
            event_type: "m.space.child".to_owned(),
            state_key: room_id.to_owned(),
            json: json.to_string().into_bytes(),
        })
    }

    #[test]
    fn children_come_in_the_order_of_the_specification() {
        let via = |order: Value| json!({ "via": ["x"], "order": order });
        let mut children = [
            child("!d:x", via(json!("\u{7f}")), 40).unwrap(),
            child("!e:x", via(json!(1)), 30).unwrap(),
            child("!c:x", via(json!("first")), 99).unwrap(),
            child("!a:x", via(json!("aaaa")), 98).unwrap(),
            child("!b:x", via(json!(" ")), 97).unwrap(),
            child("!f:x", via(Value::Null), 40).unwrap(),
        ];
        children.sort_by(|a, b| a.key().cmp(&b.key()));
        let order = children.iter().map(|child| child.room_id.as_str()).collect::<Vec<_>>();
        assert_eq!(order, ["!b:x", "!a:x", "!c:x", "!e:x", "!d:x", "!f:x"]);
        for content in [json!({}), json!({ "via": [] }), json!({ "via": "x" })] {
            assert!(child("!a:x", content, 1).is_none());
        }
        assert!(child("a", json!({ "via": ["x"] }), 1).is_none());
    }
}
