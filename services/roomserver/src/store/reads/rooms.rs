//! Reads rooms.

use diesel::{
    Queryable,
    sql_types::{Array, BigInt, Bool, Int4, Int8, Nullable, SmallInt, Text},
};

use super::query::query;

/// A room at one point in time.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct RoomRow {
    pub(crate) room_nid: i64,
    pub(crate) partition: i16,
    pub(crate) members_root: i64,
    pub(crate) other_root: i64,
    pub(crate) last_seq: i64,
    /// Last committed `seq` of the partition: what the row reflects.
    pub(crate) head_seq: i64,
    /// Current membership of the user asked for.
    pub(crate) membership: Option<String>,
    /// Whether that user has forgotten the room.
    pub(crate) forgotten: Option<bool>,
    /// Whether the order of the timeline does not tell the state at each event.
    pub(crate) forked: bool,
    /// Position of the oldest event before the timeline: negative, or 0.
    pub(crate) oldest_position: i64,
}

query! {
    /// Finds a room, with the current membership of a user. An empty user has none.
    fn find<'a>(user_id: str as Text, room_id: str as Text) -> RoomRow as (
        Int8, SmallInt, Int8, Int8, Int8, Int8, Nullable<Text>, Nullable<Bool>, Bool, Int8
    ) = "SELECT r.room_nid, r.partition, r.members_root, r.other_root, r.last_seq, p.next_room_seq - 1, \
         m.membership, m.forgotten, r.forked, r.oldest_position \
         FROM rooms r \
         JOIN partition_state p ON p.partition = r.partition \
         LEFT JOIN current_members m ON m.room_nid = r.room_nid AND m.user_id = ? \
         WHERE r.room_id = ? AND cardinality(r.latest_nids) > 0";
}

/// A room as described to services.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct InfoRow {
    pub(crate) room_id: String,
    pub(crate) version: String,
    pub(crate) joined_members: i32,
    pub(crate) invited_members: i32,
    pub(crate) published: bool,
    pub(crate) latest_event_ids: Vec<String>,
    pub(crate) depth: i64,
    pub(crate) partition: i16,
    pub(crate) last_seq: i64,
    pub(crate) last_event_ts: i64,
    pub(crate) bump_ts: i64,
    pub(crate) encrypted: bool,
    pub(crate) room_type: String,
    /// Whether users of the server are joined.
    pub(crate) resident: bool,
}

query! {
    /// Describes rooms.
    fn list_infos<'a>(server: str as Text, room_ids: [String] as Array<Text>) -> InfoRow as (
        Text, Text, Int4, Int4, Bool, Array<Text>, Int8, SmallInt, Int8, Int8, Int8, Bool, Text, Bool
    ) = "SELECT r.room_id, r.version, r.joined_members, r.invited_members, r.published, \
         ARRAY(SELECT e.event_id FROM events e WHERE e.event_nid = ANY(r.latest_nids) ORDER BY e.event_nid), \
         r.depth, r.partition, r.last_seq, \
         COALESCE((SELECT e.received_ts FROM events e WHERE e.room_nid = r.room_nid AND e.seq IS NOT NULL \
           ORDER BY e.seq DESC LIMIT 1), 0), \
         COALESCE((SELECT l.received_ts FROM (SELECT e.type, e.received_ts FROM events e \
           WHERE e.room_nid = r.room_nid AND e.seq IS NOT NULL ORDER BY e.seq DESC LIMIT 200) l \
           WHERE l.type = ANY(ARRAY['m.room.create', 'm.room.message', 'm.room.encrypted', 'm.sticker', \
             'm.call.invite', 'm.poll.start', 'org.matrix.msc3381.poll.start', 'm.beacon_info', \
             'org.matrix.msc3672.beacon_info']) LIMIT 1), 0), \
         COALESCE((SELECT true FROM current_facts f WHERE f.room_nid = r.room_nid AND f.type = 'm.room.encryption' \
           AND f.state_key = ''), false), \
         COALESCE((SELECT f.value FROM current_facts f WHERE f.room_nid = r.room_nid AND f.type = 'm.room.create' \
           AND f.state_key = ''), ''), \
         EXISTS (SELECT 1 FROM room_servers s WHERE s.room_nid = r.room_nid AND s.snapshot = r.snapshot \
             AND s.server = ? AND s.joined > 0) \
         FROM rooms r WHERE r.room_id = ANY(?) AND cardinality(r.latest_nids) > 0 ORDER BY r.room_id";
}

/// The current state of a room, with its members already chosen.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ChosenMembersRow {
    pub(crate) other_root: i64,
    pub(crate) head_seq: i64,
    /// Member events, in numeric order.
    pub(crate) member_nids: Vec<i64>,
}

query! {
    /// Reads the root of a room's current state together with its current member events of some memberships.
    ///
    /// An empty list of memberships stands for all.
    fn choose_members<'a>(
        memberships: [String] as Array<Text>,
        not_memberships: [String] as Array<Text>,
        room_nid: i64 as BigInt,
    ) -> ChosenMembersRow as (Int8, Int8, Array<Int8>) =
        "WITH chosen AS (SELECT ?::text[] AS memberships, ?::text[] AS not_memberships) \
         SELECT r.other_root, p.next_room_seq - 1, \
         ARRAY(SELECT m.event_nid FROM current_members m, chosen c WHERE m.room_nid = r.room_nid \
               AND (cardinality(c.memberships) = 0 OR m.membership = ANY(c.memberships)) \
               AND m.membership <> ALL(c.not_memberships) ORDER BY m.event_nid) \
         FROM rooms r JOIN partition_state p ON p.partition = r.partition WHERE r.room_nid = ?";
}

query! {
    /// Lists some rooms of partitions that hold events parked before a time.
    fn list_with_old_parked<'a>(before: i64 as Int8, partitions: [i16] as Array<SmallInt>) -> (String,) as (Text) =
        "SELECT DISTINCT r.room_id FROM parked p JOIN rooms r ON r.room_nid = p.room_nid \
         WHERE p.produced_ts < ? AND p.partition = ANY(?) LIMIT 100";
}
