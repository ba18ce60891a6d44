//! The directory of users.
//!
//! Users are found by words that begin as the term does, in the order of an index. How many candidates are looked at is
//! bounded by whoever asks, so that a beginning which half of the server shares costs no more than another.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int8, Nullable, Text},
};

use super::query::query;

/// A user who has a word that begins as the term.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct CandidateRow {
    pub(crate) word: String,
    pub(crate) user_id: String,
    pub(crate) display_name: Option<String>,
    pub(crate) avatar_url: Option<String>,
    /// Whether they have all other words of the term as well, and the viewer may find them.
    pub(crate) found: bool,
}

query! {
    /// Lists users who have a word in a range, by word and user, after one of them.
    ///
    /// A user may be found by others who share a room with them, and by all, the viewer included, if they are in a room
    /// that everybody can join or read.
    fn list_candidates<'a>(
        viewer: str as Text,
        words: [String] as Array<Text>,
        after_word: str as Text,
        after_user: str as Text,
        to: str as Text,
        limit: i64 as Int8,
    ) -> CandidateRow as (Text, Text, Nullable<Text>, Nullable<Text>, Bool) =
        "WITH q AS MATERIALIZED (SELECT ?::text AS viewer, ?::text[] AS words), \
         shared AS MATERIALIZED ( \
           SELECT m.room_nid FROM q JOIN current_members m ON m.user_id = q.viewer AND m.membership = 'join') \
         SELECT c.word, c.user_id, d.display_name, d.avatar_url, \
           CASE WHEN EXISTS (SELECT FROM unnest(q.words) w WHERE position(' ' || w IN d.words) = 0) THEN false \
             ELSE EXISTS ( \
               SELECT FROM current_members m WHERE m.user_id = c.user_id AND m.membership = 'join' \
                 AND (c.user_id <> q.viewer AND m.room_nid IN (SELECT s.room_nid FROM shared s) OR EXISTS ( \
                   SELECT FROM current_facts f WHERE f.room_nid = m.room_nid AND f.state_key = '' \
                     AND (f.type = 'm.room.join_rules' AND f.value = 'public' \
                       OR f.type = 'm.room.history_visibility' AND f.value = 'world_readable')))) END \
         FROM q CROSS JOIN ( \
           SELECT word, user_id FROM user_directory_words \
           WHERE (word, user_id) > (?, ?) AND word < ? ORDER BY word, user_id LIMIT ? \
         ) c JOIN user_directory d ON d.user_id = c.user_id ORDER BY c.word, c.user_id";
}

/// A user who shares a room with the viewer.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct NeighborRow {
    pub(crate) user_id: String,
    pub(crate) display_name: Option<String>,
    pub(crate) avatar_url: Option<String>,
}

query! {
    /// Lists those of the first others sharing a room with the viewer who have all the words.
    fn list_neighbors<'a>(
        viewer: str as Text,
        words: [String] as Array<Text>,
        looked_at: i64 as Int8,
        limit: i64 as Int8,
    ) -> NeighborRow as (Text, Nullable<Text>, Nullable<Text>) =
        "WITH q AS MATERIALIZED (SELECT ?::text AS viewer, ?::text[] AS words) \
         SELECT DISTINCT d.user_id, d.display_name, d.avatar_url FROM q CROSS JOIN LATERAL ( \
           SELECT m.user_id FROM current_members own JOIN current_members m ON m.room_nid = own.room_nid \
           WHERE own.user_id = q.viewer AND own.membership = 'join' AND m.membership = 'join' \
             AND m.user_id <> q.viewer LIMIT ? \
         ) m JOIN user_directory d ON d.user_id = m.user_id \
         WHERE NOT EXISTS (SELECT FROM unnest(q.words) w WHERE position(' ' || w IN d.words) = 0) \
         ORDER BY d.user_id LIMIT ?";
}

query! {
    /// Lists member events of users of other servers who share a room with the viewer: what they are called is told there
    /// and nowhere else.
    fn list_remote<'a>(
        viewer: str as Text,
        server: str as Text,
        looked_at: i64 as Int8,
        limit: i64 as Int8,
    ) -> (String, Vec<u8>) as (Text, Binary) =
        "WITH q AS MATERIALIZED (SELECT ?::text AS viewer, ':' || ?::text AS suffix) \
         SELECT m.user_id, j.json FROM ( \
           SELECT m.user_id, m.event_nid FROM q CROSS JOIN LATERAL ( \
             SELECT m.user_id, m.event_nid FROM current_members own JOIN current_members m ON m.room_nid = own.room_nid \
             WHERE own.user_id = q.viewer AND own.membership = 'join' AND m.membership = 'join' LIMIT ? \
           ) m WHERE right(m.user_id, length(q.suffix)) <> q.suffix ORDER BY m.user_id, m.event_nid LIMIT ? \
         ) m JOIN event_json j ON j.event_nid = m.event_nid";
}
