//! Reads the event graph of a room as stored, with the state after each event.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int4, Int8, Nullable, Text},
};

use super::query::query;

/// A room as its graph needs it.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct GraphRoomRow {
    pub(crate) room_nid: i64,
    pub(crate) room_id: String,
    pub(crate) version: String,
    pub(crate) create_nid: i64,
    pub(crate) latest_nids: Vec<i64>,
    pub(crate) members_root: i64,
    pub(crate) other_root: i64,
}

macro_rules! room {
    ($(#[$meta:meta])* $name:ident($bind:ident: $type:ty as $sql_type:ty), $rest:literal) => {
        query! {
            $(#[$meta])*
            fn $name<'a>($bind: $type as $sql_type) -> GraphRoomRow as (
                Int8, Text, Text, Int8, Array<Int8>, Int8, Int8
            ) = concat!(
                "SELECT r.room_nid, r.room_id, r.version, r.create_nid, r.latest_nids, r.members_root, r.other_root \
                 FROM rooms r ",
                $rest
            );
        }
    };
}

room! {
    /// Finds a room by its ID.
    find_room(room_id: str as Text), "WHERE r.room_id = ?"
}

room! {
    /// Finds a room by its numeric ID.
    find_room_by_nid(room_nid: i64 as Int8), "WHERE r.room_nid = ?"
}

room! {
    /// Finds the room of an event.
    find_room_of(event_id: str as Text), "JOIN events e ON e.room_nid = r.room_nid WHERE e.event_id = ?"
}

/// An event of the graph, without its JSON.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct VertexRow {
    pub(crate) event_nid: i64,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) sender: String,
    pub(crate) depth: i64,
    pub(crate) flags: i32,
    pub(crate) auth_generation: i32,
    pub(crate) auth_nids: Vec<i64>,
    pub(crate) prev_nids: Vec<i64>,
    pub(crate) members_root: i64,
    pub(crate) other_root: i64,
    pub(crate) seq: Option<i64>,
}

macro_rules! vertices {
    ($(#[$meta:meta])* $name:ident($($bind:ident: $type:ty as $sql_type:ty),+), $rest:literal) => {
        query! {
            $(#[$meta])*
            fn $name<'a>($($bind: $type as $sql_type),+) -> VertexRow as (
                Int8, Text, Text, Nullable<Text>, Text, Int8, Int4, Int4, Array<Int8>, Array<Int8>, Int8, Int8,
                Nullable<Int8>
            ) = concat!(
                "SELECT event_nid, event_id, type, state_key, sender, depth, flags, auth_generation, auth_nids, \
                 prev_nids, members_root, other_root, seq FROM events WHERE ",
                $rest
            );
        }
    };
}

vertices! {
    /// Lists events of a room in numeric order, from behind one on up to one. All numeric IDs of a partition lie
    /// together, so that the primary key serves.
    list_room(after: i64 as Int8, end: i64 as Int8, room_nid: i64 as Int8, limit: i64 as Int8),
    "event_nid > ? AND event_nid < ? AND room_nid = ? ORDER BY event_nid LIMIT ?"
}

vertices! {
    /// Lists events by numeric ID.
    list_vertices(event_nids: [i64] as Array<Int8>), "event_nid = ANY(?)"
}

vertices! {
    /// Finds an event by its ID.
    find_vertex(event_id: str as Text), "event_id = ?"
}

query! {
    /// Finds the room of an event that is stored, parked, or was given up.
    fn find_room_with<'a>(event_id: str as Text) -> (String,) as (Text) =
        "WITH wanted AS (SELECT ?::text AS id) \
         SELECT r.room_id FROM wanted w CROSS JOIN LATERAL ( \
         SELECT room_nid FROM events WHERE event_id = w.id \
         UNION SELECT room_nid FROM parked WHERE event_id = w.id \
         UNION SELECT room_nid FROM decisions WHERE event_id = w.id AND stage = 'missing') AS f \
         JOIN rooms r ON r.room_nid = f.room_nid LIMIT 1";
}

/// JSON of an event.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct JsonRow {
    pub(crate) event_nid: i64,
    pub(crate) event_id: String,
    pub(crate) flags: i32,
    pub(crate) json: Vec<u8>,
}

query! {
    /// Lists the JSON of events.
    fn list_json<'a>(event_nids: [i64] as Array<Int8>) -> JsonRow as (Int8, Text, Int4, Binary) =
        "SELECT e.event_nid, e.event_id, e.flags, j.json FROM events e \
         JOIN event_json j ON j.event_nid = e.event_nid WHERE e.event_nid = ANY(?)";
}

/// Why an event was refused.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct DecisionRow {
    pub(crate) room_nid: i64,
    pub(crate) stage: String,
    pub(crate) rule: String,
    pub(crate) decided_ts: i64,
}

query! {
    /// Finds why an event was refused.
    fn find_decision<'a>(event_id: str as Text) -> DecisionRow as (Int8, Text, Text, Int8) =
        "SELECT room_nid, stage, rule, decided_ts FROM decisions WHERE event_id = ?";
}

/// What a parked event waits for.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ParkedRow {
    pub(crate) room_nid: i64,
    pub(crate) attempts: i32,
    pub(crate) missing_event_id: Option<String>,
    pub(crate) is_prev: Option<bool>,
}

query! {
    /// Lists what a parked event waits for: at least one row if it is parked.
    fn list_parked<'a>(event_id: str as Text) -> ParkedRow as (Int8, Int4, Nullable<Text>, Nullable<Bool>) =
        "SELECT p.room_nid, p.attempts, o.missing_event_id, o.is_prev FROM parked p \
         LEFT JOIN parked_on o ON o.parked_nid = p.parked_nid \
         WHERE p.event_id = ? ORDER BY o.is_prev DESC, o.missing_event_id LIMIT 100";
}

/// An event that is missing.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct BackwardRow {
    pub(crate) event_id: String,
    pub(crate) cited_by: String,
}

query! {
    /// Lists events that are missing behind a room.
    fn list_backward<'a>(room_nid: i64 as Int8) -> BackwardRow as (Text, Text) =
        "SELECT b.event_id, e.event_id FROM backward_refs b JOIN events e ON e.event_nid = b.referrer_nid \
         WHERE b.room_nid = ? ORDER BY b.event_id LIMIT 1000";
}

query! {
    /// Finds the position of a room's oldest event.
    fn find_oldest<'a>(room_nid: i64 as Int8) -> (i64,) as (Int8,) =
        "SELECT seq FROM events WHERE room_nid = ? AND seq IS NOT NULL ORDER BY seq LIMIT 1";
}

/// An event that is missing before the timeline of a room.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct HistoryEndRow {
    pub(crate) event_id: String,
    pub(crate) cited_by: String,
    pub(crate) depth: i64,
}

query! {
    /// Lists events that are missing before the timeline of a room, nearest first: those that its oldest event cites, and
    /// those that events cite which were fetched from before it, also such that the rules refuse.
    fn list_history_ends<'a>(room_nid: i64 as Int8, oldest: i64 as Int8)
        -> HistoryEndRow as (Text, Text, Int8) =
        "SELECT b.event_id, e.event_id, e.depth FROM backward_refs b JOIN events e ON e.event_nid = b.referrer_nid \
         WHERE b.room_nid = ? AND coalesce(e.seq, -1) <= greatest(?, -1) \
         ORDER BY e.depth DESC, b.event_id LIMIT 20";
}
