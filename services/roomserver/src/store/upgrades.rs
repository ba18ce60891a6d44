//! Reads upgrades whose new room is still to be made.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int4, Int8, SmallInt, Text},
};

use super::reads::query::query;

/// A room that is to be made.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct Upgrade {
    pub(crate) new_room_id: String,
    pub(crate) record: Vec<u8>,
}

query! {
    /// Lists rooms that are to replace rooms of some partitions.
    fn list<'a>(partitions: [i16] as Array<SmallInt>, limit: i32 as Int4) -> Upgrade as (Text, Binary) =
        "SELECT new_room_id, record FROM room_upgrades WHERE partition = ANY(?) ORDER BY created_ts LIMIT ?";
}

query! {
    /// Forgets about rooms that were made, or were not made since a time; tells which of the two.
    fn finish<'a>(give_up_before: i64 as Int8, partitions: [i16] as Array<SmallInt>)
        -> (String, bool) as (Text, Bool) =
        "DELETE FROM room_upgrades u USING ( \
           SELECT o.new_room_id, r.room_id IS NOT NULL AS made FROM room_upgrades o \
           LEFT JOIN rooms r ON r.room_id = o.new_room_id \
           WHERE (r.room_id IS NOT NULL OR o.created_ts < ?) AND o.partition = ANY(?)) AS f \
         WHERE u.new_room_id = f.new_room_id RETURNING u.new_room_id, f.made";
}
