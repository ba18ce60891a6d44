//! Reads keys of users and devices, and the users whose keys a viewer tracks.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int4, Int8, Nullable, Text},
};

use super::query::query;

/// Identity keys of a device.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct DeviceKeysRow {
    pub(crate) user_id: String,
    pub(crate) device_id: String,
    pub(crate) keys: Vec<u8>,
    pub(crate) display_name: Option<String>,
}

query! {
    /// Lists identity keys: of all devices of users, and of some devices of others.
    fn list_device_keys<'a>(
        user_ids: [String] as Array<Text>,
        device_users: [String] as Array<Text>,
        device_ids: [String] as Array<Text>,
    ) -> DeviceKeysRow as (Text, Text, Binary, Nullable<Text>) =
        "SELECT k.user_id, k.device_id, k.keys, d.display_name FROM ( \
           SELECT k.* FROM unnest(?::text[]) AS u(user_id) JOIN device_keys k ON k.user_id = u.user_id \
           UNION ALL \
           SELECT k.* FROM (SELECT DISTINCT * FROM unnest(?::text[], ?::text[]) AS v(user_id, device_id)) AS v \
           JOIN device_keys k ON k.user_id = v.user_id AND k.device_id = v.device_id) AS k \
         JOIN devices d ON d.user_id = k.user_id AND d.device_id = k.device_id";
}

query! {
    /// Lists cross-signing keys: user, usage, key.
    fn list_cross_signing_keys<'a>(user_ids: [String] as Array<Text>)
        -> (String, String, Vec<u8>) as (Text, Text, Binary) =
        "SELECT user_id, usage, key FROM cross_signing_keys WHERE user_id = ANY(?)";
}

/// A signature that was uploaded apart from its key.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct SignatureRow {
    pub(crate) target_user_id: String,
    pub(crate) target_key: String,
    pub(crate) signer_user_id: String,
    pub(crate) signer_key_id: String,
    pub(crate) signature: String,
}

query! {
    /// Lists signatures on keys of users: by themselves and by a viewer.
    fn list_signatures<'a>(viewer: str as Text, user_ids: [String] as Array<Text>)
        -> SignatureRow as (Text, Text, Text, Text, Text) =
        "WITH q AS (SELECT ?::text AS viewer) \
         SELECT s.target_user_id, s.target_key, s.signer_user_id, s.signer_key_id, s.signature \
         FROM q CROSS JOIN key_signatures s WHERE s.target_user_id = ANY(?) \
         AND s.signer_user_id IN (s.target_user_id, q.viewer)";
}

query! {
    /// Counts the one-time keys of devices of a user, or of one: device, algorithm, count.
    fn count_one_time_keys<'a>(user_id: str as Text, device_id: str as Text)
        -> (String, String, i64) as (Text, Text, Int8) =
        "WITH q AS (SELECT ?::text AS user_id, ?::text AS device_id) \
         SELECT k.device_id, k.algorithm, count(*) FROM q JOIN one_time_keys k ON k.user_id = q.user_id \
         JOIN db_generation g ON g.generation = k.generation \
         WHERE q.device_id = '' OR k.device_id = q.device_id GROUP BY 1, 2";
}

query! {
    /// Lists the fallback keys of devices of a user, or of one, that were not handed out: device, algorithm.
    fn list_unused_fallback_keys<'a>(user_id: str as Text, device_id: str as Text)
        -> (String, String) as (Text, Text) =
        "WITH q AS (SELECT ?::text AS user_id, ?::text AS device_id) \
         SELECT k.device_id, k.algorithm FROM q JOIN fallback_keys k ON k.user_id = q.user_id \
         JOIN db_generation g ON g.generation = k.generation \
         WHERE (q.device_id = '' OR k.device_id = q.device_id) AND NOT k.used ORDER BY 1, 2";
}

query! {
    /// Compares whose keys a viewer has to know now with whose they had to know at a position: users, and whether they are
    /// to be asked for anew (else the viewer shares no room with them any more).
    ///
    /// `own` are the rooms that count: where the viewer is, and where they were. A membership at the position is the first
    /// in the chain of member events that the position includes.
    fn list_device_list_changes<'a>(
        viewer: str as Text,
        from_rooms: [i64] as Array<Int8>,
        from_users: [i64] as Array<Int8>,
        to_users: [i64] as Array<Int8>,
        from_own: i64 as Int8,
        plain_members: i32 as Int4,
    ) -> (String, bool) as (Text, Bool) =
        "WITH RECURSIVE q AS ( \
           SELECT ?::text AS viewer, ?::bigint[] AS from_rooms, ?::bigint[] AS from_users, ?::bigint[] AS to_users, \
           ?::bigint AS from_own, ?::int AS plain_members), \
         own AS MATERIALIZED ( \
           SELECT r.room_nid, r.snapshot, m.event_nid, m.membership = 'join' AS is_in, q.from_rooms[r.partition + 1] AS from_seq, \
             m.since_seq > q.from_rooms[r.partition + 1] AS moved, e.event_nid IS NOT NULL AS encrypted, \
             e.event_nid IS NOT NULL OR r.joined_members <= q.plain_members AS counted, \
             coalesce(e.seq, 0) > q.from_rooms[r.partition + 1] AND r.joined_members > q.plain_members AS revealed \
           FROM q JOIN current_members m ON m.user_id = q.viewer JOIN rooms r ON r.room_nid = m.room_nid \
           LEFT JOIN current_facts f ON f.room_nid = r.room_nid AND f.type = 'm.room.encryption' AND f.state_key = '' \
           LEFT JOIN events e ON e.event_nid = f.event_nid \
           WHERE m.membership = 'join' OR m.since_seq > q.from_rooms[r.partition + 1]), \
         movers AS MATERIALIZED ( \
           SELECT o.room_nid, m.user_id, m.event_nid, m.membership = 'join' AS is_in, o.from_seq \
           FROM own o JOIN room_members m ON m.room_nid = o.room_nid AND m.snapshot = o.snapshot \
             AND m.since_seq > o.from_seq), \
         chain AS ( \
           SELECT v.room_nid, v.user_id, v.from_seq, e.seq, e.value, e.replaces_nid, 1 AS step \
           FROM movers v JOIN events e ON e.event_nid = v.event_nid WHERE v.from_seq > 0 \
           UNION ALL \
           SELECT c.room_nid, c.user_id, c.from_seq, e.seq, e.value, e.replaces_nid, c.step + 1 \
           FROM chain c JOIN events e ON e.event_nid = c.replaces_nid \
           WHERE coalesce(c.seq, 0) > c.from_seq AND c.step < 100), \
         was_in AS ( \
           SELECT room_nid, user_id FROM chain WHERE coalesce(seq, 0) <= from_seq AND value = 'join' \
           UNION ALL \
           SELECT o.room_nid, q.viewer FROM own o, q WHERE o.is_in AND NOT o.moved), \
         left_rooms AS ( \
           SELECT o.room_nid, o.from_seq, o.is_in FROM own o JOIN q ON true \
           JOIN was_in w ON w.room_nid = o.room_nid AND w.user_id = q.viewer), \
         parted AS ( \
           SELECT w.user_id FROM left_rooms l JOIN was_in w ON w.room_nid = l.room_nid \
           UNION \
           SELECT m.user_id FROM left_rooms l JOIN current_members m ON m.room_nid = l.room_nid \
           WHERE NOT l.is_in AND m.membership = 'join' AND m.since_seq <= l.from_seq), \
         met AS ( \
           SELECT v.user_id FROM movers v JOIN own o ON o.room_nid = v.room_nid \
           WHERE v.is_in AND o.is_in AND o.counted \
           UNION \
           SELECT m.user_id FROM own o JOIN room_members m ON m.room_nid = o.room_nid AND m.snapshot = o.snapshot \
           WHERE o.is_in AND o.counted AND o.moved AND m.membership = 'join'), \
         candidates AS ( \
           SELECT k.user_id, true AS told \
           FROM q CROSS JOIN unnest(q.from_users) WITH ORDINALITY AS p(after_seq, number) \
           JOIN key_changes k ON k.partition = p.number - 1 AND k.seq > p.after_seq \
             AND (cardinality(q.to_users) = 0 OR k.seq <= q.to_users[p.number]) \
           UNION ALL \
           SELECT m.user_id, true FROM own o JOIN room_members m ON m.room_nid = o.room_nid AND m.snapshot = o.snapshot \
           WHERE o.is_in AND o.revealed AND m.membership = 'join' \
           UNION ALL \
           SELECT user_id, false FROM met \
           UNION ALL \
           SELECT user_id, NULL FROM parted), \
         judged AS MATERIALIZED ( \
           SELECT c.user_id, bool_or(c.told) AS told, bool_or(NOT c.told) AS met, bool_or(c.told IS NULL) AS parted \
           FROM candidates c GROUP BY c.user_id), \
         shared AS MATERIALIZED ( \
           SELECT m.user_id, bool_or(o.counted) AS counted, \
             bool_or(o.encrypted AND NOT o.moved AND m.since_seq <= o.from_seq) AS knew \
           FROM judged j JOIN room_members m ON m.user_id = j.user_id AND m.membership = 'join' \
           JOIN own o ON o.room_nid = m.room_nid AND o.snapshot = m.snapshot AND o.is_in GROUP BY m.user_id) \
         SELECT j.user_id, coalesce(s.counted, false) OR j.user_id = q.viewer \
         FROM q CROSS JOIN judged j LEFT JOIN shared s ON s.user_id = j.user_id \
         WHERE ((s.counted OR j.user_id = q.viewer) AND (j.told OR (j.met AND NOT coalesce(s.knew, false)))) \
           OR (j.parted AND s.counted IS NOT TRUE AND j.user_id <> q.viewer) \
         UNION \
         SELECT s.target_user_id, true FROM q JOIN key_signatures s ON s.signer_user_id = q.viewer \
         WHERE s.seq > q.from_own AND s.target_user_id <> q.viewer";
}
