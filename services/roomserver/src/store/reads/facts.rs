//! Reads facts of many rooms at once, the directory, and shared memberships.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int4, Int8, Nullable, Text},
};

use super::query::query;

/// A room, with the current membership of a user.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct RoomRow {
    pub(crate) room_nid: i64,
    pub(crate) room_id: String,
    pub(crate) version: String,
    pub(crate) joined_members: i32,
    pub(crate) membership: Option<String>,
}

query! {
    /// Lists rooms, with the current membership of a user. An empty user has none.
    fn list_rooms<'a>(user_id: str as Text, room_ids: [String] as Array<Text>)
        -> RoomRow as (Int8, Text, Text, Int4, Nullable<Text>) =
        "SELECT r.room_nid, r.room_id, r.version, r.joined_members, m.membership FROM rooms r \
         LEFT JOIN current_members m ON m.room_nid = r.room_nid AND m.user_id = ? \
         WHERE r.room_id = ANY(?)";
}

/// An entry of the state of a room.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct FactRow {
    pub(crate) room_nid: i64,
    pub(crate) event_type: String,
    pub(crate) state_key: String,
    pub(crate) json: Vec<u8>,
}

query! {
    /// Lists what rooms are.
    fn list_facts<'a>(room_nids: [i64] as Array<Int8>) -> FactRow as (Int8, Text, Text, Binary) =
        "SELECT f.room_nid, f.type, f.state_key, j.json FROM current_facts f \
         JOIN event_json j ON j.event_nid = f.event_nid \
         WHERE f.room_nid = ANY(?) AND f.type <> 'm.space.child'";
}

query! {
    /// Lists the entries of one type and an empty state key.
    fn list_entries<'a>(room_nids: [i64] as Array<Int8>, event_type: str as Text)
        -> FactRow as (Int8, Text, Text, Binary) =
        "SELECT f.room_nid, f.type, f.state_key, j.json FROM current_facts f \
         JOIN event_json j ON j.event_nid = f.event_nid \
         WHERE f.room_nid = ANY(?) AND f.type = ? AND f.state_key = ''";
}

query! {
    /// Lists the children of spaces, at most so many of each.
    fn list_children<'a>(room_nids: [i64] as Array<Int8>, limit: i64 as Int8)
        -> FactRow as (Int8, Text, Text, Binary) =
        "SELECT c.room_nid, c.type, c.state_key, j.json \
         FROM unnest(?::bigint[]) AS v(room_nid) \
         CROSS JOIN LATERAL ( \
           SELECT * FROM current_facts f WHERE f.room_nid = v.room_nid AND f.type = 'm.space.child' \
           ORDER BY f.state_key LIMIT ? \
         ) c JOIN event_json j ON j.event_nid = c.event_nid";
}

query! {
    /// Lists those of the rooms in which users of a server are joined.
    fn list_joined_by_server<'a>(server: str as Text, room_ids: [String] as Array<Text>) -> (String,) as (Text) =
        "SELECT r.room_id FROM rooms r JOIN room_servers s ON s.room_nid = r.room_nid AND s.snapshot = r.snapshot \
         AND s.server = ? AND s.joined > 0 WHERE r.room_id = ANY(?) AND cardinality(r.latest_nids) > 0";
}

query! {
    /// Lists those of the rooms that a user is joined to.
    fn list_joined<'a>(user_id: str as Text, room_ids: [String] as Array<Text>) -> (String,) as (Text) =
        "SELECT r.room_id FROM current_members m JOIN rooms r ON r.room_nid = m.room_nid \
         WHERE m.user_id = ? AND m.membership = 'join' AND r.room_id = ANY(?)";
}

// Values are single sub-queries rather than a table that is joined, so that rooms come in the order of the index and the
// first page ends the statement. Facts are read past the view, which would look for the room once more.
// The collation of ICU knows upper and lower case of all scripts, whatever the locale of the database.
macro_rules! directory_statement {
    ($(#[$meta:meta])* $name:ident, $compare:literal, $order:literal) => {
        query! {
            $(#[$meta])*
            ///
            /// The term is in lower case; an empty one matches everything. An empty type stands for rooms without one.
            fn $name<'a>(
                term: str as Text,
                by_type: bool as Bool,
                types: [String] as Array<Text>,
                joined_members: i64 as Int8,
                room_id: str as Text,
                limit: i64 as Int8,
            ) -> RoomRow as (Int8, Text, Text, Int4, Nullable<Text>) = concat!(
                "WITH q AS MATERIALIZED (SELECT ?::text AS term, ?::bool AS by_type, ?::text[] AS types, \
                   ?::bigint AS members, ?::text AS room_id) \
                 SELECT r.room_nid, r.room_id, r.version, r.joined_members, NULL::text FROM rooms r \
                 WHERE r.published AND ", $compare, " \
                   AND ((SELECT term FROM q) = '' OR position((SELECT term FROM q) IN lower(r.room_id)) > 0 OR EXISTS ( \
                     SELECT FROM room_facts f JOIN events e ON e.event_nid = f.event_nid \
                     WHERE f.room_nid = r.room_nid AND f.snapshot = r.snapshot AND f.state_key = '' \
                       AND f.type IN ('m.room.name', 'm.room.topic', 'm.room.canonical_alias') \
                       AND position((SELECT term FROM q) IN lower(e.value COLLATE \"und-x-icu\")) > 0)) \
                   AND (NOT (SELECT by_type FROM q) OR coalesce(( \
                     SELECT e.value FROM room_facts f JOIN events e ON e.event_nid = f.event_nid \
                     WHERE f.room_nid = r.room_nid AND f.snapshot = r.snapshot AND f.type = 'm.room.create' \
                       AND f.state_key = ''), '') = ANY((SELECT types FROM q)::text[])) \
                 ORDER BY ", $order, " LIMIT ?"
            );
        }
    };
}

directory_statement! {
    /// Lists rooms of the directory after one, those with most members first.
    list_public_after,
    "r.joined_members <= (SELECT members FROM q) \
     AND (r.joined_members < (SELECT members FROM q) OR r.room_id > (SELECT room_id FROM q))",
    "r.joined_members DESC, r.room_id"
}

directory_statement! {
    /// Lists rooms of the directory before one, those with fewest members first.
    list_public_before,
    "r.joined_members >= (SELECT members FROM q) \
     AND (r.joined_members > (SELECT members FROM q) OR r.room_id < (SELECT room_id FROM q))",
    "r.joined_members, r.room_id DESC"
}

query! {
    /// Tells how many rooms the directory has.
    fn count_public<'a>(nonzero: bool as Bool) -> (i64,) as (Int8) =
        "SELECT coalesce(sum(published_rooms), 0)::bigint FROM partition_state WHERE (published_rooms <> 0) = ?";
}

query! {
    /// Lists the rooms that two users are joined to, by ID, and how many there are in all.
    fn list_mutual<'a>(user_id: str as Text, other_id: str as Text, after: str as Text, limit: i64 as Int8)
        -> (String, i64) as (Text, Int8) =
        "SELECT s.room_id, s.total FROM ( \
           SELECT r.room_id, count(*) OVER () AS total FROM current_members a \
           JOIN current_members b ON b.room_nid = a.room_nid AND b.membership = 'join' \
           JOIN rooms r ON r.room_nid = a.room_nid \
           WHERE a.user_id = ? AND a.membership = 'join' AND b.user_id = ? \
         ) s WHERE s.room_id > ? ORDER BY s.room_id LIMIT ?";
}
