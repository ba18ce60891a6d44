//! Reads the events that another server is to be sent, and the servers that were in rooms.

use diesel::{
    Queryable,
    sql_types::{Array, Int4, Int8, Nullable, SmallInt, Text},
};

use super::query::query;

/// An event of a timeline, with what decides whether a server is sent it.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct CandidateRow {
    pub(crate) event_nid: i64,
    pub(crate) seq: i64,
    pub(crate) flags: i32,
    pub(crate) sender: String,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    /// For a member event: the membership.
    pub(crate) value: Option<String>,
    /// The event that held its key before it.
    pub(crate) replaces_nid: Option<i64>,
}

query! {
    /// Lists events of a timeline after a `seq`, oldest first.
    fn list_candidates<'a>(room_nid: i64 as Int8, after: i64 as Int8, limit: i64 as Int8) -> CandidateRow as (
        Int8, Int8, Int4, Text, Text, Nullable<Text>, Nullable<Text>, Nullable<Int8>
    ) = "SELECT event_nid, seq, flags, sender, type, state_key, value, replaces_nid FROM events \
         WHERE room_nid = ? AND seq > ? ORDER BY seq LIMIT ?";
}

query! {
    /// Finds the `seq` from which on a server that is far behind is sent something: that of the oldest of the newest events
    /// that are handed on and new enough, else that of the newest one that is handed on.
    fn find_backlog_start<'a>(room_nid: i64 as Int8, after: i64 as Int8, min_ts: i64 as Int8, limit: i64 as Int8)
        -> (Option<i64>,) as (Nullable<Int8>) =
        "WITH asked AS (SELECT ?::bigint AS room_nid, ?::bigint AS after, ?::bigint AS min_ts) \
         SELECT coalesce( \
           (SELECT min(n.seq) FROM (SELECT e.seq FROM events e JOIN asked a ON e.room_nid = a.room_nid AND e.seq > a.after \
             WHERE e.flags & 32 <> 0 AND e.received_ts >= a.min_ts ORDER BY e.seq DESC LIMIT ?) AS n), \
           (SELECT e.seq FROM events e JOIN asked a ON e.room_nid = a.room_nid AND e.seq > a.after \
             WHERE e.flags & 32 <> 0 ORDER BY e.seq DESC LIMIT 1))";
}

query! {
    /// Tells the members of a room's state as it was just before each `seq`; those before which there was none have no root.
    fn list_roots_before<'a>(room_nid: i64 as Int8, seqs: [i64] as Array<Int8>)
        -> (i64, Option<i64>) as (Int8, Nullable<Int8>) =
        "SELECT v.seq, (SELECT coalesce(s.members_root, e.members_root) FROM events e \
           LEFT JOIN room_states s ON s.room_nid = e.room_nid AND s.seq = e.seq \
           WHERE e.room_nid = ? AND e.seq < v.seq AND e.flags & 7 = 0 ORDER BY e.seq DESC LIMIT 1) \
         FROM unnest(?::bigint[]) AS v(seq)";
}

/// A room now and just before a `seq`.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ServersRow {
    pub(crate) room_nid: i64,
    pub(crate) members_root: i64,
    /// Members before.
    pub(crate) members_before: Option<i64>,
    /// Servers now.
    pub(crate) servers: Vec<String>,
    /// How many of the users of each are joined.
    pub(crate) joined: Vec<i64>,
}

query! {
    /// Finds the servers of a room as they are now, and its members as they were just before a `seq`, all at one point.
    fn find_servers<'a>(seq: i64 as Int8, room_id: str as Text)
        -> ServersRow as (Int8, Int8, Nullable<Int8>, Array<Text>, Array<Int8>) =
        "SELECT r.room_nid, r.members_root, \
         (SELECT coalesce(s.members_root, e.members_root) FROM events e \
           LEFT JOIN room_states s ON s.room_nid = e.room_nid AND s.seq = e.seq \
           WHERE e.room_nid = r.room_nid AND e.seq < ? AND e.flags & 7 = 0 ORDER BY e.seq DESC LIMIT 1), \
         ARRAY(SELECT v.server FROM room_servers v \
           WHERE v.room_nid = r.room_nid AND v.snapshot = r.snapshot AND v.joined > 0 ORDER BY v.server), \
         ARRAY(SELECT v.joined::bigint FROM room_servers v \
           WHERE v.room_nid = r.room_nid AND v.snapshot = r.snapshot AND v.joined > 0 ORDER BY v.server) \
         FROM rooms r WHERE r.room_id = ? AND cardinality(r.latest_nids) > 0";
}

query! {
    /// Tells of member events whom they are about and what memberships they give.
    fn list_members<'a>(event_nids: [i64] as Array<Int8>)
        -> (i64, Option<String>, Option<String>) as (Int8, Nullable<Text>, Nullable<Text>) =
        "SELECT event_nid, state_key, value FROM events WHERE event_nid = ANY(?) AND type = 'm.room.member'";
}

/// The other servers of a room.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct RoomServersRow {
    pub(crate) room_nid: i64,
    pub(crate) room_id: String,
    pub(crate) servers: Vec<String>,
}

query! {
    /// Lists rooms of a partition in which something happened after a `seq`, with their other servers.
    fn list_room_servers<'a>(
        own_server: str as Text,
        partition: i16 as SmallInt,
        after_seq: i64 as Int8,
        after_nid: i64 as Int8,
        limit: i64 as Int8,
    ) -> RoomServersRow as (Int8, Text, Array<Text>) =
        "SELECT r.room_nid, r.room_id, ARRAY(SELECT v.server FROM room_servers v WHERE v.room_nid = r.room_nid \
           AND v.snapshot = r.snapshot AND v.joined > 0 AND v.server <> ? ORDER BY v.server) \
         FROM rooms r WHERE r.partition = ? AND r.last_seq > ? AND r.room_nid > ? AND cardinality(r.latest_nids) > 0 \
         ORDER BY r.room_nid LIMIT ?";
}
