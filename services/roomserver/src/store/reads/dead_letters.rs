//! Records that could not be processed.

use diesel::{
    Queryable,
    sql_types::{Binary, Int8, SmallInt, Text},
};

use super::query::query;

/// A record that could not be processed.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct DeadLetterRow {
    pub(crate) id: i64,
    pub(crate) topic: String,
    pub(crate) partition: i16,
    pub(crate) log_offset: i64,
    pub(crate) error: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) created_ts: i64,
}

query! {
    /// Lists the newest dead letters with a lower number than this, newest first.
    fn list<'a>(before: i64 as Int8, limit: i64 as Int8) -> DeadLetterRow as (Int8, Text, SmallInt, Int8, Text, Binary, Int8) =
        "SELECT id, topic, partition, log_offset, error, payload, created_ts FROM dead_letters \
         WHERE id < ? ORDER BY id DESC LIMIT ?";
}

query! {
    /// Finds a dead letter.
    fn find<'a>(id: i64 as Int8) -> DeadLetterRow as (Int8, Text, SmallInt, Int8, Text, Binary, Int8) =
        "SELECT id, topic, partition, log_offset, error, payload, created_ts FROM dead_letters WHERE id = ?";
}

query! {
    /// Removes a dead letter; returns its number if it was there.
    fn delete<'a>(id: i64 as Int8) -> (i64,) as (Int8) = "DELETE FROM dead_letters WHERE id = ? RETURNING id";
}
