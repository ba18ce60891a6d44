//! Deletes the rest of deleted rooms; an interrupted purge is resumed.
//!
//! Nobody reads these rows any more and nobody writes any, so each statement is a transaction of its own: what was cut off
//! is gone on with.

use std::time::Duration;

use diesel::{
    QueryableByName,
    sql_types::{Array, Int2, Int8, Text},
};
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

/// Rows deleted by one statement: whoever else wants to write does not wait for more.
pub(crate) const STEP: usize = 2_000;

/// Pause between two statements.
const PAUSE: Duration = Duration::from_millis(20);

/// Tables whose rows go by room, but for those that went with the room's own row. Events are looked for once with an
/// index, and once without: outliers are in none.
const TABLES: [&str; 12] = [
    "room_facts",
    "receipts",
    "event_relations",
    "threads",
    "redactions",
    "parked",
    "backward_refs",
    "snapshot_chunks",
    "decisions",
    "state_resets",
    "room_states",
    "state_node",
];

/// Deletes events that fulfil a condition, each with its JSON; tells how many.
fn delete_events(condition: &str) -> String {
    format!(
        "WITH gone AS (DELETE FROM events WHERE ctid = ANY(ARRAY( \
             SELECT ctid FROM events WHERE room_nid = $1{condition} LIMIT $2)) RETURNING event_nid), \
         json AS (DELETE FROM event_json j USING gone WHERE j.event_nid = gone.event_nid) \
         SELECT count(*) FROM gone"
    )
}

/// Deletes rows of a table; tells how many.
fn delete_rows(table: &str) -> String {
    format!(
        "WITH gone AS (DELETE FROM {table} WHERE ctid = ANY(ARRAY( \
             SELECT ctid FROM {table} WHERE room_nid = $1 LIMIT $2)) RETURNING 1) SELECT count(*) FROM gone"
    )
}

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

/// Deletes what is left of a room, a few rows at a time: `step` of them. The row of `purged_rooms` goes last. Gives up
/// between two steps when `stop` says so; what is left then is found again.
pub(crate) async fn finish(
    conn: &mut AsyncPgConnection,
    room_nid: i64,
    step: usize,
    stop: impl Fn() -> bool + Send,
) -> Result<Finished, StoreError> {
    let step = i64::try_from(step).unwrap_or(i64::MAX);
    let mut statements: Vec<String> = TABLES.into_iter().map(delete_rows).collect();
    statements.extend([
        delete_events(" AND seq IS NOT NULL"),
        delete_events(""),
        delete_rows("purged_rooms"),
    ]);
    for statement in &statements {
        loop {
            if stop() {
                return Ok(Finished::No);
            }
            let deleted: Deleted = diesel::sql_query(statement)
                .bind::<Int8, _>(room_nid)
                .bind::<Int8, _>(step)
                .get_result(conn)
                .await
                .map_err(StoreError::query("purge.finish"))?;
            if deleted.count < step {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(Finished::Yes)
}

/// Whether all of a room is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finished {
    /// All.
    Yes,
    /// There is more.
    No,
}

#[derive(QueryableByName)]
struct Deleted {
    #[diesel(sql_type = Int8)]
    count: i64,
}
