//! Outboxes of other servers, and users with whom this server shares rooms.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int8, Text},
};

use super::query::query;

query! {
    /// Lists servers for which something waits, after a name, in order.
    fn list_waiting<'a>(after: str as Text, limit: i64 as Int8) -> (String,) as (Text) =
        "WITH RECURSIVE q AS (SELECT ?::text AS after, ?::bigint AS up_to), \
         messages AS ( \
           SELECT (SELECT min(t.server) FROM outgoing_to_device t WHERE t.server > q.after) AS server, 1 AS n FROM q \
           UNION ALL \
           SELECT (SELECT min(t.server) FROM outgoing_to_device t WHERE t.server > m.server), m.n + 1 \
           FROM messages m, q WHERE m.server IS NOT NULL AND m.n < q.up_to), \
         lists AS ( \
           SELECT (SELECT min(t.server) FROM outgoing_device_lists t WHERE t.server > q.after \
             AND (t.stream_id > t.sent_stream_id OR t.keys_seq > t.sent_keys_seq)) AS server, 1 AS n FROM q \
           UNION ALL \
           SELECT (SELECT min(t.server) FROM outgoing_device_lists t WHERE t.server > l.server \
             AND (t.stream_id > t.sent_stream_id OR t.keys_seq > t.sent_keys_seq)), l.n + 1 \
           FROM lists l, q WHERE l.server IS NOT NULL AND l.n < q.up_to) \
         SELECT u.server FROM (SELECT server FROM messages UNION SELECT server FROM lists) u, q \
         WHERE u.server IS NOT NULL ORDER BY 1 LIMIT (SELECT up_to FROM q)";
}

query! {
    /// Lists messages to devices of a server, in order.
    fn list_to_device<'a>(server: str as Text, limit: i64 as Int8) -> (i64, Vec<u8>) as (Int8, Binary) =
        "SELECT number, content FROM outgoing_to_device WHERE server = ? ORDER BY number LIMIT ?";
}

/// A user of whom a server is to be told something.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ListRow {
    pub(crate) user_id: String,
    pub(crate) stream_id: i64,
    pub(crate) sent_stream_id: i64,
    pub(crate) keys_seq: i64,
    pub(crate) sent_keys_seq: i64,
}

query! {
    /// Lists users of whom a server is to be told something.
    fn list_users<'a>(server: str as Text, limit: i64 as Int8)
        -> ListRow as (Text, Int8, Int8, Int8, Int8) =
        "SELECT user_id, stream_id, sent_stream_id, keys_seq, sent_keys_seq FROM outgoing_device_lists \
         WHERE server = ? AND (stream_id > sent_stream_id OR keys_seq > sent_keys_seq) ORDER BY user_id LIMIT ?";
}

query! {
    /// Lists changes of devices of users after versions and up to others, the last ones of each user, in order:
    /// user, device, version, whether the device is gone.
    fn list_changes<'a>(
        user_ids: [String] as Array<Text>,
        after: [i64] as Array<Int8>,
        upto: [i64] as Array<Int8>,
        limit: i64 as Int8,
    ) -> (String, String, i64, bool) as (Text, Text, Int8, Bool) =
        "SELECT v.user_id, c.device_id, c.stream_id, d.device_id IS NULL \
         FROM unnest(?::text[], ?::bigint[], ?::bigint[]) AS v(user_id, after, upto) CROSS JOIN LATERAL ( \
           SELECT * FROM device_list_changes c WHERE c.user_id = v.user_id AND c.stream_id > v.after \
           AND c.stream_id <= v.upto ORDER BY c.stream_id DESC, c.device_id DESC LIMIT ?) AS c \
         LEFT JOIN devices d ON d.user_id = c.user_id AND d.device_id = c.device_id \
         ORDER BY v.user_id, c.stream_id, c.device_id";
}

query! {
    /// The versions of the lists of devices of users.
    fn list_versions<'a>(user_ids: [String] as Array<Text>) -> (String, i64) as (Text, Int8) =
        "SELECT user_id, max(stream_id) FROM device_list_changes WHERE user_id = ANY(?) GROUP BY 1";
}

query! {
    /// Lists those of some users who are in a room that somebody of a server is in, too.
    fn list_room_mates<'a>(user_ids: [String] as Array<Text>, server: str as Text) -> (String,) as (Text) =
        "WITH v AS (SELECT unnest(?::text[]) AS user_id) SELECT v.user_id FROM v, (SELECT ?::text AS name) own \
         WHERE EXISTS (SELECT 1 FROM current_members m JOIN rooms r ON r.room_nid = m.room_nid \
           JOIN room_servers s ON s.room_nid = r.room_nid AND s.snapshot = r.snapshot \
           WHERE m.user_id = v.user_id AND m.membership = 'join' AND s.server = own.name AND s.joined > 0)";
}
