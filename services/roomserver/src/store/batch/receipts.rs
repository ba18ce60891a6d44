//! Receipts.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Int8, Text};
use indexmap::IndexMap;

use super::Pipeline;
use crate::{
    rooms::{ReceiptKey, ReceiptRow},
    store::statement::statement,
};

/// Receipts that a batch moves, each as the last input left it.
#[derive(Default)]
pub(super) struct RoomReceipts(IndexMap<ReceiptKey, ReceiptRow>);

impl RoomReceipts {
    /// Adds those of one input, over those of the inputs before it.
    pub(super) fn merge(&mut self, rows: Vec<ReceiptRow>) {
        for row in rows {
            self.0.insert(row.key.clone(), row);
        }
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        if self.0.is_empty() {
            return;
        }
        let rows = || self.0.values();
        pipeline.add(
            UpsertReceipts::NAME,
            UpsertReceipts {
                room_nid: rows().map(|row| row.key.room.0).collect(),
                user_id: rows().map(|row| row.key.user.as_str()).collect(),
                receipt_type: rows().map(|row| row.key.kind).collect(),
                thread_id: rows().map(|row| row.key.thread.as_str()).collect(),
                event_id: rows().map(|row| row.event_id.as_str()).collect(),
                event_seq: rows().map(|row| row.event_seq).collect(),
                ts: rows().map(|row| row.ts).collect(),
                seq: rows().map(|row| row.seq).collect(),
                lifetime: PhantomData,
            },
        );
    }
}

statement! {
    /// Sets receipts.
    UpsertReceipts {
        room_nid: Array<Int8> => Vec<i64>,
        user_id: Array<Text> => Vec<&'a str>,
        receipt_type: Array<Text> => Vec<&'a str>,
        thread_id: Array<Text> => Vec<&'a str>,
        event_id: Array<Text> => Vec<&'a str>,
        event_seq: Array<Int8> => Vec<i64>,
        ts: Array<Int8> => Vec<i64>,
        seq: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO receipts (room_nid, user_id, receipt_type, thread_id, event_id, event_seq, ts, seq) \
     SELECT * FROM unnest(",
    ") ON CONFLICT (room_nid, user_id, receipt_type, thread_id) DO UPDATE SET event_id = excluded.event_id, \
     event_seq = excluded.event_seq, ts = excluded.ts, seq = excluded.seq"
}
