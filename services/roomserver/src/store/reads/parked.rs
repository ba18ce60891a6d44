//! Reads parked events and what they lack.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int2, Int4, Int8, Text},
};

use super::query::query;

/// A parked event.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ParkedRow {
    pub(crate) parked_nid: i64,
    pub(crate) room_id: String,
    pub(crate) event_id: String,
    pub(crate) attempts: i32,
    pub(crate) not_before_ts: i64,
    pub(crate) record: Vec<u8>,
}

/// What a parked event lacks.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ParkedOnRow {
    pub(crate) parked_nid: i64,
    pub(crate) missing_event_id: String,
    pub(crate) is_prev: bool,
    /// Whether it is parked itself.
    pub(crate) is_parked: bool,
}

query! {
    /// Lists parked events of a room, oldest first.
    fn list_of_room<'a>(room_nid: i64 as Int8, after: i64 as Int8, limit: i64 as Int8)
        -> ParkedRow as (Int8, Text, Text, Int4, Int8, Binary) =
        "SELECT p.parked_nid, r.room_id, p.event_id, p.attempts, p.not_before_ts, p.record \
         FROM parked p JOIN rooms r ON r.room_nid = p.room_nid \
         WHERE p.room_nid = ? AND p.parked_nid > ? ORDER BY p.parked_nid LIMIT ?";
}

query! {
    /// Lists parked events of a partition, oldest first.
    fn list_of_partition<'a>(partition: i16 as Int2, after: i64 as Int8, limit: i64 as Int8)
        -> ParkedRow as (Int8, Text, Text, Int4, Int8, Binary) =
        "SELECT p.parked_nid, r.room_id, p.event_id, p.attempts, p.not_before_ts, p.record \
         FROM parked p JOIN rooms r ON r.room_nid = p.room_nid \
         WHERE p.partition = ? AND p.parked_nid > ? ORDER BY p.parked_nid LIMIT ?";
}

query! {
    /// Lists what parked events lack.
    fn list_missing<'a>(parked_nids: [i64] as Array<Int8>) -> ParkedOnRow as (Int8, Text, Bool, Bool) =
        "SELECT o.parked_nid, o.missing_event_id, o.is_prev, EXISTS ( \
           SELECT 1 FROM parked q WHERE q.room_nid = p.room_nid AND q.event_id = o.missing_event_id \
         ) FROM parked_on o JOIN parked p ON p.parked_nid = o.parked_nid WHERE o.parked_nid = ANY(?)";
}
