//! Writes the rows of every batch: the fence, the output logs, verdicts, dead letters.

use std::marker::PhantomData;

use bytes::Bytes;
use diesel::sql_types::{Array, Binary, Int2, Int8, Nullable, Text};

use super::Pipeline;
use crate::store::statement::statement;

/// Where a partition stands before and after the batch.
#[derive(Debug, Clone)]
pub(crate) struct Fence {
    pub(crate) partition: i16,
    pub(crate) epoch: i64,
    pub(crate) room_offset_before: i64,
    pub(crate) user_offset_before: i64,
    pub(crate) room_offset: i64,
    pub(crate) room_input_id: Option<Vec<u8>>,
    pub(crate) user_offset: i64,
    pub(crate) user_input_id: Option<Vec<u8>>,
    pub(crate) next_room_seq: i64,
    pub(crate) next_user_seq: i64,
    pub(crate) next_nid: i64,
    pub(crate) room_published_seq: i64,
    pub(crate) user_published_seq: i64,
}

/// Where the bulk lane of a partition stands before and after the batch.
#[derive(Debug, Clone)]
pub(crate) struct BulkFence {
    pub(crate) partition: i16,
    pub(crate) epoch: i64,
    pub(crate) offset_before: i64,
    pub(crate) offset: i64,
    pub(crate) input_id: Option<Vec<u8>>,
    pub(crate) next_nid: i64,
}

/// A row of `output_log` or `user_output_log`.
#[derive(Debug, Clone)]
pub(crate) struct OutputRow {
    pub(crate) partition: i16,
    pub(crate) seq: i64,
    /// Event whose JSON belongs into the record; always `None` for users.
    pub(crate) event_nid: Option<i64>,
    pub(crate) body: Bytes,
}

/// A row of `verdicts`.
#[derive(Debug, Clone)]
pub(crate) struct VerdictRow {
    pub(crate) key: [u8; 16],
    pub(crate) partition: i16,
    pub(crate) verdict: Bytes,
    pub(crate) created_ts: i64,
}

/// A row of `dead_letters`.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    pub(crate) topic: &'static str,
    pub(crate) partition: i16,
    pub(crate) log_offset: i64,
    pub(crate) error: String,
    pub(crate) payload: Bytes,
    pub(crate) created_ts: i64,
    /// Room ID or user ID of the record; empty if it has none.
    pub(crate) key: String,
}

statement! {
    /// Compares and sets `partition_state`: it touches as many rows as it has values, or the owner is stale.
    FencePartitions {
        partition: Array<Int2> => Vec<i16>,
        epoch: Array<Int8> => Vec<i64>,
        room_offset_before: Array<Int8> => Vec<i64>,
        user_offset_before: Array<Int8> => Vec<i64>,
        room_offset: Array<Int8> => Vec<i64>,
        room_input_id: Array<Nullable<Binary>> => Vec<Option<&'a [u8]>>,
        user_offset: Array<Int8> => Vec<i64>,
        user_input_id: Array<Nullable<Binary>> => Vec<Option<&'a [u8]>>,
        next_room_seq: Array<Int8> => Vec<i64>,
        next_user_seq: Array<Int8> => Vec<i64>,
        next_nid: Array<Int8> => Vec<i64>,
        room_published_seq: Array<Int8> => Vec<i64>,
        user_published_seq: Array<Int8> => Vec<i64>,
    }
    "UPDATE partition_state AS s SET \
     room_offset = v.room_offset, room_input_id = v.room_input_id, \
     user_offset = v.user_offset, user_input_id = v.user_input_id, \
     next_room_seq = v.next_room_seq, next_user_seq = v.next_user_seq, next_nid = v.next_nid, \
     room_published_seq = v.room_published_seq, user_published_seq = v.user_published_seq \
     FROM unnest(",
    ") AS v(partition, epoch, room_offset_before, user_offset_before, room_offset, room_input_id, user_offset, \
     user_input_id, next_room_seq, next_user_seq, next_nid, room_published_seq, user_published_seq) \
     WHERE s.partition = v.partition AND s.epoch = v.epoch \
     AND s.room_offset = v.room_offset_before AND s.user_offset = v.user_offset_before"
}

statement! {
    /// Compares and sets `bulk_lanes`: it touches as many rows as it has values, or the owner is stale.
    FenceBulk {
        partition: Array<Int2> => Vec<i16>,
        epoch: Array<Int8> => Vec<i64>,
        offset_before: Array<Int8> => Vec<i64>,
        bulk_offset: Array<Int8> => Vec<i64>,
        bulk_input_id: Array<Nullable<Binary>> => Vec<Option<&'a [u8]>>,
        next_nid: Array<Int8> => Vec<i64>,
    }
    "UPDATE bulk_lanes AS s SET \
     bulk_offset = v.bulk_offset, bulk_input_id = v.bulk_input_id, next_nid = v.next_nid FROM unnest(",
    ") AS v(partition, epoch, offset_before, bulk_offset, bulk_input_id, next_nid) \
     WHERE s.partition = v.partition AND s.epoch = v.epoch AND s.bulk_offset = v.offset_before"
}

statement! {
    /// Adds to `output_log`.
    InsertRoomOutput {
        partition: Array<Int2> => Vec<i16>,
        seq: Array<Int8> => Vec<i64>,
        event_nid: Array<Nullable<Int8>> => Vec<Option<i64>>,
        body: Array<Binary> => Vec<&'a [u8]>,
    }
    "INSERT INTO output_log (partition, seq, event_nid, body, written_ts) \
     SELECT v.*, (extract(epoch FROM now()) * 1000)::bigint FROM unnest(", ") AS v"
}

statement! {
    /// Adds to `user_output_log`.
    InsertUserOutput {
        partition: Array<Int2> => Vec<i16>,
        seq: Array<Int8> => Vec<i64>,
        body: Array<Binary> => Vec<&'a [u8]>,
    }
    "INSERT INTO user_output_log (partition, seq, body, written_ts) \
     SELECT v.*, (extract(epoch FROM now()) * 1000)::bigint FROM unnest(", ") AS v"
}

statement! {
    /// Adds to `verdicts`. A key that is there keeps its verdict: the first one counts.
    InsertVerdicts {
        key: Array<Binary> => Vec<&'a [u8]>,
        partition: Array<Int2> => Vec<i16>,
        verdict: Array<Binary> => Vec<&'a [u8]>,
        created_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO verdicts (key, partition, verdict, created_ts) SELECT * FROM unnest(",
    ") ON CONFLICT (key) DO NOTHING"
}

statement! {
    /// Adds to `dead_letters`.
    InsertDeadLetters {
        topic: Array<Text> => Vec<&'a str>,
        partition: Array<Int2> => Vec<i16>,
        log_offset: Array<Int8> => Vec<i64>,
        error: Array<Text> => Vec<&'a str>,
        payload: Array<Binary> => Vec<&'a [u8]>,
        created_ts: Array<Int8> => Vec<i64>,
        key: Array<Text> => Vec<&'a str>,
    }
    "INSERT INTO dead_letters (topic, partition, log_offset, error, payload, created_ts, key) SELECT * FROM unnest(", ")"
}

/// Sets the partitions forward, if they are still ours.
pub(super) fn fence(pipeline: &mut Pipeline<'_>, fences: &[Fence]) {
    let statement = FencePartitions {
        partition: fences.iter().map(|row| row.partition).collect(),
        epoch: fences.iter().map(|row| row.epoch).collect(),
        room_offset_before: fences.iter().map(|row| row.room_offset_before).collect(),
        user_offset_before: fences.iter().map(|row| row.user_offset_before).collect(),
        room_offset: fences.iter().map(|row| row.room_offset).collect(),
        room_input_id: fences.iter().map(|row| row.room_input_id.as_deref()).collect(),
        user_offset: fences.iter().map(|row| row.user_offset).collect(),
        user_input_id: fences.iter().map(|row| row.user_input_id.as_deref()).collect(),
        next_room_seq: fences.iter().map(|row| row.next_room_seq).collect(),
        next_user_seq: fences.iter().map(|row| row.next_user_seq).collect(),
        next_nid: fences.iter().map(|row| row.next_nid).collect(),
        room_published_seq: fences.iter().map(|row| row.room_published_seq).collect(),
        user_published_seq: fences.iter().map(|row| row.user_published_seq).collect(),
        lifetime: PhantomData,
    };
    pipeline.add(FencePartitions::NAME, statement);
}

/// Sets bulk lanes forward, if they are still ours.
pub(super) fn fence_bulk(pipeline: &mut Pipeline<'_>, fences: &[BulkFence]) {
    let statement = FenceBulk {
        partition: fences.iter().map(|row| row.partition).collect(),
        epoch: fences.iter().map(|row| row.epoch).collect(),
        offset_before: fences.iter().map(|row| row.offset_before).collect(),
        bulk_offset: fences.iter().map(|row| row.offset).collect(),
        bulk_input_id: fences.iter().map(|row| row.input_id.as_deref()).collect(),
        next_nid: fences.iter().map(|row| row.next_nid).collect(),
        lifetime: PhantomData,
    };
    pipeline.add(FenceBulk::NAME, statement);
}

/// Adds to the output logs.
pub(super) fn write_output(pipeline: &mut Pipeline<'_>, rooms: &[OutputRow], users: &[OutputRow]) {
    if !rooms.is_empty() {
        let statement = InsertRoomOutput {
            partition: rooms.iter().map(|row| row.partition).collect(),
            seq: rooms.iter().map(|row| row.seq).collect(),
            event_nid: rooms.iter().map(|row| row.event_nid).collect(),
            body: rooms.iter().map(|row| row.body.as_ref()).collect(),
            lifetime: PhantomData,
        };
        pipeline.add(InsertRoomOutput::NAME, statement);
    }
    if !users.is_empty() {
        let statement = InsertUserOutput {
            partition: users.iter().map(|row| row.partition).collect(),
            seq: users.iter().map(|row| row.seq).collect(),
            body: users.iter().map(|row| row.body.as_ref()).collect(),
            lifetime: PhantomData,
        };
        pipeline.add(InsertUserOutput::NAME, statement);
    }
}

/// Keeps what became of the inputs.
pub(super) fn write_verdicts(pipeline: &mut Pipeline<'_>, rows: &[VerdictRow]) {
    if rows.is_empty() {
        return;
    }
    let statement = InsertVerdicts {
        key: rows.iter().map(|row| row.key.as_slice()).collect(),
        partition: rows.iter().map(|row| row.partition).collect(),
        verdict: rows.iter().map(|row| row.verdict.as_ref()).collect(),
        created_ts: rows.iter().map(|row| row.created_ts).collect(),
        lifetime: PhantomData,
    };
    pipeline.add(InsertVerdicts::NAME, statement);
}

/// Sets inputs aside.
pub(super) fn write_dead_letters(pipeline: &mut Pipeline<'_>, rows: &[DeadLetter]) {
    if rows.is_empty() {
        return;
    }
    let statement = InsertDeadLetters {
        topic: rows.iter().map(|row| row.topic).collect(),
        partition: rows.iter().map(|row| row.partition).collect(),
        log_offset: rows.iter().map(|row| row.log_offset).collect(),
        error: rows.iter().map(|row| row.error.as_str()).collect(),
        payload: rows.iter().map(|row| row.payload.as_ref()).collect(),
        created_ts: rows.iter().map(|row| row.created_ts).collect(),
        key: rows.iter().map(|row| row.key.as_str()).collect(),
        lifetime: PhantomData,
    };
    pipeline.add(InsertDeadLetters::NAME, statement);
}
