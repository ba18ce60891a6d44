//! Reads the positions of the partitions.

use diesel::{
    Queryable,
    sql_types::{Array, Int8, SmallInt, Text},
};

use super::query::query;

/// The last committed `seq` of a partition's output log of rooms.
#[derive(Debug, Clone, Copy, Queryable)]
pub(crate) struct HeadRow {
    pub(crate) partition: i16,
    pub(crate) seq: i64,
}

query! {
    /// Tells the last committed `seq` of partitions, in order.
    fn list<'a>(partitions: [i16] as Array<SmallInt>) -> HeadRow as (SmallInt, Int8) =
        "SELECT partition, next_room_seq - 1 FROM partition_state WHERE partition = ANY(?) ORDER BY partition";
}

query! {
    /// Tells up to which `seq` the records of an output log were deleted.
    fn find_floor<'a>(topic: str as Text, partition: i16 as SmallInt) -> (i64,) as (Int8) =
        "SELECT seq FROM output_floors WHERE log = ? AND partition = ?";
}
