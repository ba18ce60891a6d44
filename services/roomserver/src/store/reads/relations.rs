//! Reads relations between events, and aggregates them.

use diesel::{
    Queryable,
    sql_types::{Array, Bool, Int4, Int8, Nullable, SmallInt, Text},
};

use super::{query::query, timeline::ScanRow};

/// How many relations are followed from an event at most.
pub(crate) const MAX_DEPTH: u32 = 3;

macro_rules! related {
    ($(#[$meta:meta])* $name:ident, $order:literal) => {
        query! {
            $(#[$meta])*
            ///
            /// Relation type and event type are patterns of `LIKE`.
            fn $name<'a>(
                room_nid: i64 as Int8,
                relates_to_id: str as Text,
                rel_type: str as Text,
                event_type: str as Text,
                after: i64 as Int8,
                up_to: i64 as Int8,
                limit: i64 as Int8,
            ) -> ScanRow as (Int8, Int8, Text, Nullable<Text>, Text, Int4, SmallInt) = concat!(
                "SELECT e.event_nid, r.seq, e.type, e.state_key, e.sender, e.flags, e.visibility \
                 FROM event_relations r JOIN events e ON e.event_nid = r.event_nid \
                 WHERE r.room_nid = ? AND r.relates_to_id = ? AND r.rel_type LIKE ? AND r.type LIKE ? \
                   AND r.seq > ? AND r.seq <= ? ORDER BY r.seq", $order, " LIMIT ?"
            );
        }
    };
}

related! {
    /// Lists events with `after < seq <= up_to` that relate to an event, newest first.
    scan_backward, " DESC"
}

related! {
    /// Lists events with `after < seq <= up_to` that relate to an event, oldest first.
    scan_forward, ""
}

macro_rules! related_deep {
    ($(#[$meta:meta])* $name:ident, $order:literal) => {
        query! {
            $(#[$meta])*
            ///
            /// Relation type and event type are patterns of `LIKE`, for what is listed, not for what is on the way.
            fn $name<'a>(
                room_nid: i64 as Int8,
                relates_to_id: str as Text,
                rel_type: str as Text,
                event_type: str as Text,
                max_depth: i32 as Int4,
                after: i64 as Int8,
                up_to: i64 as Int8,
                limit: i64 as Int8,
            ) -> ScanRow as (Int8, Int8, Text, Nullable<Text>, Text, Int4, SmallInt) = concat!(
                "WITH RECURSIVE q AS (SELECT ?::bigint AS room_nid, ?::text AS parent, ?::text AS rel_type, \
                   ?::text AS type, ?::int AS depth), \
                 found (event_nid, event_id, seq, rel_type, type, depth) AS ( \
                   SELECT r.event_nid, r.event_id, r.seq, r.rel_type, r.type, 1 FROM q JOIN event_relations r \
                     ON r.room_nid = q.room_nid AND r.relates_to_id = q.parent \
                   UNION \
                   SELECT r.event_nid, r.event_id, r.seq, r.rel_type, r.type, f.depth + 1 FROM found f \
                     CROSS JOIN q JOIN event_relations r ON r.room_nid = q.room_nid \
                       AND r.relates_to_id = f.event_id \
                     WHERE f.depth < q.depth \
                 ) \
                 SELECT e.event_nid, f.seq, e.type, e.state_key, e.sender, e.flags, e.visibility \
                 FROM (SELECT DISTINCT f.event_nid, f.seq FROM found f CROSS JOIN q \
                     WHERE f.rel_type LIKE q.rel_type AND f.type LIKE q.type) f \
                   JOIN events e ON e.event_nid = f.event_nid \
                 WHERE f.seq > ? AND f.seq <= ? ORDER BY f.seq", $order, " LIMIT ?"
            );
        }
    };
}

related_deep! {
    /// Lists events with `after < seq <= up_to` that relate to an event over some relations, newest first.
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the statement")]
    scan_deep_backward, " DESC"
}

related_deep! {
    /// Lists events with `after < seq <= up_to` that relate to an event over some relations, oldest first.
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the statement")]
    scan_deep_forward, ""
}

query! {
    /// Lists those of the events that one of the users has related to with one of the types. An empty list stands for
    /// all.
    fn choose_related<'a>(
        event_nids: [i64] as Array<Int8>,
        rel_types: [String] as Array<Text>,
        senders: [String] as Array<Text>,
    ) -> (i64,) as (Int8) =
        "WITH q AS (SELECT ?::bigint[] AS nids, ?::text[] AS rel_types, ?::text[] AS senders) \
         SELECT e.event_nid FROM q JOIN events e ON e.event_nid = ANY(q.nids) \
         WHERE EXISTS (SELECT FROM event_relations r \
           WHERE r.room_nid = e.room_nid AND r.relates_to_id = e.event_id \
             AND (cardinality(q.rel_types) = 0 OR r.rel_type = ANY(q.rel_types)) \
             AND (cardinality(q.senders) = 0 OR r.sender = ANY(q.senders)))";
}

/// An event that relates to one of those asked for.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct RelatedRow {
    /// The event asked for.
    pub(crate) relates_to_id: String,
    pub(crate) event_nid: i64,
    pub(crate) event_id: String,
    pub(crate) seq: Option<i64>,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) flags: i32,
    pub(crate) visibility: i16,
}

query! {
    /// Lists the latest valid replacement of each event that has one.
    fn list_replacements<'a>(
        room_nid: i64 as Int8,
        event_ids: [String] as Array<Text>,
        ignored: [String] as Array<Text>,
        up_to: i64 as Int8,
    ) -> RelatedRow as (Text, Int8, Text, Nullable<Int8>, Text, Nullable<Text>, Int4, SmallInt) =
        "WITH q AS (SELECT ?::bigint AS room_nid, ?::text[] AS ids, ?::text[] AS ignored, ?::bigint AS up_to) \
         SELECT o.event_id, e.event_nid, e.event_id, e.seq, e.type, e.state_key, e.flags, e.visibility \
         FROM q JOIN events o ON o.event_id = ANY(q.ids) \
         CROSS JOIN LATERAL ( \
           SELECT r.event_nid FROM event_relations r \
           WHERE r.room_nid = q.room_nid AND r.relates_to_id = o.event_id AND r.rel_type = 'm.replace' \
             AND r.sender = o.sender AND r.type = o.type AND r.replaces AND r.seq <= q.up_to \
           ORDER BY r.origin_server_ts DESC, r.event_id DESC LIMIT 1 \
         ) l JOIN events e ON e.event_nid = l.event_nid \
         WHERE o.room_nid = q.room_nid AND o.state_key IS NULL AND o.flags & 15 = 0 AND o.sender <> ALL(q.ignored) \
           AND NOT EXISTS ( \
             SELECT FROM event_relations x WHERE x.event_nid = o.event_nid AND x.rel_type = 'm.replace')";
}

query! {
    /// Lists the first events that refer to each event, oldest first.
    fn list_references<'a>(
        room_nid: i64 as Int8,
        event_ids: [String] as Array<Text>,
        ignored: [String] as Array<Text>,
        up_to: i64 as Int8,
        limit: i64 as Int8,
    ) -> RelatedRow as (Text, Int8, Text, Nullable<Int8>, Text, Nullable<Text>, Int4, SmallInt) =
        "WITH q AS (SELECT ?::bigint AS room_nid, ?::text[] AS ids, ?::text[] AS ignored, ?::bigint AS up_to, \
           ?::bigint AS most) \
         SELECT t.id, e.event_nid, e.event_id, e.seq, e.type, e.state_key, e.flags, e.visibility \
         FROM q CROSS JOIN LATERAL (SELECT DISTINCT unnest(q.ids) AS id) t \
         CROSS JOIN LATERAL ( \
           SELECT c.event_nid FROM ( \
             SELECT r.event_nid, r.seq FROM event_relations r \
             WHERE r.room_nid = q.room_nid AND r.relates_to_id = t.id AND r.rel_type = 'm.reference' \
               AND r.seq <= q.up_to AND r.sender <> ALL(q.ignored) OFFSET 0 \
           ) c ORDER BY c.seq LIMIT q.most \
         ) l JOIN events e ON e.event_nid = l.event_nid \
         ORDER BY t.id, e.seq";
}

query! {
    /// Lists those who have related to events and asked to be erased, with the time when they did.
    fn list_erased<'a>(room_nid: i64 as Int8, event_ids: [String] as Array<Text>) -> (String, i64) as (Text, Int8) =
        "SELECT DISTINCT a.user_id, a.erased_ts FROM event_relations r \
         JOIN accounts a ON a.user_id = r.sender AND a.erased_ts IS NOT NULL \
         WHERE r.room_nid = ? AND r.relates_to_id = ANY(?)";
}

/// A thread.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ThreadRow {
    pub(crate) root_id: String,
    /// How many events are in it, as far as they count for the viewer.
    pub(crate) replies: i64,
    /// The latest of those; `None` if none counts.
    pub(crate) latest_nid: Option<i64>,
    pub(crate) participated: bool,
}

query! {
    /// Tells of the threads that events are the roots of. Counts are at hand unless the viewer ignores somebody or may
    /// not see the latest.
    fn list_threads<'a>(
        room_nid: i64 as Int8,
        event_ids: [String] as Array<Text>,
        viewer: str as Text,
        ignored: [String] as Array<Text>,
        up_to: i64 as Int8,
    ) -> ThreadRow as (Text, Int8, Nullable<Int8>, Bool) =
        "WITH q AS (SELECT ?::bigint AS room_nid, ?::text[] AS ids, ?::text AS viewer, ?::text[] AS ignored, \
           ?::bigint AS up_to) \
         SELECT t.root_id, \
           CASE WHEN cardinality(q.ignored) = 0 AND t.latest_seq <= q.up_to THEN t.replies ELSE ( \
             SELECT count(*) FROM event_relations r \
             WHERE r.room_nid = t.room_nid AND r.relates_to_id = t.root_id AND r.rel_type = 'm.thread' \
               AND r.seq <= q.up_to AND r.sender <> ALL(q.ignored)) END, \
           CASE WHEN cardinality(q.ignored) = 0 AND t.latest_seq <= q.up_to THEN t.latest_nid ELSE ( \
             SELECT r.event_nid FROM event_relations r \
             WHERE r.room_nid = t.room_nid AND r.relates_to_id = t.root_id AND r.rel_type = 'm.thread' \
               AND r.seq <= q.up_to AND r.sender <> ALL(q.ignored) ORDER BY r.seq DESC LIMIT 1) END, \
           o.sender = q.viewer OR EXISTS ( \
             SELECT FROM event_relations r \
             WHERE r.room_nid = t.room_nid AND r.relates_to_id = t.root_id AND r.rel_type = 'm.thread' \
               AND r.sender = q.viewer) \
         FROM q JOIN threads t ON t.room_nid = q.room_nid AND t.root_id = ANY(q.ids) \
         JOIN events o ON o.event_id = t.root_id AND o.room_nid = t.room_nid \
         WHERE t.replies > 0 AND o.state_key IS NULL \
           AND NOT EXISTS (SELECT FROM event_relations x WHERE x.event_nid = o.event_nid)";
}

/// A thread root, for looking through threads.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct RootRow {
    pub(crate) event_nid: i64,
    /// `seq` of the latest event in the thread.
    pub(crate) latest_seq: i64,
    pub(crate) seq: Option<i64>,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) flags: i32,
    pub(crate) visibility: i16,
}

query! {
    /// Lists threads whose latest event has a `seq` of at most `up_to`, the latest first; all, or those in which a user
    /// has taken part.
    fn scan_threads<'a>(
        room_nid: i64 as Int8,
        up_to: i64 as Int8,
        all: bool as Bool,
        root_sender: str as Text,
        reply_sender: str as Text,
        limit: i64 as Int8,
    ) -> RootRow as (Int8, Int8, Nullable<Int8>, Text, Nullable<Text>, Int4, SmallInt) =
        "SELECT o.event_nid, t.latest_seq, o.seq, o.type, o.state_key, o.flags, o.visibility \
         FROM threads t JOIN events o ON o.event_id = t.root_id AND o.room_nid = t.room_nid \
         WHERE t.room_nid = ? AND t.latest_seq <= ? AND t.replies > 0 AND o.state_key IS NULL \
           AND NOT EXISTS (SELECT FROM event_relations x WHERE x.event_nid = o.event_nid) \
           AND (? OR o.sender = ? OR EXISTS ( \
             SELECT FROM event_relations r \
             WHERE r.room_nid = t.room_nid AND r.relates_to_id = t.root_id AND r.rel_type = 'm.thread' \
               AND r.sender = ?)) \
         ORDER BY t.latest_seq DESC LIMIT ?";
}

/// An event found by time.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct TimedRow {
    pub(crate) event_id: String,
    pub(crate) origin_server_ts: i64,
    pub(crate) seq: Option<i64>,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) flags: i32,
    pub(crate) visibility: i16,
}

macro_rules! timed {
    ($(#[$meta:meta])* $name:ident, $compare:literal, $order:literal) => {
        query! {
            $(#[$meta])*
            fn $name<'a>(
                room_nid: i64 as Int8,
                ts: i64 as Int8,
                seq: i64 as Int8,
                limit: i64 as Int8,
            ) -> TimedRow as (Text, Int8, Nullable<Int8>, Text, Nullable<Text>, Int4, SmallInt) = concat!(
                "SELECT event_id, origin_server_ts, seq, type, state_key, flags, visibility FROM events \
                 WHERE room_nid = ? AND (origin_server_ts, seq) ", $compare, " (?, ?) AND seq IS NOT NULL \
                 ORDER BY origin_server_ts", $order, ", seq", $order, " LIMIT ?"
            );
        }
    };
}

timed! {
    /// Lists events after a time and position, the earliest first.
    scan_later, ">", ""
}

timed! {
    /// Lists events before a time and position, the latest first.
    scan_earlier, "<", " DESC"
}
