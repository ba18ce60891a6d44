//! Memberships, now and over time.

use diesel::{
    Queryable,
    sql_types::{Array, Bool, Int8, Nullable, SmallInt, Text},
};

use super::query::query;

/// A change of a user's membership.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ChangeRow {
    pub(crate) room_nid: i64,
    pub(crate) seq: i64,
    pub(crate) membership: Option<String>,
    /// `origin_server_ts` of the member event.
    pub(crate) ts: i64,
}

// `lag` leaves out what only changed a display name or an avatar: some people do so all day.
macro_rules! history_statement {
    ($(#[$meta:meta])* $name:ident, $keys:ty as $sql_type:ty, $condition:literal) => {
        query! {
            $(#[$meta])*
            fn $name<'a>(user_id: str as Text, keys: $keys as $sql_type)
                -> ChangeRow as (Int8, Int8, Nullable<Text>, Int8) = concat!(
                "SELECT h.room_nid, h.seq, h.membership, h.origin_server_ts FROM ( \
                   SELECT m.room_nid, m.seq, m.membership, m.origin_server_ts, \
                     lag(m.membership) OVER (PARTITION BY m.room_nid ORDER BY m.seq) AS before \
                   FROM ( \
                     SELECT e.room_nid, e.seq, e.origin_server_ts, e.value AS membership \
                     FROM events e JOIN rooms r ON r.room_nid = e.room_nid \
                     WHERE e.type = 'm.room.member' AND e.state_key = ? AND e.seq IS NOT NULL AND e.flags & 7 = 0 \
                       AND ", $condition, " \
                   ) m \
                 ) h WHERE h.before IS DISTINCT FROM h.membership ORDER BY h.room_nid, h.seq"
            );
        }
    };
}

history_statement! {
    /// Lists the changes of a user's membership in a room, oldest first.
    list_changes, str as Text, "r.room_id = ?"
}

history_statement! {
    /// Lists the changes of a user's membership in rooms, by room, oldest first.
    list_changes_in, [i64] as Array<Int8>, "e.room_nid = ANY(?)"
}

query! {
    /// Lists those of the rooms that a user has forgotten.
    fn list_forgotten<'a>(user_id: str as Text, room_nids: [i64] as Array<Int8>) -> (i64,) as (Int8) =
        "SELECT room_nid FROM current_members WHERE user_id = ? AND room_nid = ANY(?) AND forgotten";
}

/// The membership of a user in a room.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct UserRoomRow {
    pub(crate) room_id: String,
    pub(crate) membership: String,
    pub(crate) event_id: String,
    pub(crate) seq: i64,
    pub(crate) forgotten: bool,
    pub(crate) sender: String,
    pub(crate) partition: i16,
    pub(crate) since_seq: i64,
    pub(crate) first_seq: i64,
    pub(crate) member_ts: i64,
}

query! {
    /// Lists the rooms of a user by room ID; an empty list of memberships stands for all.
    ///
    /// Whom only a snapshot tells has had to do with the room since it was joined here: since its first event.
    fn list_rooms<'a>(
        memberships: [String] as Array<Text>,
        include_forgotten: bool as Bool,
        user_id: str as Text,
    ) -> UserRoomRow as (Text, Text, Text, Int8, Bool, Text, SmallInt, Int8, Int8, Int8) =
        "WITH chosen AS (SELECT ?::text[] AS memberships) \
         SELECT r.room_id, m.membership, e.event_id, m.seq, m.forgotten, e.sender, r.partition, m.since_seq, \
           CASE WHEN m.first_seq > 0 THEN m.first_seq ELSE COALESCE( \
             (SELECT min(s.seq) FROM events s WHERE s.room_nid = m.room_nid AND s.seq IS NOT NULL), 0) END, \
           e.received_ts \
         FROM chosen c, current_members m \
         JOIN rooms r ON r.room_nid = m.room_nid \
         JOIN events e ON e.event_nid = m.event_nid \
         WHERE (NOT m.forgotten OR ?) AND m.user_id = ? AND cardinality(r.latest_nids) > 0 \
           AND (cardinality(c.memberships) = 0 OR m.membership = ANY(c.memberships)) \
         ORDER BY r.room_id";
}

/// A member of a room; without a member, the room alone.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct MemberRow {
    pub(crate) user_id: Option<String>,
    pub(crate) membership: Option<String>,
    pub(crate) event_id: Option<String>,
    pub(crate) forgotten: Option<bool>,
    /// Whether users of the server are joined to the room.
    pub(crate) resident: bool,
}

query! {
    /// Lists those of the users who have or had a membership in a room; one empty row if the room is known but none did.
    fn list<'a>(server: str as Text, user_ids: [String] as Array<Text>, room_id: str as Text)
        -> MemberRow as (Nullable<Text>, Nullable<Text>, Nullable<Text>, Nullable<Bool>, Bool) =
        "SELECT m.user_id, m.membership, e.event_id, m.forgotten, \
         EXISTS (SELECT 1 FROM room_servers s WHERE s.room_nid = r.room_nid AND s.snapshot = r.snapshot \
             AND s.server = ? AND s.joined > 0) \
         FROM rooms r \
         LEFT JOIN current_members m ON m.room_nid = r.room_nid AND m.user_id = ANY(?) \
         LEFT JOIN events e ON e.event_nid = m.event_nid \
         WHERE r.room_id = ? AND cardinality(r.latest_nids) > 0 ORDER BY m.user_id";
}

/// A guest of this server in a room.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct GuestRow {
    pub(crate) room_nid: i64,
    pub(crate) room_id: String,
    pub(crate) user_id: String,
}

query! {
    /// Lists guests who are joined to rooms of some partitions, by room and user, after one of them.
    fn list_guests<'a>(
        partitions: [i16] as Array<SmallInt>,
        after_room: i64 as Int8,
        after_user: str as Text,
        limit: i64 as Int8,
    ) -> GuestRow as (Int8, Text, Text) =
        "SELECT r.room_nid, r.room_id, m.user_id FROM accounts a \
         JOIN current_members m ON m.user_id = a.user_id AND m.membership = 'join' \
         JOIN rooms r ON r.room_nid = m.room_nid \
         WHERE a.guest AND r.partition = ANY(?) AND (m.room_nid, m.user_id) > (?, ?) \
         ORDER BY m.room_nid, m.user_id LIMIT ?";
}

query! {
    /// Lists guests who are joined to some rooms.
    fn list_guests_of<'a>(room_nids: [i64] as Array<Int8>) -> GuestRow as (Int8, Text, Text) =
        "SELECT r.room_nid, r.room_id, m.user_id FROM accounts a \
         JOIN current_members m ON m.user_id = a.user_id AND m.membership = 'join' \
         JOIN rooms r ON r.room_nid = m.room_nid \
         WHERE a.guest AND m.room_nid = ANY(?)";
}
