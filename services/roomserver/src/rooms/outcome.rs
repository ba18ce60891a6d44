//! What comes of an input: rows to write, records to put out, a verdict.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Accepted, Rejected, Verdict, verdict},
    log::v1::{OutputRoomEvent, Receipt},
};
use ruma::{EventId, OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId};

use super::{
    event::StoredEvent,
    ids::{Counters, EventNid, NodeNid, ParkedNid, RoomNid},
    parked::ParkedEntry,
    room::Room,
    snapshot::Token,
    source::{AnnotationKey, Needs, ReceiptKey, ServerKey},
    trie::Node,
};

/// What comes of an input.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It changed something, or it is accepted without a change (then rows and outputs are empty).
    Applied(Box<Applied>),
    /// It is refused; nothing changes.
    Refused(Verdict),
    /// Something has to be loaded first.
    Need(Box<Needs>),
    /// It can never be processed: it goes to `dead_letters`.
    Poison(String),
    /// It has cost more than its budget.
    Overrun,
}

/// The effects of an input.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The room after it.
    pub(crate) room: Room,
    /// What to write.
    pub(crate) rows: Rows,
    /// What to put out, with contiguous `seq`.
    pub(crate) outputs: Vec<Output>,
    /// Receipts that take the place of those that records of the same batch tell, by the `seq` of the record.
    pub(crate) amended: Vec<(i64, Receipt)>,
    /// The answer to the writer.
    pub(crate) verdict: Verdict,
    /// The counters after it.
    pub(crate) counters: Counters,
    /// Parked events that lack nothing any more: to be applied next, in this order, each as an input of its own and
    /// before the next input.
    pub(crate) unparked: Vec<ParkedNid>,
}

/// A record for the output log.
#[derive(Debug)]
pub(crate) struct Output {
    /// Sequence number, as in the record.
    pub(crate) seq: i64,
    /// Event whose JSON the record carries, and which is left out of `output_log.body`.
    pub(crate) event_nid: Option<EventNid>,
    /// The record, whole but for `epoch`, which the caller fills in.
    pub(crate) record: OutputRoomEvent,
}

/// Rows to write in the transaction of the batch. Only what changed is present.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// The room's row as it is now; it is inserted if `room_is_new`, else all its columns but the identity are updated.
    pub(crate) room: Option<RoomRow>,
    /// Whether the room is new.
    pub(crate) room_is_new: bool,
    /// Rows for `events` and `event_json`.
    pub(crate) events: Vec<EventRow>,
    /// Events whose JSON and flags change: they were redacted. May name events of `events` above.
    pub(crate) rewritten: Vec<Arc<StoredEvent>>,
    /// Rows for `state_node`.
    pub(crate) nodes: Vec<NodeRow>,
    /// Upserts of `current_members`, in order: a later one of the same user replaces an earlier one.
    pub(crate) members: Vec<MemberRow>,
    /// Entries for `current_facts`, in order, that no output record tells.
    pub(crate) facts: Vec<FactRow>,
    /// What a snapshot tells of members and facts: it counts when the room's row names the snapshot.
    pub(crate) told: Option<ToldRows>,
    /// Users whose `current_members.forgotten` becomes true.
    pub(crate) forgotten: Vec<(RoomNid, OwnedUserId)>,
    /// Rows for `redactions` (upserts: `applied` may change from false to true).
    pub(crate) redactions: Vec<RedactionRow>,
    /// Rows for `aliases`.
    pub(crate) aliases_set: Vec<AliasRow>,
    /// By how many rooms the directory grows, by partition.
    pub(crate) published: Vec<(u32, i64)>,
    /// Aliases to delete.
    pub(crate) aliases_removed: Vec<OwnedRoomAliasId>,
    /// Aliases that point at another room from now on; they are there.
    pub(crate) aliases_moved: Vec<AliasRow>,
    /// Rows for `room_upgrades`.
    pub(crate) upgrades: Vec<UpgradeRow>,
    /// Updates of `room_members.profile_version`, in order, after those of the memberships.
    pub(crate) profile_marks: Vec<ProfileMarkRow>,
    /// Annotations among `events`: for later inputs of the batch.
    pub(crate) annotations: Vec<(AnnotationKey, EventNid)>,
    /// How many users of other servers are joined, where that changes: for later inputs of the batch.
    pub(crate) servers: BTreeMap<ServerKey, i64>,
    /// Upserts of `receipts`, in order.
    pub(crate) receipts: Vec<ReceiptRow>,
    /// Rows of `events` that were outliers and become part of the graph, or were soft-failed and become part of the
    /// timeline: all but the identity changes.
    pub(crate) placed: Vec<EventRow>,
    /// Rows for `room_states`.
    pub(crate) room_states: Vec<RoomStateRow>,
    /// Rows for `parked` and `parked_on`.
    pub(crate) parked: Vec<ParkedRow>,
    /// Rows to delete from `parked`, with theirs of `parked_on`.
    pub(crate) unparked: Vec<ParkedNid>,
    /// Rows to delete from `parked_on`.
    pub(crate) arrived: Vec<(ParkedNid, OwnedEventId)>,
    /// Parked events for which another attempt to fetch was asked: which attempt, and not before when.
    pub(crate) asked_again: Vec<(ParkedNid, i32, i64)>,
    /// Rows for `backward_refs`.
    pub(crate) backward_refs: Vec<(RoomNid, OwnedEventId, EventNid)>,
    /// Rows to delete from `backward_refs`.
    pub(crate) backward_refs_filled: Vec<(RoomNid, OwnedEventId)>,
    /// Rows for `snapshot_chunks`; a chunk that comes again replaces what was there.
    pub(crate) snapshot_chunks: Vec<SnapshotChunkRow>,
    /// Snapshots that were used and are to be deleted.
    pub(crate) snapshots_used: Vec<(RoomNid, Token)>,
    /// Upserts of `decisions`.
    pub(crate) decisions: Vec<DecisionRow>,
    /// Rows to delete from `decisions`.
    pub(crate) decisions_dropped: Vec<OwnedEventId>,
    /// The room is deleted.
    pub(crate) purged: Option<PurgeRow>,
    /// Rows for `state_resets`.
    pub(crate) state_resets: Vec<StateResetRow>,
}

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
pub(crate) struct ToldRows {
    /// Room.
    pub(crate) room_nid: RoomNid,
    /// Names the snapshot.
    pub(crate) token: Token,
    /// Members, in order.
    pub(crate) members: Vec<ToldMember>,
    /// Facts, in order.
    pub(crate) facts: Vec<ToldFact>,
}

/// A member that a snapshot tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToldMember {
    /// User.
    pub(crate) user_id: OwnedUserId,
    /// Membership.
    pub(crate) membership: String,
    /// The member event.
    pub(crate) event_nid: EventNid,
}

/// A fact that a snapshot tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToldFact {
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

/// Makes the verdict on an accepted input.
pub(super) fn accepted(event_id: Option<&EventId>, seq: i64) -> Verdict {
    let event_id = event_id.map(ToString::to_string).unwrap_or_default();
    let seq = u64::try_from(seq).unwrap_or(0);
    let accepted = Accepted { event_id, seq, ..Accepted::default() };
    Verdict { outcome: Some(verdict::Outcome::Accepted(accepted)) }
}

/// Makes the verdict on a refused input.
pub(super) fn rejected(reason: ErrorReason, message: impl Into<String>) -> Verdict {
    let rejected = Rejected { reason: reason.into(), message: message.into() };
    Verdict { outcome: Some(verdict::Outcome::Rejected(rejected)) }
}
