//! `reader_cursors`: positions of the readers for whom records of the output logs are kept.
//!
//! A reader that stays away for too long loses its claim: see [`super::output_retention`].

use diesel::{
    QueryableByName,
    sql_types::{Array, BigInt, Int2, Int8, Text},
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};

use super::{StoreError, output::OutputLog};

/// Most readers that may be registered: each may keep records for days.
const MAX_READERS: i64 = 64;

/// A cursor of a reader.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Cursor {
    /// Partition.
    #[diesel(sql_type = Int2)]
    pub(crate) partition: i16,
    /// The last record that the reader is done with.
    #[diesel(sql_type = Int8)]
    pub(crate) seq: i64,
}

/// What became of cursors that were to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moved {
    /// They stand where the reader said, but for these: records after them are gone. They tell up to where.
    Yes(Vec<Cursor>),
    /// Some lie beyond the end of the log.
    BeyondHead,
    /// There are too many readers.
    TooMany,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Keeps floors where they are until the cursors stand.
const LOCK: &str = "SELECT partition, seq FROM output_floors WHERE log = $1 AND partition = ANY($2) \
    ORDER BY partition FOR SHARE";

const BEYOND_ROOMS: &str = "SELECT count(*) AS count FROM unnest($1::smallint[], $2::bigint[]) AS v(partition, seq) \
    LEFT JOIN partition_state s ON s.partition = v.partition WHERE v.seq >= coalesce(s.next_room_seq, 0)";
const BEYOND_USERS: &str = "SELECT count(*) AS count FROM unnest($1::smallint[], $2::bigint[]) AS v(partition, seq) \
    LEFT JOIN partition_state s ON s.partition = v.partition WHERE v.seq >= coalesce(s.next_user_seq, 0)";

const OTHERS: &str = "SELECT count(DISTINCT reader) AS count FROM reader_cursors WHERE reader <> $1";

const UPSERT: &str = "INSERT INTO reader_cursors (reader, log, partition, seq, updated_ts) \
    SELECT $1, $2, v.partition, v.seq, (extract(epoch FROM now()) * 1000)::bigint \
    FROM unnest($3::smallint[], $4::bigint[]) AS v(partition, seq) \
    JOIN output_floors f ON f.log = $2 AND f.partition = v.partition AND v.seq >= f.seq \
    ON CONFLICT (log, partition, reader) DO UPDATE SET seq = excluded.seq, updated_ts = excluded.updated_ts";

/// Puts cursors of a reader where it says, and registers those that are new.
pub(crate) async fn set(
    conn: &mut AsyncPgConnection,
    reader: &str,
    log: OutputLog,
    cursors: &[Cursor],
) -> Result<Moved, StoreError> {
    let partitions: Vec<i16> = cursors.iter().map(|cursor| cursor.partition).collect();
    let seqs: Vec<i64> = cursors.iter().map(|cursor| cursor.seq).collect();
    let moved = conn.transaction(async |conn| {
        let floors: Vec<Cursor> = diesel::sql_query(LOCK)
            .bind::<Text, _>(log.topic())
            .bind::<Array<Int2>, _>(&partitions)
            .load(conn)
            .await?;
        let beyond = match log {
            OutputLog::Rooms => BEYOND_ROOMS,
            OutputLog::Users => BEYOND_USERS,
        };
        let beyond: Count = diesel::sql_query(beyond)
            .bind::<Array<Int2>, _>(&partitions)
            .bind::<Array<Int8>, _>(&seqs)
            .get_result(conn)
            .await?;
        if beyond.count > 0 {
            return Ok(Moved::BeyondHead);
        }
        let others: Count = diesel::sql_query(OTHERS).bind::<Text, _>(reader).get_result(conn).await?;
        if others.count >= MAX_READERS {
            return Ok(Moved::TooMany);
        }
        diesel::sql_query(UPSERT)
            .bind::<Text, _>(reader)
            .bind::<Text, _>(log.topic())
            .bind::<Array<Int2>, _>(&partitions)
            .bind::<Array<Int8>, _>(&seqs)
            .execute(conn)
            .await?;
        let is_below = |floor: &Cursor| {
            cursors.iter().any(|cursor| cursor.partition == floor.partition && cursor.seq < floor.seq)
        };
        Ok(Moved::Yes(floors.into_iter().filter(is_below).collect()))
    });
    moved.await.map_err(StoreError::query("reader_cursors.set"))
}

/// Lists the cursors of a reader in a log.
pub(crate) async fn list(
    conn: &mut AsyncPgConnection,
    reader: &str,
    log: OutputLog,
) -> Result<Vec<Cursor>, StoreError> {
    diesel::sql_query(
        "SELECT partition, seq FROM reader_cursors WHERE reader = $1 AND log = $2 ORDER BY partition",
    )
    .bind::<Text, _>(reader)
    .bind::<Text, _>(log.topic())
    .load(conn)
    .await
    .map_err(StoreError::query("reader_cursors.list"))
}

/// Ends the claims of a reader; returns how many there were.
pub(crate) async fn remove(conn: &mut AsyncPgConnection, reader: &str) -> Result<usize, StoreError> {
    diesel::sql_query("DELETE FROM reader_cursors WHERE reader = $1")
        .bind::<Text, _>(reader)
        .execute(conn)
        .await
        .map_err(StoreError::query("reader_cursors.remove"))
}
