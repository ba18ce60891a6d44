//! Stored events.

use bytes::Bytes;
use plexus_proto::log::v1::HistoryVisibility;
use ruma::{OwnedEventId, OwnedUserId};

use super::{
    ids::{EventNid, NodeNid, RoomNid},
    value::value_of,
};

/// Bits of the column `events.flags`.
pub(crate) mod flags {
    /// The event was rejected.
    pub(crate) const REJECTED: i32 = 1;
    /// The event was soft-failed.
    pub(crate) const SOFT_FAILED: i32 = 2;
    /// The event is only known as an auth or state event.
    pub(crate) const OUTLIER: i32 = 4;
    /// The event was redacted.
    pub(crate) const REDACTED: i32 = 8;
    /// The event was sent by a user of this server.
    pub(crate) const LOCAL: i32 = 16;
    /// This server hands the event on to the others in the room.
    pub(crate) const RELAY: i32 = 32;
    /// The event cites events that could not be had: the timeline has a gap before it.
    pub(crate) const GAP_BEFORE: i32 = 64;
}

impl StoredEvent {
    /// Whether all the bits are off.
    pub(crate) fn lacks(&self, flags: i32) -> bool {
        self.flags & flags == 0
    }

    /// What queries look at in its content.
    pub(crate) fn value(&self) -> Option<String> {
        self.state_key.as_ref().and_then(|_| value_of(&self.event_type, &self.json))
    }

    /// An event of a room, of which a test wants no more than this.
    #[cfg(test)]
    pub(crate) fn sample(event_type: &str, state_key: Option<&str>, json: String) -> Self {
        Self {
            nid: EventNid(1),
            event_id: ruma::event_id!("$event").to_owned(),
            room_nid: RoomNid(1),
            event_type: event_type.to_owned(),
            state_key: state_key.map(ToOwned::to_owned),
            sender: ruma::user_id!("@alice:example.org").to_owned(),
            depth: 1,
            flags: 0,
            auth_generation: 1,
            members_root: None,
            other_root: None,
            seq: Some(1),
            origin_server_ts: 1,
            auth_nids: Vec::new(),
            prev_nids: Vec::new(),
            replaces_nid: None,
            json: json.into(),
        }
    }
}

/// An event as stored, loaded for a batch.
#[derive(Debug, Clone)]
pub(crate) struct StoredEvent {
    /// Numeric ID.
    pub(crate) nid: EventNid,
    /// Event ID.
    pub(crate) event_id: OwnedEventId,
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// Event type.
    pub(crate) event_type: String,
    /// State key; `None` for a message event.
    pub(crate) state_key: Option<String>,
    /// Sender.
    pub(crate) sender: OwnedUserId,
    /// Depth.
    pub(crate) depth: i64,
    /// Bits of [`flags`].
    pub(crate) flags: i32,
    /// 1 + the greatest generation of its auth events; 0 for the create event.
    pub(crate) auth_generation: i32,
    /// Root of the members' trie after the event; `None` if empty.
    pub(crate) members_root: Option<NodeNid>,
    /// Root of the trie of other state after the event; `None` if empty.
    pub(crate) other_root: Option<NodeNid>,
    /// Place in the timeline: the sequence number of its output record, or a negative position for what was put before
    /// the timeline; `None` if it is not part of it.
    pub(crate) seq: Option<i64>,
    /// When its server says it was sent.
    pub(crate) origin_server_ts: i64,
    /// Auth events.
    pub(crate) auth_nids: Vec<EventNid>,
    /// Previous events that are stored.
    pub(crate) prev_nids: Vec<EventNid>,
    /// For a state event: the event that held its key before it.
    pub(crate) replaces_nid: Option<EventNid>,
    /// Canonical JSON, redacted if the event was.
    pub(crate) json: Bytes,
}

/// Turns the value of a `history_visibility` field into what is kept for an event.
/// What is absent or unknown counts as `shared`, as the specification says.
pub(crate) fn visibility_from_str(value: Option<&str>) -> HistoryVisibility {
    match value {
        Some("joined") => HistoryVisibility::Joined,
        Some("invited") => HistoryVisibility::Invited,
        Some("world_readable") => HistoryVisibility::WorldReadable,
        Some(_) | None => HistoryVisibility::Shared,
    }
}
