//! Defers inputs to the low-priority lane, and removes those that were decided.

use std::marker::PhantomData;

use bytes::Bytes;
use diesel::sql_types::{Array, Binary, Int2, Int8, Text};

use super::Pipeline;
use crate::store::statement::statement;

/// A row of `deferred_inputs`.
#[derive(Debug, Clone)]
pub(crate) struct DeferredRow {
    pub(crate) partition: i16,
    pub(crate) room_id: String,
    pub(crate) log: i16,
    pub(crate) log_offset: i64,
    pub(crate) input_id: [u8; 16],
    pub(crate) payload: Bytes,
    pub(crate) deferred_ts: i64,
}

/// Writes which inputs are deferred, and which are no more.
pub(super) fn write(pipeline: &mut Pipeline<'_>, rows: &[DeferredRow], done: &[i64]) {
    if !rows.is_empty() {
        pipeline.add(
            DeferInputs::NAME,
            DeferInputs {
                partition: rows.iter().map(|row| row.partition).collect(),
                room_id: rows.iter().map(|row| row.room_id.as_str()).collect(),
                log: rows.iter().map(|row| row.log).collect(),
                log_offset: rows.iter().map(|row| row.log_offset).collect(),
                input_id: rows.iter().map(|row| row.input_id.as_slice()).collect(),
                payload: rows.iter().map(|row| row.payload.as_ref()).collect(),
                deferred_ts: rows.iter().map(|row| row.deferred_ts).collect(),
                lifetime: PhantomData,
            },
        );
    }
    if !done.is_empty() {
        pipeline.add(DeleteDeferred::NAME, DeleteDeferred { id: done.to_vec(), lifetime: PhantomData });
    }
}

statement! {
    /// Adds inputs that wait, in order.
    DeferInputs {
        partition: Array<Int2> => Vec<i16>,
        room_id: Array<Text> => Vec<&'a str>,
        log: Array<Int2> => Vec<i16>,
        log_offset: Array<Int8> => Vec<i64>,
        input_id: Array<Binary> => Vec<&'a [u8]>,
        payload: Array<Binary> => Vec<&'a [u8]>,
        deferred_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO deferred_inputs (partition, room_id, log, log_offset, input_id, payload, deferred_ts) \
     SELECT v.partition, v.room_id, v.log, v.log_offset, v.input_id, v.payload, v.deferred_ts FROM unnest(",
    ") WITH ORDINALITY AS v(partition, room_id, log, log_offset, input_id, payload, deferred_ts, place) \
     ORDER BY v.place"
}

statement! {
    /// Removes inputs that were worked off.
    DeleteDeferred {
        id: Array<Int8> => Vec<i64>,
    }
    "DELETE FROM deferred_inputs WHERE id = ANY(", ")"
}
