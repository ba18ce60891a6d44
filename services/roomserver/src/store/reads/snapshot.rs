//! Reads rooms and users as readers of the output logs begin with them: each in one statement, so at one point.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int4, Int8, Nullable, SmallInt, Text},
};

use super::query::query;

/// A room at one point.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct RoomRow {
    pub(crate) room_nid: i64,
    pub(crate) members_root: i64,
    pub(crate) other_root: i64,
    /// Last committed `seq` of the partition: what the row reflects.
    pub(crate) head_seq: i64,
    pub(crate) room_id: String,
    pub(crate) version: String,
    pub(crate) joined_members: i32,
    pub(crate) invited_members: i32,
    pub(crate) published: bool,
    pub(crate) latest_event_ids: Vec<String>,
    pub(crate) depth: i64,
    pub(crate) partition: i16,
    pub(crate) last_seq: i64,
    /// Whether users of the server are joined.
    pub(crate) resident: bool,
}

query! {
    /// Finds a room.
    fn find_room<'a>(server: str as Text, room_id: str as Text) -> RoomRow as (
        Int8, Int8, Int8, Int8, Text, Text, Int4, Int4, Bool, Array<Text>, Int8, SmallInt, Int8, Bool
    ) = "SELECT r.room_nid, r.members_root, r.other_root, p.next_room_seq - 1, r.room_id, r.version, \
         r.joined_members, r.invited_members, r.published, \
         ARRAY(SELECT e.event_id FROM events e WHERE e.event_nid = ANY(r.latest_nids) ORDER BY e.event_nid), \
         r.depth, r.partition, r.last_seq, \
         EXISTS (SELECT 1 FROM room_servers s WHERE s.room_nid = r.room_nid AND s.snapshot = r.snapshot \
             AND s.server = ? AND s.joined > 0) \
         FROM rooms r JOIN partition_state p ON p.partition = r.partition \
         WHERE r.room_id = ? AND cardinality(r.latest_nids) > 0";
}

/// A receipt.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ReceiptRow {
    pub(crate) user_id: String,
    pub(crate) receipt_type: String,
    pub(crate) thread_id: String,
    pub(crate) event_id: String,
    pub(crate) event_seq: i64,
    pub(crate) ts: i64,
    pub(crate) seq: i64,
}

query! {
    /// Lists the receipts of a room in the order of their keys, those after a key, as many as asked.
    fn list_receipts<'a>(
        room_nid: i64 as Int8,
        after_user: str as Text,
        after_type: str as Text,
        after_thread: str as Text,
        limit: i64 as Int8,
    ) -> ReceiptRow as (Text, Text, Text, Text, Int8, Int8, Int8) =
        "SELECT user_id, receipt_type, thread_id, event_id, event_seq, ts, seq FROM receipts \
         WHERE room_nid = ? AND (user_id, receipt_type, thread_id) > (?, ?, ?) \
         ORDER BY user_id, receipt_type, thread_id LIMIT ?";
}

/// A piece of account data, with the point it was read at.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct AccountDataRow {
    /// Last committed `seq` of `OutputUserEvent` in the partition.
    pub(crate) head_seq: i64,
    pub(crate) room_id: Option<String>,
    pub(crate) data_type: Option<String>,
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) seq: Option<i64>,
}

query! {
    /// Lists the account data of a user; one row without data if there is none.
    fn list_account_data<'a>(user_id: str as Text, partition: i16 as SmallInt) -> AccountDataRow as (
        Int8, Nullable<Text>, Nullable<Text>, Nullable<Binary>, Nullable<Int8>
    ) = "SELECT p.next_user_seq - 1, d.room_id, d.type, d.content, d.seq \
         FROM partition_state p LEFT JOIN account_data d ON d.user_id = ? WHERE p.partition = ?";
}

/// The last committed `seq` of a partition's output log of users.
#[derive(Debug, Clone, Copy, Queryable)]
pub(crate) struct UserHeadRow {
    pub(crate) partition: i16,
    pub(crate) seq: i64,
}

query! {
    /// Tells the last committed `seq` of `OutputUserEvent` of partitions, in order.
    fn list_user_heads<'a>(partitions: [i16] as Array<SmallInt>) -> UserHeadRow as (SmallInt, Int8) =
        "SELECT partition, next_user_seq - 1 FROM partition_state WHERE partition = ANY(?) ORDER BY partition";
}
