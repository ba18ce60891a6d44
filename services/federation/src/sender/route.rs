//! Says who is to be sent what a record tells.

use std::sync::Arc;

use plexus_proto::log::v1::{NewEvent, OutputRoomEvent, Receipt, output_room_event::Body};
use ruma::{EventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};
use serde::Deserialize;
use tonic::Status;

use super::{
    Pdu, Shards, edus,
    room_servers::{RoomServers, Servers},
    server_of,
    upstream::Upstream,
};

/// What the hub is told, in the order of the log.
#[derive(Debug)]
pub(super) enum Item {
    /// An event is to be sent.
    Pdu {
        pdu: Arc<Pdu>,
        /// Servers of these shards only.
        shards: Shards,
        servers: Servers,
        /// A server that is not in the room, and is to be sent it all the same.
        also: Option<OwnedServerName>,
        /// The server that made the event.
        except: OwnedServerName,
    },
    /// A server lacks events of a room.
    Behind { server: OwnedServerName, room_id: OwnedRoomId, after: u64 },
    /// Something waits for a server that is not of rooms.
    Outbox(OwnedServerName),
    /// Somebody types, or no longer.
    Typing { room_id: OwnedRoomId, user_id: OwnedUserId, is_typing: bool, servers: Servers },
    /// Somebody has read.
    Receipt { receipt: edus::Receipt, servers: Servers },
    /// The log was read up to here.
    Position(Box<super::Vector>),
    /// Shards were told everything up to the last position.
    CaughtUp(Shards),
}

/// What of an event decides who is sent it.
#[derive(Deserialize)]
struct Event {
    sender: OwnedUserId,
    #[serde(rename = "type")]
    event_type: String,
    state_key: Option<String>,
    #[serde(default)]
    content: serde_json::Value,
}

/// Says who is to be sent a record, and applies it to the servers of rooms.
pub(super) async fn route(
    upstream: &Upstream,
    rooms: &mut RoomServers,
    own: &str,
    record: &OutputRoomEvent,
    shards: Shards,
) -> Result<Option<Item>, Status> {
    let item = match &record.body {
        Some(Body::NewEvent(event)) if event.relay && !event.soft_failed => {
            of_event(upstream, rooms, own, record, (event, shards)).await?
        }
        Some(Body::Receipt(receipt)) => of_receipt(upstream, rooms, own, record, receipt).await?,
        _ => None,
    };
    rooms.apply(record);
    Ok(item)
}

async fn of_event(
    upstream: &Upstream,
    rooms: &mut RoomServers,
    own: &str,
    record: &OutputRoomEvent,
    (new, shards): (&NewEvent, Shards),
) -> Result<Option<Item>, Status> {
    let (Ok(room_id), Ok(event_id), Ok(event)) = (
        RoomId::parse(record.room_id.as_str()),
        EventId::parse(new.event_id.as_str()),
        serde_json::from_slice::<Event>(&new.json),
    ) else {
        tracing::error!(
            room.id = record.room_id,
            event.id = new.event_id,
            "an event cannot be sent to others"
        );
        return Ok(None);
    };
    let servers = rooms.before(upstream, &room_id, record.seq).await?;
    let also = whose_membership_ends(new, &event);
    let also = also.filter(|server| server.as_str() != own && !servers.contains(server));
    if servers.is_empty() && also.is_none() {
        return Ok(None);
    }
    let pdu = Arc::new(Pdu {
        room_id,
        event_id,
        partition: usize::try_from(record.partition).unwrap_or(usize::MAX),
        seq: record.seq,
        json: new.json.clone(),
    });
    let except = event.sender.server_name().to_owned();
    Ok(Some(Item::Pdu { pdu, shards, servers, also, except }))
}

/// The server of a user whose invite or the like an event ends: nothing else tells it of that.
fn whose_membership_ends(new: &NewEvent, event: &Event) -> Option<OwnedServerName> {
    let membership = event.content.get("membership").and_then(serde_json::Value::as_str);
    if event.event_type != "m.room.member" || !matches!(membership, Some("leave" | "ban")) {
        return None;
    }
    let user_id = event.state_key.as_deref()?;
    let delta = new.delta.as_ref()?;
    let was_there = |change: &plexus_proto::log::v1::StateChange| {
        change.r#type == "m.room.member"
            && change.state_key == user_id
            && !change.replaces_event_id.is_empty()
    };
    let is_ended = delta.truncated || delta.changes.iter().any(was_there);
    if is_ended { server_of(user_id) } else { None }
}

async fn of_receipt(
    upstream: &Upstream,
    rooms: &mut RoomServers,
    own: &str,
    record: &OutputRoomEvent,
    receipt: &Receipt,
) -> Result<Option<Item>, Status> {
    if receipt.r#type != "m.read" {
        return Ok(None);
    }
    let (Ok(room_id), Ok(user_id), Ok(event_id)) = (
        RoomId::parse(record.room_id.as_str()),
        UserId::parse(receipt.user_id.as_str()),
        EventId::parse(receipt.event_id.as_str()),
    ) else {
        return Ok(None);
    };
    if user_id.server_name() != own {
        return Ok(None);
    }
    let servers = rooms.before(upstream, &room_id, record.seq).await?;
    if servers.is_empty() {
        return Ok(None);
    }
    let thread_id = receipt.thread_id.clone();
    let receipt = edus::Receipt { room_id, user_id, thread_id, event_id, ts: receipt.ts };
    Ok(Some(Item::Receipt { receipt, servers }))
}

#[cfg(test)]
mod tests {
    use plexus_proto::log::v1::{StateChange, StateDelta};
    use serde_json::json;

    use super::*;

    fn ends(membership: &str, replaces: &str) -> Option<String> {
        let user = "@u:b.test";
        let event = json!({
            "sender": "@a:us.test", "type": "m.room.member", "state_key": user,
            "content": { "membership": membership },
        });
        let change = StateChange {
            r#type: "m.room.member".to_owned(),
            state_key: user.to_owned(),
            event_id: "$new".to_owned(),
            replaces_event_id: replaces.to_owned(),
        };
        let delta = Some(StateDelta { changes: vec![change], truncated: false });
        let new = NewEvent { delta, ..NewEvent::default() };
        let event = serde_json::from_value(event).unwrap();
        whose_membership_ends(&new, &event).map(|server| server.to_string())
    }

    #[test]
    fn whose_invite_ends_is_told_and_who_never_had_one_is_not() {
        assert_eq!(ends("leave", "$invite"), Some("b.test".to_owned()));
        assert_eq!(ends("ban", "$invite"), Some("b.test".to_owned()));
        assert_eq!(ends("ban", ""), None);
        assert_eq!(ends("invite", "$knock"), None);
        assert_eq!(ends("join", "$invite"), None);
    }
}
