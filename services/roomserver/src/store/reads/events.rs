//! Events with their JSON, and what clients are told beside it.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int4, Int8, Nullable, SmallInt, Text},
};

use super::query::query;
use crate::rooms::flags;

/// Bits of `events.flags` of events that clients must not see.
pub(crate) const HIDDEN: i32 = flags::REJECTED | flags::SOFT_FAILED | flags::OUTLIER;

/// An event with its JSON.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct EventRow {
    pub(crate) event_nid: i64,
    pub(crate) room_nid: i64,
    pub(crate) room_id: String,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) sender: String,
    pub(crate) flags: i32,
    pub(crate) visibility: i16,
    pub(crate) seq: Option<i64>,
    pub(crate) txn_device_id: Option<String>,
    pub(crate) txn_id: Option<String>,
    pub(crate) json: Vec<u8>,
    /// The event it replaced in the state.
    pub(crate) prev_event_id: Option<String>,
    pub(crate) prev_sender: Option<String>,
    /// JSON of the event it replaced, if it was asked for.
    pub(crate) prev_json: Option<Vec<u8>>,
    /// Version of its room.
    pub(crate) room_version: String,
    /// When its sender asked to be erased; unset for those who did not.
    pub(crate) erased_ts: Option<i64>,
    /// When the sender of the event it replaced did.
    pub(crate) prev_erased_ts: Option<i64>,
    /// When the sender of what redacted it did.
    pub(crate) redactor_erased_ts: Option<i64>,
}

macro_rules! event_statement {
    ($(#[$meta:meta])* $name:ident, $keys:ty as $sql_type:ty, $condition:literal) => {
        query! {
            $(#[$meta])*
            fn $name<'a>(with_prev: bool as Bool, keys: $keys as $sql_type) -> EventRow as (
                Int8, Int8, Text, Text, Text, Nullable<Text>, Text, Int4, SmallInt, Nullable<Int8>,
                Nullable<Text>, Nullable<Text>, Binary, Nullable<Text>, Nullable<Text>, Nullable<Binary>,
                Text, Nullable<Int8>, Nullable<Int8>, Nullable<Int8>
            ) = concat!(
                "SELECT e.event_nid, e.room_nid, r.room_id, e.event_id, e.type, e.state_key, e.sender, e.flags, \
                 e.visibility, e.seq, e.txn_device_id, e.txn_id, j.json, p.event_id, p.sender, pj.json, \
                 r.version, a.erased_ts, pa.erased_ts, \
                 CASE WHEN e.flags & 8 <> 0 THEN ( \
                   SELECT max(ra.erased_ts) FROM redactions x JOIN events re ON re.event_nid = x.redaction_nid \
                   JOIN accounts ra ON ra.user_id = re.sender AND ra.erased_ts IS NOT NULL \
                   WHERE x.redacts_id = e.event_id) END \
                 FROM events e \
                 JOIN rooms r ON r.room_nid = e.room_nid \
                 JOIN event_json j ON j.event_nid = e.event_nid \
                 LEFT JOIN events p ON p.event_nid = e.replaces_nid \
                 LEFT JOIN event_json pj ON ?::bool AND pj.event_nid = e.replaces_nid \
                 LEFT JOIN accounts a ON a.user_id = e.sender AND a.erased_ts IS NOT NULL \
                 LEFT JOIN accounts pa ON pa.user_id = p.sender AND pa.erased_ts IS NOT NULL \
                 WHERE ",
                $condition
            );
        }
    };
}

event_statement! {
    /// Lists events by numeric ID, in no particular order; with the JSON of the events they replaced if asked.
    list, [i64] as Array<Int8>, "e.event_nid = ANY(?)"
}

event_statement! {
    /// Lists events by ID, in no particular order; with the JSON of the events they replaced if asked.
    list_by_id, [String] as Array<Text>, "e.event_id = ANY(?)"
}
