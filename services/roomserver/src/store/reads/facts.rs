//! What many rooms are, read at once; the directory, and who is in which rooms.

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
    /// Lists those of the rooms that a user is joined to.
    fn list_joined<'a>(user_id: str as Text, room_ids: [String] as Array<Text>) -> (String,) as (Text) =
        "SELECT r.room_id FROM current_members m JOIN rooms r ON r.room_nid = m.room_nid \
         WHERE m.user_id = ? AND m.membership = 'join' AND r.room_id = ANY(?)";
}

// Text that contains U+0000 cannot be taken out of JSON, and would fail the whole statement; such names are not found.
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
                "WITH q AS (SELECT ?::text AS term, ?::bool AS by_type, ?::text[] AS types, ?::bigint AS members, \
                   ?::text AS room_id) \
                 SELECT r.room_nid, r.room_id, r.version, r.joined_members, NULL::text FROM rooms r CROSS JOIN q \
                 WHERE r.published AND ", $compare, " \
                   AND (q.term = '' OR position(q.term IN lower(r.room_id)) > 0 OR EXISTS ( \
                     SELECT FROM current_facts f JOIN event_json j ON j.event_nid = f.event_nid \
                     WHERE f.room_nid = r.room_nid AND f.state_key = '' \
                       AND f.type IN ('m.room.name', 'm.room.topic', 'm.room.canonical_alias') \
                       AND CASE WHEN position('\\\\u0000'::bytea IN j.json) = 0 THEN position(q.term IN lower( \
                         (convert_from(j.json, 'UTF8')::json #>> ARRAY['content', CASE f.type \
                           WHEN 'm.room.name' THEN 'name' WHEN 'm.room.topic' THEN 'topic' ELSE 'alias' END]) \
                         COLLATE \"und-x-icu\")) > 0 ELSE false END)) \
                   AND (NOT q.by_type OR coalesce(( \
                     SELECT CASE WHEN position('\\\\u0000'::bytea IN j.json) = 0 \
                       THEN convert_from(j.json, 'UTF8')::json #>> '{content,type}' END \
                     FROM current_facts f JOIN event_json j ON j.event_nid = f.event_nid \
                     WHERE f.room_nid = r.room_nid AND f.type = 'm.room.create' AND f.state_key = ''), '') \
                     = ANY(q.types)) \
                 ORDER BY ", $order, " LIMIT ?"
            );
        }
    };
}

directory_statement! {
    /// Lists rooms of the directory after one, those with most members first.
    list_public_after,
    "(r.joined_members < q.members OR r.joined_members = q.members AND r.room_id > q.room_id)",
    "r.joined_members DESC, r.room_id"
}

directory_statement! {
    /// Lists rooms of the directory before one, those with fewest members first.
    list_public_before,
    "(r.joined_members > q.members OR r.joined_members = q.members AND r.room_id < q.room_id)",
    "r.joined_members, r.room_id DESC"
}

query! {
    /// Counts the rooms of the directory.
    fn count_public<'a>(published: bool as Bool) -> (i64,) as (Int8) =
        "SELECT count(*) FROM rooms WHERE published AND published = ?";
}

/// A user found.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct UserRow {
    pub(crate) user_id: String,
    pub(crate) display_name: Option<String>,
    pub(crate) avatar_url: Option<String>,
}

query! {
    /// Searches users whom a user may find by a term in lower case; nobody finds themselves.
    ///
    /// Local users go by their profiles: what they call themselves in some room is told only there.
    fn search_users<'a>(viewer: str as Text, term: str as Text, limit: i64 as Int8)
        -> UserRow as (Text, Nullable<Text>, Nullable<Text>) =
        "WITH q AS (SELECT ?::text AS viewer, ?::text AS term), \
         shared AS MATERIALIZED ( \
           SELECT m.room_nid FROM q JOIN current_members m ON m.user_id = q.viewer AND m.membership = 'join'), \
         users AS ( \
           SELECT a.user_id, \
             (SELECT convert_from(p.value, 'UTF8')::json #>> '{}' FROM profiles p \
              WHERE p.user_id = a.user_id AND p.field = 'displayname' \
                AND position('\\\\u0000'::bytea IN p.value) = 0) AS name, \
             (SELECT convert_from(p.value, 'UTF8')::json #>> '{}' FROM profiles p \
              WHERE p.user_id = a.user_id AND p.field = 'avatar_url' \
                AND position('\\\\u0000'::bytea IN p.value) = 0) AS avatar \
           FROM accounts a CROSS JOIN q WHERE NOT a.deactivated AND a.user_id <> q.viewer), \
         found AS ( \
           SELECT u.user_id, u.name, u.avatar FROM users u CROSS JOIN q \
           WHERE (position(q.term IN lower(u.user_id)) > 0 \
                  OR position(q.term IN lower(u.name COLLATE \"und-x-icu\")) > 0) \
             AND EXISTS ( \
               SELECT FROM current_members m WHERE m.user_id = u.user_id AND m.membership = 'join' \
                 AND (m.room_nid IN (SELECT s.room_nid FROM shared s) OR EXISTS ( \
                   SELECT FROM current_facts f JOIN event_json j ON j.event_nid = f.event_nid \
                   WHERE f.room_nid = m.room_nid AND f.state_key = '' \
                     AND f.type IN ('m.room.join_rules', 'm.room.history_visibility') \
                     AND CASE WHEN position('\\\\u0000'::bytea IN j.json) = 0 THEN \
                       CASE f.type WHEN 'm.room.join_rules' \
                         THEN convert_from(j.json, 'UTF8')::json #>> '{content,join_rule}' = 'public' \
                         ELSE convert_from(j.json, 'UTF8')::json #>> '{content,history_visibility}' \
                           = 'world_readable' END \
                       ELSE false END))) \
           UNION ALL \
           SELECT r.user_id, max(r.name), max(r.avatar) FROM ( \
             SELECT m.user_id, \
               CASE WHEN position('\\\\u0000'::bytea IN j.json) = 0 \
                 THEN convert_from(j.json, 'UTF8')::json #>> '{content,displayname}' END AS name, \
               CASE WHEN position('\\\\u0000'::bytea IN j.json) = 0 \
                 THEN convert_from(j.json, 'UTF8')::json #>> '{content,avatar_url}' END AS avatar \
             FROM shared s JOIN current_members m ON m.room_nid = s.room_nid AND m.membership = 'join' \
             JOIN event_json j ON j.event_nid = m.event_nid \
             WHERE NOT EXISTS (SELECT FROM accounts a WHERE a.user_id = m.user_id) \
           ) r CROSS JOIN q \
           WHERE position(q.term IN lower(r.user_id)) > 0 \
             OR position(q.term IN lower(r.name COLLATE \"und-x-icu\")) > 0 \
           GROUP BY r.user_id) \
         SELECT f.user_id, f.name, f.avatar FROM found f CROSS JOIN q \
         ORDER BY lower(f.name COLLATE \"und-x-icu\") IS NOT DISTINCT FROM q.term \
             OR split_part(lower(f.user_id), ':', 1) = '@' || q.term DESC, \
           f.name IS NULL, f.user_id LIMIT ?";
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
