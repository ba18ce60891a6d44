//! Writes what the receipt of events leaves beside the events: parked ones, gaps, snapshots, decisions, alarms.

use std::{collections::BTreeMap, marker::PhantomData};

use diesel::sql_types::{Array, Binary, Bool, Int2, Int4, Int8, Text};
use indexmap::{IndexMap, IndexSet};
use ruma::OwnedEventId;

use super::{Pipeline, decisions::Decisions};
use crate::{
    rooms::{
        DecisionRow, EventNid, ParkedEntry, ParkedNid, ParkedRow, RoomNid, RoomStateRow, SnapshotChunkRow,
        StateResetRow, Token,
    },
    store::statement::statement,
};

/// What one input adds.
pub(super) struct Received {
    pub(super) room_states: Vec<RoomStateRow>,
    pub(super) parked: Vec<ParkedRow>,
    pub(super) unparked: Vec<ParkedNid>,
    pub(super) arrived: Vec<(ParkedNid, OwnedEventId)>,
    pub(super) asked_again: Vec<(ParkedNid, i32, i64)>,
    pub(super) backward_refs: Vec<(RoomNid, OwnedEventId, EventNid)>,
    pub(super) backward_refs_filled: Vec<(RoomNid, OwnedEventId)>,
    pub(super) snapshot_chunks: Vec<SnapshotChunkRow>,
    pub(super) snapshots_used: Vec<(RoomNid, Token)>,
    pub(super) decisions: Vec<DecisionRow>,
    pub(super) decisions_dropped: Vec<OwnedEventId>,
    pub(super) state_resets: Vec<StateResetRow>,
}

/// Rows, merged over the inputs of a batch.
#[derive(Default)]
pub(super) struct ReceivedRows {
    room_states: Vec<RoomStateRow>,
    parked: IndexMap<ParkedNid, ParkedRow>,
    unparked: Vec<ParkedNid>,
    arrived: Vec<(ParkedNid, OwnedEventId)>,
    attempts: BTreeMap<ParkedNid, (i32, i64)>,
    backward_refs: IndexSet<(OwnedEventId, EventNid, RoomNid)>,
    filled: IndexSet<OwnedEventId>,
    chunks: IndexMap<(RoomNid, Token, i32), SnapshotChunkRow>,
    used: IndexSet<(RoomNid, Token)>,
    decisions: Decisions,
}

impl ReceivedRows {
    pub(super) fn state_resets(&self) -> &[StateResetRow] {
        self.decisions.state_resets()
    }

    /// Adds the rows of one input, over those of the inputs before it.
    pub(super) fn merge(&mut self, rows: Received) {
        self.room_states.extend(rows.room_states);
        for row in rows.parked {
            self.parked.insert(row.entry.nid, row);
        }
        for (nid, id) in rows.arrived {
            match self.parked.get_mut(&nid) {
                Some(row) => {
                    let mut entry = ParkedEntry::clone(&row.entry);
                    entry.missing.remove(&id);
                    row.entry = entry.into();
                }
                None => self.arrived.push((nid, id)),
            }
        }
        for nid in rows.unparked {
            if self.parked.shift_remove(&nid).is_none() {
                self.unparked.push(nid);
            }
        }
        for (nid, attempts, not_before_ts) in rows.asked_again {
            self.attempts.insert(nid, (attempts, not_before_ts));
        }
        for (room, id, referrer) in rows.backward_refs {
            self.backward_refs.insert((id, referrer, room));
        }
        for (_, id) in rows.backward_refs_filled {
            self.backward_refs.retain(|(missing, ..)| *missing != id);
            self.filled.insert(id);
        }
        for row in rows.snapshot_chunks {
            self.chunks.insert((row.room_nid, row.token, row.chunk), row);
        }
        for (room, token) in rows.snapshots_used {
            self.chunks.retain(|(of, named, _), _| (*of, *named) != (room, token));
            self.used.insert((room, token));
        }
        self.decisions.merge(rows.decisions, rows.decisions_dropped, rows.state_resets);
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        if !self.room_states.is_empty() {
            pipeline.add(
                InsertRoomStates::NAME,
                InsertRoomStates {
                    room_nid: self.room_states.iter().map(|row| row.room_nid.0).collect(),
                    seq: self.room_states.iter().map(|row| row.seq).collect(),
                    members_root: self.room_states.iter().map(|row| row.members_root).collect(),
                    other_root: self.room_states.iter().map(|row| row.other_root).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        self.write_parked(pipeline);
        self.write_gaps(pipeline);
        self.write_snapshots(pipeline);
        self.decisions.write(pipeline);
    }

    fn write_parked(&self, pipeline: &mut Pipeline<'_>) {
        if !self.unparked.is_empty() {
            let parked_nid = self.unparked.iter().map(|nid| nid.0).collect();
            pipeline.add(DeleteParked::NAME, DeleteParked { parked_nid, lifetime: PhantomData });
        }
        if !self.arrived.is_empty() {
            pipeline.add(
                DeleteParkedOn::NAME,
                DeleteParkedOn {
                    parked_nid: self.arrived.iter().map(|(nid, _)| nid.0).collect(),
                    missing_event_id: self.arrived.iter().map(|(_, id)| id.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.parked.is_empty() {
            let rows = || self.parked.values();
            pipeline.add(
                InsertParked::NAME,
                InsertParked {
                    parked_nid: rows().map(|row| row.entry.nid.0).collect(),
                    room_nid: rows().map(|row| row.room_nid.0).collect(),
                    partition: rows().map(|row| i16::try_from(row.partition).unwrap_or(i16::MAX)).collect(),
                    event_id: rows().map(|row| row.entry.event_id.as_str()).collect(),
                    produced_ts: rows().map(|row| row.entry.produced_ts).collect(),
                    attempts: rows().map(|row| row.entry.attempts).collect(),
                    record: rows().map(|row| row.record.as_ref()).collect(),
                    origin: rows().map(|row| &*row.entry.origin).collect(),
                    lifetime: PhantomData,
                },
            );
            let missing = || {
                rows().flat_map(|row| {
                    row.entry.missing.iter().map(|(id, is_prev)| (row.entry.nid, id.as_str(), *is_prev))
                })
            };
            pipeline.add(
                InsertParkedOn::NAME,
                InsertParkedOn {
                    parked_nid: missing().map(|(nid, ..)| nid.0).collect(),
                    missing_event_id: missing().map(|(_, id, _)| id).collect(),
                    is_prev: missing().map(|(.., is_prev)| is_prev).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.attempts.is_empty() {
            pipeline.add(
                UpdateAttempts::NAME,
                UpdateAttempts {
                    parked_nid: self.attempts.keys().map(|nid| nid.0).collect(),
                    attempts: self.attempts.values().map(|(attempts, _)| *attempts).collect(),
                    not_before_ts: self.attempts.values().map(|(_, not_before)| *not_before).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn write_gaps(&self, pipeline: &mut Pipeline<'_>) {
        if !self.filled.is_empty() {
            let event_id = self.filled.iter().map(|id| id.as_str()).collect();
            pipeline.add(DeleteBackwardRefs::NAME, DeleteBackwardRefs { event_id, lifetime: PhantomData });
        }
        if !self.backward_refs.is_empty() {
            pipeline.add(
                InsertBackwardRefs::NAME,
                InsertBackwardRefs {
                    room_nid: self.backward_refs.iter().map(|(.., room)| room.0).collect(),
                    event_id: self.backward_refs.iter().map(|(id, ..)| id.as_str()).collect(),
                    referrer_nid: self.backward_refs.iter().map(|(_, referrer, _)| referrer.0).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn write_snapshots(&self, pipeline: &mut Pipeline<'_>) {
        if !self.used.is_empty() {
            pipeline.add(
                DeleteSnapshots::NAME,
                DeleteSnapshots {
                    room_nid: self.used.iter().map(|(room, _)| room.0).collect(),
                    token: self.used.iter().map(|(_, token)| token.as_slice()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.chunks.is_empty() {
            let rows = || self.chunks.values();
            pipeline.add(
                UpsertSnapshotChunks::NAME,
                UpsertSnapshotChunks {
                    room_nid: rows().map(|row| row.room_nid.0).collect(),
                    token: rows().map(|row| row.token.as_slice()).collect(),
                    chunk: rows().map(|row| row.chunk).collect(),
                    entries: rows().map(|row| row.entries.as_ref()).collect(),
                    created_ts: rows().map(|row| row.created_ts).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }
}

statement! {
    /// Keeps the current state of rooms where it differs from that after the event.
    InsertRoomStates {
        room_nid: Array<Int8> => Vec<i64>,
        seq: Array<Int8> => Vec<i64>,
        members_root: Array<Int8> => Vec<i64>,
        other_root: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO room_states (room_nid, seq, members_root, other_root) SELECT * FROM unnest(", ")"
}

statement! {
    /// Parks events.
    InsertParked {
        parked_nid: Array<Int8> => Vec<i64>,
        room_nid: Array<Int8> => Vec<i64>,
        partition: Array<Int2> => Vec<i16>,
        event_id: Array<Text> => Vec<&'a str>,
        produced_ts: Array<Int8> => Vec<i64>,
        attempts: Array<Int4> => Vec<i32>,
        record: Array<Binary> => Vec<&'a [u8]>,
        origin: Array<Text> => Vec<&'a str>,
    }
    "INSERT INTO parked (parked_nid, room_nid, partition, event_id, produced_ts, attempts, record, origin) \
     SELECT * FROM unnest(", ")"
}

statement! {
    /// Notes what parked events wait for.
    InsertParkedOn {
        parked_nid: Array<Int8> => Vec<i64>,
        missing_event_id: Array<Text> => Vec<&'a str>,
        is_prev: Array<Bool> => Vec<bool>,
    }
    "INSERT INTO parked_on (parked_nid, missing_event_id, is_prev) SELECT * FROM unnest(", ")"
}

statement! {
    /// Removes events that are not parked any more, and what they waited for.
    DeleteParked {
        parked_nid: Array<Int8> => Vec<i64>,
    }
    "DELETE FROM parked WHERE parked_nid = ANY(", ")"
}

statement! {
    /// Removes what parked events do not wait for any more.
    DeleteParkedOn {
        parked_nid: Array<Int8> => Vec<i64>,
        missing_event_id: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM parked_on AS p USING unnest(",
    ") AS v(parked_nid, missing_event_id) \
     WHERE p.parked_nid = v.parked_nid AND p.missing_event_id = v.missing_event_id"
}

statement! {
    /// Notes how often was asked for what parked events lack, and when that is to be done again.
    UpdateAttempts {
        parked_nid: Array<Int8> => Vec<i64>,
        attempts: Array<Int4> => Vec<i32>,
        not_before_ts: Array<Int8> => Vec<i64>,
    }
    "UPDATE parked AS p SET attempts = v.attempts, not_before_ts = v.not_before_ts FROM unnest(",
    ") AS v(parked_nid, attempts, not_before_ts) WHERE p.parked_nid = v.parked_nid"
}

statement! {
    /// Notes gaps.
    InsertBackwardRefs {
        room_nid: Array<Int8> => Vec<i64>,
        event_id: Array<Text> => Vec<&'a str>,
        referrer_nid: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO backward_refs (room_nid, event_id, referrer_nid) SELECT * FROM unnest(", ") ON CONFLICT DO NOTHING"
}

statement! {
    /// Removes gaps that are filled.
    DeleteBackwardRefs {
        event_id: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM backward_refs WHERE event_id = ANY(", ")"
}

statement! {
    /// Keeps chunks of snapshots.
    UpsertSnapshotChunks {
        room_nid: Array<Int8> => Vec<i64>,
        token: Array<Binary> => Vec<&'a [u8]>,
        chunk: Array<Int4> => Vec<i32>,
        entries: Array<Binary> => Vec<&'a [u8]>,
        created_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO snapshot_chunks (room_nid, token, chunk, entries, created_ts) SELECT * FROM unnest(",
    ") ON CONFLICT (room_nid, token, chunk) DO UPDATE SET entries = excluded.entries, created_ts = excluded.created_ts"
}

statement! {
    /// Removes snapshots that were used. One under which rows of members or facts lie that do not count stays until those
    /// are deleted: nothing else tells that they are there.
    DeleteSnapshots {
        room_nid: Array<Int8> => Vec<i64>,
        token: Array<Binary> => Vec<&'a [u8]>,
    }
    "DELETE FROM snapshot_chunks AS s USING unnest(",
    ") AS v(room_nid, token) JOIN rooms AS r ON r.room_nid = v.room_nid \
     WHERE s.room_nid = v.room_nid AND s.token = v.token AND (r.snapshot = s.token OR NOT EXISTS ( \
         SELECT FROM room_members AS m WHERE m.room_nid = v.room_nid AND m.snapshot = v.token \
     ) AND NOT EXISTS (SELECT FROM room_facts AS f WHERE f.room_nid = v.room_nid AND f.snapshot = v.token))"
}
