//! Reads the event graph: walks along previous events and auth events, and memberships at events.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int4, Int8, Nullable, SmallInt, Text},
};

use super::query::query;

/// An event as a node of the graph.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct NodeRow {
    pub(crate) event_nid: i64,
    pub(crate) event_id: String,
    pub(crate) flags: i32,
    pub(crate) visibility: i16,
    pub(crate) members_root: i64,
}

/// An event with its JSON.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct JsonRow {
    pub(crate) event_nid: i64,
    pub(crate) event_id: String,
    pub(crate) depth: i64,
    pub(crate) json: Vec<u8>,
}

query! {
    /// Lists events with their JSON, in no particular order.
    fn list_json<'a>(event_nids: [i64] as Array<Int8>) -> JsonRow as (Int8, Text, Int8, Binary) =
        "SELECT e.event_nid, e.event_id, e.depth, j.json FROM events e JOIN event_json j ON j.event_nid = e.event_nid \
         WHERE e.event_nid = ANY(?)";
}

query! {
    /// Lists events without their JSON, in no particular order.
    fn list_ids<'a>(event_nids: [i64] as Array<Int8>) -> (i64, String, i64) as (Int8, Text, Int8) =
        "SELECT event_nid, event_id, depth FROM events WHERE event_nid = ANY(?)";
}

query! {
    /// Finds events of a room by ID, in no particular order.
    fn find<'a>(event_ids: [String] as Array<Text>, room_nid: i64 as Int8)
        -> NodeRow as (Int8, Text, Int4, SmallInt, Int8) =
        "SELECT event_nid, event_id, flags, visibility, members_root FROM events \
         WHERE event_id = ANY(?) AND room_nid = ?";
}

query! {
    /// Finds which events of a room are known, in no particular order.
    fn find_known<'a>(event_ids: [String] as Array<Text>, room_nid: i64 as Int8)
        -> (String, String, Option<String>, i32) as (Text, Text, Nullable<Text>, Int4) =
        "SELECT event_id, type, state_key, flags FROM events WHERE event_id = ANY(?) AND room_nid = ?";
}

query! {
    /// Walks back along previous events, level by level, and stops at some events and below a depth. Deepest first.
    fn walk_back<'a>(
        stop_at: [i64] as Array<Int8>,
        min_depth: i64 as Int8,
        from: [i64] as Array<Int8>,
        limit: i64 as Int8,
    ) -> NodeRow as (Int8, Text, Int4, SmallInt, Int8) =
        "WITH RECURSIVE bounds AS MATERIALIZED (SELECT ?::bigint[] AS stop_at, ?::bigint AS min_depth), \
         walk (event_nid) AS ( \
           SELECT * FROM unnest(?::bigint[]) \
           UNION \
           SELECT p.nid FROM walk w JOIN events e ON e.event_nid = w.event_nid CROSS JOIN bounds b \
             CROSS JOIN unnest(e.prev_nids) AS p (nid) JOIN events f ON f.event_nid = p.nid \
             WHERE p.nid <> ALL(b.stop_at) AND f.depth >= b.min_depth \
         ), found AS (SELECT event_nid FROM walk LIMIT ?) \
         SELECT e.event_nid, e.event_id, e.flags, e.visibility, e.members_root \
         FROM found f JOIN events e ON e.event_nid = f.event_nid ORDER BY e.depth DESC, e.event_nid DESC";
}

query! {
    /// Lists the auth chain of events, without them unless they are part of it, in numeric order.
    fn list_auth_chain<'a>(from: [i64] as Array<Int8>) -> (i64,) as (Int8) =
        "WITH RECURSIVE chain (event_nid) AS ( \
           SELECT a.nid FROM events e CROSS JOIN unnest(e.auth_nids) AS a (nid) WHERE e.event_nid = ANY(?) \
           UNION \
           SELECT a.nid FROM chain c JOIN events e ON e.event_nid = c.event_nid \
             CROSS JOIN unnest(e.auth_nids) AS a (nid) \
         ) SELECT event_nid FROM chain ORDER BY event_nid";
}

/// A forward extremity of a room.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ForwardExtremityRow {
    pub(crate) version: String,
    pub(crate) room_depth: i64,
    pub(crate) event_id: String,
    pub(crate) depth: i64,
}

query! {
    /// Lists the forward extremities of a room, deepest first.
    fn list_forward_extremities<'a>(room_nid: i64 as Int8) -> ForwardExtremityRow as (Text, Int8, Text, Int8) =
        "SELECT r.version, r.depth, e.event_id, e.depth FROM rooms r JOIN events e ON e.event_nid = ANY(r.latest_nids) \
         WHERE r.room_nid = ? ORDER BY e.depth DESC, e.event_nid DESC";
}

query! {
    /// Counts the joined members of servers in a room; an empty server stands for all.
    fn list_servers<'a>(server: str as Text, room_nid: i64 as Int8) -> (String, i64) as (Text, Int8) =
        "WITH wanted AS (SELECT ?::text AS server) \
         SELECT s.server, s.joined::bigint FROM rooms r JOIN room_servers s \
         ON s.room_nid = r.room_nid AND s.snapshot = r.snapshot CROSS JOIN wanted w \
         WHERE r.room_nid = ? AND s.joined > 0 AND (w.server = '' OR s.server = w.server) ORDER BY s.server";
}

query! {
    /// Lists users of a server who have or had a membership in a room.
    fn list_users_of_server<'a>(server: str as Text, room_nid: i64 as Int8, limit: i64 as Int8)
        -> (String,) as (Text) =
        "WITH wanted AS (SELECT ?::text AS server) \
         SELECT m.user_id FROM current_members m CROSS JOIN wanted w \
         WHERE m.room_nid = ? AND substr(m.user_id, strpos(m.user_id, ':') + 1) = w.server \
         ORDER BY m.user_id LIMIT ?";
}

query! {
    /// Tells the memberships that member events give.
    fn list_memberships<'a>(event_nids: [i64] as Array<Int8>) -> (i64, Option<String>) as (Int8, Nullable<Text>) =
        "SELECT event_nid, value FROM events WHERE event_nid = ANY(?) AND type = 'm.room.member'";
}

/// Where an event stands in a room whose graph is forked, or was.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct MembershipAtRow {
    pub(crate) room_nid: i64,
    pub(crate) seq: i64,
    pub(crate) members_root: i64,
    /// Whether it is a member event about the user.
    pub(crate) own: bool,
    /// The event that it replaced.
    pub(crate) replaces_nid: Option<i64>,
}

query! {
    /// Lists those of the events that are of rooms whose graph is or was forked.
    fn list_memberships_at<'a>(user_id: str as Text, event_nids: [i64] as Array<Int8>)
        -> MembershipAtRow as (Int8, Int8, Int8, Bool, Nullable<Int8>) =
        "SELECT e.room_nid, e.seq, e.members_root, \
         e.type = 'm.room.member' AND e.state_key IS NOT DISTINCT FROM ?, e.replaces_nid \
         FROM events e JOIN rooms r ON r.room_nid = e.room_nid \
         WHERE r.forked AND e.event_nid = ANY(?) AND e.seq IS NOT NULL";
}

query! {
    /// Tells of rooms whether a user is joined; a row for each room in which our server is.
    ///
    /// In another room the members are those of the time when the last of ours left.
    fn list_joined<'a>(user_id: str as Text, server: str as Text, room_ids: [String] as Array<Text>)
        -> (String, bool) as (Text, Bool) =
        "SELECT r.room_id, m.membership IS NOT DISTINCT FROM 'join' FROM rooms r \
         LEFT JOIN current_members m ON m.room_nid = r.room_nid AND m.user_id = ? \
         JOIN room_servers s ON s.room_nid = r.room_nid AND s.snapshot = r.snapshot AND s.server = ? AND s.joined > 0 \
         WHERE r.room_id = ANY(?) AND cardinality(r.latest_nids) > 0";
}

query! {
    /// For those of the events that are member events of some users: what they replaced.
    fn list_replaced<'a>(user_ids: [String] as Array<Text>, event_nids: [i64] as Array<Int8>)
        -> (i64, i64) as (Int8, Int8) =
        "SELECT event_nid, replaces_nid FROM events WHERE type = 'm.room.member' AND state_key = ANY(?) \
         AND event_nid = ANY(?) AND replaces_nid IS NOT NULL";
}

query! {
    /// Lists users of a server who are joined to a room.
    fn list_joined_of_server<'a>(server: str as Text, room_nid: i64 as Int8, limit: i64 as Int8)
        -> (String,) as (Text) =
        "WITH wanted AS (SELECT ?::text AS server) \
         SELECT m.user_id FROM current_members m CROSS JOIN wanted w \
         WHERE m.room_nid = ? AND m.membership = 'join' \
           AND substr(m.user_id, strpos(m.user_id, ':') + 1) = w.server ORDER BY m.user_id LIMIT ?";
}
