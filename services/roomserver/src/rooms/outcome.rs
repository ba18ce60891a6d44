//! Outcome of an input: rows to write, records to put out, a verdict.

use std::{collections::BTreeMap, sync::Arc};

use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Accepted, Rejected, Verdict, verdict},
    log::v1::{OutputRoomEvent, Receipt},
};
use ruma::{EventId, OwnedEventId, OwnedRoomAliasId, OwnedUserId};

use super::{
    event::StoredEvent,
    ids::Token,
    ids::{Counters, EventNid, ParkedNid, RoomNid},
    load_request::{AnnotationKey, LoadRequest, ServerKey},
    room::Room,
    rows::{
        AliasRow, DecisionRow, EventRow, FactRow, MemberRow, NodeRow, ParkedRow, ProfileMarkRow, PurgeRow,
        ReceiptRow, RedactionRow, RoomRow, RoomStateRow, SnapshotChunkRow, SnapshotRows, StateResetRow,
        UpgradeRow,
    },
};

/// What comes of an input.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It changed something, or it is accepted without a change (then rows and outputs are empty).
    Applied(Box<Applied>),
    /// It is refused; nothing changes.
    Refused(Verdict),
    /// Something has to be loaded first.
    Load(Box<LoadRequest>),
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
    pub(crate) snapshot_rows: Option<SnapshotRows>,
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
