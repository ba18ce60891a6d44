//! Scanning timelines without the JSON, and finding points in them.

use diesel::{
    Queryable,
    sql_types::{Int4, Int8, Nullable, SmallInt, Text},
};

use super::query::query;

/// What decides whether an event of a timeline is wanted and visible.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ScanRow {
    pub(crate) event_nid: i64,
    pub(crate) seq: i64,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) sender: String,
    pub(crate) flags: i32,
    pub(crate) visibility: i16,
}

query! {
    /// Lists events with `after < seq <= up_to`, newest first.
    fn scan_backward<'a>(room_nid: i64 as Int8, after: i64 as Int8, up_to: i64 as Int8, limit: i64 as Int8)
        -> ScanRow as (Int8, Int8, Text, Nullable<Text>, Text, Int4, SmallInt) =
        "SELECT event_nid, seq, type, state_key, sender, flags, visibility FROM events \
         WHERE room_nid = ? AND seq > ? AND seq <= ? ORDER BY seq DESC LIMIT ?";
}

query! {
    /// Lists events with `after < seq <= up_to`, oldest first.
    fn scan_forward<'a>(room_nid: i64 as Int8, after: i64 as Int8, up_to: i64 as Int8, limit: i64 as Int8)
        -> ScanRow as (Int8, Int8, Text, Nullable<Text>, Text, Int4, SmallInt) =
        "SELECT event_nid, seq, type, state_key, sender, flags, visibility FROM events \
         WHERE room_nid = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?";
}

/// An event as a point in the history of a room.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct PointRow {
    pub(crate) event_nid: i64,
    pub(crate) room_nid: i64,
    pub(crate) seq: Option<i64>,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) flags: i32,
    pub(crate) visibility: i16,
    /// Roots of the state after the event.
    pub(crate) members_root: i64,
    pub(crate) other_root: i64,
    /// The event that held its key before it.
    pub(crate) replaces_nid: Option<i64>,
}

query! {
    /// Finds an event as a point.
    fn find_point<'a>(event_id: str as Text)
        -> PointRow as (Int8, Int8, Nullable<Int8>, Text, Nullable<Text>, Int4, SmallInt, Int8, Int8, Nullable<Int8>) =
        "SELECT event_nid, room_nid, seq, type, state_key, flags, visibility, members_root, other_root, replaces_nid \
         FROM events WHERE event_id = ?";
}

query! {
    /// Finds the last event of a room with a `seq` not greater than this that took part in its state. The roots are those
    /// of the room's state then: where its graph is forked, that is not the state after the event.
    fn find_point_at<'a>(room_nid: i64 as Int8, seq: i64 as Int8)
        -> PointRow as (Int8, Int8, Nullable<Int8>, Text, Nullable<Text>, Int4, SmallInt, Int8, Int8, Nullable<Int8>) =
        "SELECT e.event_nid, e.room_nid, e.seq, e.type, e.state_key, e.flags, e.visibility, \
         coalesce(s.members_root, e.members_root), coalesce(s.other_root, e.other_root), e.replaces_nid \
         FROM events e LEFT JOIN room_states s ON s.room_nid = e.room_nid AND s.seq = e.seq \
         WHERE e.room_nid = ? AND e.seq <= ? AND e.flags & 7 = 0 ORDER BY e.seq DESC LIMIT 1";
}

query! {
    /// Finds the `seq` of the last change of a room's history visibility that made it world-readable, or ended that: both
    /// have the more open value.
    fn find_end_of_public<'a>(room_nid: i64 as Int8) -> (i64,) as (Int8) =
        "SELECT seq FROM events \
         WHERE room_nid = ? AND type = 'm.room.history_visibility' AND visibility = 4 AND seq IS NOT NULL AND flags & 7 = 0 \
         ORDER BY seq DESC LIMIT 1";
}
