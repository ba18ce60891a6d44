//! Deletes what is left of rooms that were deleted.
//!
//! Nobody reads these rows any more and nobody writes any, so each table is a statement and a transaction of its own: what
//! was cut off is done again.

use diesel::sql_types::{Array, Int2, Int8, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::{StoreError, statement::query};

query! {
    /// Which of some rooms are still being deleted.
    FindPurging {
        room_id: Array<Text> => Vec<&'a str>,
    } -> (Text,),
    "SELECT room_id FROM purged_rooms WHERE room_id = ANY(", ")"
}

query! {
    /// Rooms of partitions that are being deleted.
    ListPurged {
        partition: Array<Int2> => Vec<i16>,
    } -> (Int8,),
    "SELECT room_nid FROM purged_rooms WHERE partition = ANY(", ") ORDER BY purged_ts"
}

/// Everything that goes by room. The row of `purged_rooms` goes last.
const DELETES: [&str; 16] = [
    "DELETE FROM current_facts WHERE room_nid = $1",
    "DELETE FROM current_members WHERE room_nid = $1",
    "DELETE FROM receipts WHERE room_nid = $1",
    "DELETE FROM event_relations WHERE room_nid = $1",
    "DELETE FROM threads WHERE room_nid = $1",
    "DELETE FROM redactions WHERE room_nid = $1",
    "DELETE FROM parked WHERE room_nid = $1",
    "DELETE FROM backward_refs WHERE room_nid = $1",
    "DELETE FROM snapshot_chunks WHERE room_nid = $1",
    "DELETE FROM decisions WHERE room_nid = $1",
    "DELETE FROM state_resets WHERE room_nid = $1",
    "DELETE FROM room_states WHERE room_nid = $1",
    "DELETE FROM state_node WHERE room_nid = $1",
    "DELETE FROM event_json j USING events e WHERE j.event_nid = e.event_nid AND e.room_nid = $1",
    "DELETE FROM events WHERE room_nid = $1",
    "DELETE FROM purged_rooms WHERE room_nid = $1",
];

/// Which of some rooms are still being deleted.
pub(crate) async fn find(mut conn: &AsyncPgConnection, ids: &[&str]) -> Result<Vec<String>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let statement = FindPurging { room_id: ids.to_vec(), lifetime: std::marker::PhantomData };
    let rows: Vec<(String,)> =
        statement.load(&mut conn).await.map_err(StoreError::query(FindPurging::NAME))?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Rooms of partitions that are being deleted, the oldest first.
pub(crate) async fn list(mut conn: &AsyncPgConnection, partitions: &[i16]) -> Result<Vec<i64>, StoreError> {
    let statement = ListPurged { partition: partitions.to_vec(), lifetime: std::marker::PhantomData };
    let rows: Vec<(i64,)> = statement.load(&mut conn).await.map_err(StoreError::query(ListPurged::NAME))?;
    Ok(rows.into_iter().map(|(nid,)| nid).collect())
}

/// Deletes what is left of a room.
pub(crate) async fn finish(conn: &mut AsyncPgConnection, room_nid: i64) -> Result<(), StoreError> {
    for delete in DELETES {
        diesel::sql_query(delete)
            .bind::<Int8, _>(room_nid)
            .execute(conn)
            .await
            .map_err(StoreError::query("purge.finish"))?;
    }
    Ok(())
}
