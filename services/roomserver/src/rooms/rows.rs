//! Rows that inputs write.

use std::sync::Arc;

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId};

use super::{
    event::StoredEvent,
    ids::{EventNid, NodeNid, RoomNid, Token},
    load_request::ReceiptKey,
    parked::ParkedEntry,
    trie::Node,
};

/// The current state of a room after an output record whose event has another state after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoomStateRow {
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// Sequence number of the output record.
    pub(crate) seq: i64,
    /// Root of the members' trie; 0 if empty.
    pub(crate) members_root: i64,
    /// Root of the trie of other state; 0 if empty.
    pub(crate) other_root: i64,
}

/// An event that waits for others.
#[derive(Debug, Clone)]
pub(crate) struct ParkedRow {
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// Partition.
    pub(crate) partition: u32,
    /// What is kept of it in memory.
    pub(crate) entry: Arc<ParkedEntry>,
    /// The input, encoded.
    pub(crate) record: Bytes,
}

/// A row of `snapshot_chunks`.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotChunkRow {
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// Names the snapshot.
    pub(crate) token: Token,
    /// Number of the chunk.
    pub(crate) chunk: i32,
    /// State entries, encoded.
    pub(crate) entries: Bytes,
    /// When the input was produced.
    pub(crate) created_ts: i64,
}

/// A room that is deleted: a row of `purged_rooms`, instead of those of the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PurgeRow {
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// Its ID.
    pub(crate) room_id: OwnedRoomId,
    /// Partition.
    pub(crate) partition: u32,
    /// When the input was produced.
    pub(crate) purged_ts: i64,
}

/// Why an event was rejected or soft-failed.
#[derive(Debug, Clone)]
pub(crate) struct DecisionRow {
    /// Event ID.
    pub(crate) event_id: OwnedEventId,
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// The event; `None` if it was not stored.
    pub(crate) event_nid: Option<EventNid>,
    /// Which check.
    pub(crate) stage: &'static str,
    /// The rule that failed.
    pub(crate) rule: String,
    /// When the input was produced.
    pub(crate) decided_ts: i64,
}

/// A key of the current state that changed although no event says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateResetRow {
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// The event whose arrival changed the state.
    pub(crate) event_nid: EventNid,
    /// The event that held the key before.
    pub(crate) lost_nid: EventNid,
    /// The event that holds it now.
    pub(crate) now_nid: Option<EventNid>,
    /// Forward extremities whose states were resolved.
    pub(crate) latest_nids: Vec<EventNid>,
    /// When the input was produced.
    pub(crate) detected_ts: i64,
}

/// Rows of `room_members` and `room_facts` under the token of a snapshot, for a room that is only being joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotRows {
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// Names the snapshot.
    pub(crate) token: Token,
    /// Members, in order.
    pub(crate) members: Vec<SnapshotMember>,
    /// Facts, in order.
    pub(crate) facts: Vec<SnapshotFact>,
}

/// A member that a snapshot tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotMember {
    /// User.
    pub(crate) user_id: OwnedUserId,
    /// Membership.
    pub(crate) membership: String,
    /// The member event.
    pub(crate) event_nid: EventNid,
}

/// A fact that a snapshot tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotFact {
    /// Event type.
    pub(crate) event_type: String,
    /// State key.
    pub(crate) state_key: String,
    /// The event that holds it.
    pub(crate) nid: EventNid,
}

/// A row of `current_facts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FactRow {
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// Event type.
    pub(crate) event_type: String,
    /// State key.
    pub(crate) state_key: String,
    /// The event that holds the entry; `None` if there is none any more.
    pub(crate) nid: Option<EventNid>,
}

/// A row of `rooms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoomRow {
    /// Numeric ID.
    pub(crate) nid: RoomNid,
    /// Room ID.
    pub(crate) room_id: OwnedRoomId,
    /// Partition.
    pub(crate) partition: u32,
    /// Room version.
    pub(crate) version: String,
    /// The create event.
    pub(crate) create_nid: EventNid,
    /// Forward extremities.
    pub(crate) latest_nids: Vec<EventNid>,
    /// Root of the members' trie; 0 if empty.
    pub(crate) members_root: i64,
    /// Root of the trie of other state; 0 if empty.
    pub(crate) other_root: i64,
    /// Depth of the deepest event.
    pub(crate) depth: i64,
    /// Sequence number of the last output record.
    pub(crate) last_seq: i64,
    /// Members joined.
    pub(crate) joined_members: i32,
    /// Members invited.
    pub(crate) invited_members: i32,
    /// Whether it is listed in the directory.
    pub(crate) published: bool,
    /// Events that are parked.
    pub(crate) parked: i32,
    /// Whether the event graph has ever been other than a line.
    pub(crate) forked: bool,
    /// Whether previous events are missing that were accepted as missing.
    pub(crate) has_gaps: bool,
    /// Position of the oldest event before the timeline: negative, or 0.
    pub(crate) oldest_position: i64,
    /// The snapshot whose rows of members and facts count; `None` if the room was made here.
    pub(crate) snapshot: Option<Token>,
    /// Bytes of the current state that local users sent, as far as they count.
    pub(crate) state_bytes: i64,
}

/// A row of `events`, and its JSON.
#[derive(Debug, Clone)]
pub(crate) struct EventRow {
    /// What later inputs also look at: IDs, type, keys, flags, roots, JSON.
    pub(crate) event: Arc<StoredEvent>,
    /// When it was written to the input log.
    pub(crate) received_ts: i64,
    /// History visibility for it: 1 joined, 2 invited, 3 shared, 4 `world_readable`.
    pub(crate) visibility: i16,
    /// Device whose transaction made it.
    pub(crate) txn_device_id: Option<String>,
    /// Transaction ID of the client.
    pub(crate) txn_id: Option<String>,
}

/// A row of `state_node`.
#[derive(Debug, Clone)]
pub(crate) struct NodeRow {
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// Numeric ID.
    pub(crate) nid: NodeNid,
    /// The node.
    pub(crate) node: Arc<Node>,
    /// The node, encoded.
    pub(crate) body: Bytes,
}

/// A row of `current_members`; `forgotten` becomes false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberRow {
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// User.
    pub(crate) user_id: OwnedUserId,
    /// Membership.
    pub(crate) membership: String,
    /// The member event.
    pub(crate) event_nid: EventNid,
    /// Sequence number of its output record.
    pub(crate) seq: i64,
}

/// A row of `redactions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedactionRow {
    /// Event ID of the target.
    pub(crate) redacts_id: OwnedEventId,
    /// The redaction event.
    pub(crate) redaction_nid: EventNid,
    /// Room of the redaction event.
    pub(crate) room_nid: RoomNid,
    /// Whether it took effect.
    pub(crate) applied: bool,
}

/// A row of `aliases`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AliasRow {
    /// Full alias.
    pub(crate) alias: OwnedRoomAliasId,
    /// Room it points at.
    pub(crate) room_id: OwnedRoomId,
    /// Who created it.
    pub(crate) creator: OwnedUserId,
    /// When.
    pub(crate) created_ts: i64,
}

/// A row of `room_upgrades`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpgradeRow {
    /// The new room.
    pub(crate) new_room_id: OwnedRoomId,
    /// The room that it replaces.
    pub(crate) old_room_id: OwnedRoomId,
    /// Partition of the room that it replaces.
    pub(crate) partition: u32,
    /// The input that makes the new room, encoded.
    pub(crate) record: Bytes,
    /// When the input was produced.
    pub(crate) created_ts: i64,
}

/// Which version of a profile a member event has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProfileMarkRow {
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// User.
    pub(crate) user_id: OwnedUserId,
    /// Version of the profile.
    pub(crate) version: i64,
}

/// A row of `receipts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceiptRow {
    /// Whose receipt of what kind.
    pub(crate) key: ReceiptKey,
    /// Event up to which everything was read.
    pub(crate) event_id: OwnedEventId,
    /// Sequence number of the event.
    pub(crate) event_seq: i64,
    /// When.
    pub(crate) ts: i64,
    /// Sequence number of its own output record.
    pub(crate) seq: i64,
}
