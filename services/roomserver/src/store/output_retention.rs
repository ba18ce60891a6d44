//! Deletes records of the output logs that nobody needs any more.
//!
//! A record may go when it is published, every registered reader has passed it, and it is older than the window in which
//! followers fill holes. A published record older than the patience with readers goes in any case: readers that have not
//! passed it lose their claim. Records go in order, so that what is left is contiguous from `output_floors` on.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Int2, Int8, Text},
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};

use super::{StoreError, output::OutputLog};

/// How long records stay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    /// After they were written, for followers with a hole, in milliseconds.
    pub(crate) window_ms: i64,
    /// After they were written, for registered readers that lag, in milliseconds.
    pub(crate) patience_ms: i64,
}

/// What one step of trimming came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trimmed {
    /// How many records were deleted.
    pub(crate) deleted: i64,
    /// Readers that have lost their claim.
    pub(crate) lost: Vec<String>,
}

#[derive(QueryableByName)]
struct Deleted {
    #[diesel(sql_type = BigInt)]
    deleted: i64,
}

#[derive(QueryableByName)]
struct Lost {
    #[diesel(sql_type = Text)]
    reader: String,
}

/// Keeps readers from registering below the floor while it moves.
const LOCK: &str = "SELECT seq FROM output_floors WHERE log = $1 AND partition = $2 FOR UPDATE";

/// Readers whose cursor lies below the floor.
const DROP_CURSORS: &str = "DELETE FROM reader_cursors c USING output_floors f \
    WHERE c.log = $1 AND c.partition = $2 AND f.log = c.log AND f.partition = c.partition AND c.seq < f.seq \
    RETURNING c.reader";

/// Looks at the oldest records and deletes those before the first that has to stay.
fn delete(log: OutputLog) -> String {
    let table = log.table();
    let published = match log {
        OutputLog::Rooms => "room_published_seq",
        OutputLog::Users => "user_published_seq",
    };
    format!(
        "WITH clock AS (SELECT (extract(epoch FROM now()) * 1000)::bigint AS ms), \
         reach AS (SELECT {published} AS published, LEAST({published}, \
             (SELECT min(seq) FROM reader_cursors WHERE log = $1 AND partition = $2)) AS passed \
             FROM partition_state WHERE partition = $2), \
         oldest AS (SELECT seq, written_ts FROM {table} WHERE partition = $2 AND seq > \
             (SELECT seq FROM output_floors WHERE log = $1 AND partition = $2) ORDER BY seq LIMIT $5), \
         kept AS (SELECT min(o.seq) AS seq FROM oldest o, reach r, clock c WHERE o.seq > r.published \
             OR o.written_ts >= c.ms - $4 AND (o.seq > r.passed OR o.written_ts >= c.ms - $3)), \
         gone AS (DELETE FROM {table} t USING oldest o, kept k \
             WHERE t.partition = $2 AND t.seq = o.seq AND (k.seq IS NULL OR o.seq < k.seq) RETURNING t.seq), \
         moved AS (UPDATE output_floors SET seq = GREATEST(seq, (SELECT max(seq) FROM gone)) \
             WHERE log = $1 AND partition = $2 AND EXISTS (SELECT FROM gone)) \
         SELECT count(*) AS deleted FROM gone"
    )
}

/// Deletes records of a partition that nobody needs any more, at most `step`.
pub(crate) async fn trim(
    conn: &mut AsyncPgConnection,
    log: OutputLog,
    partition: i16,
    retention: Retention,
    step: i64,
) -> Result<Trimmed, StoreError> {
    let trimmed = conn.transaction(async |conn| {
        diesel::sql_query(LOCK).bind::<Text, _>(log.topic()).bind::<Int2, _>(partition).execute(conn).await?;
        let Deleted { deleted } = diesel::sql_query(delete(log))
            .bind::<Text, _>(log.topic())
            .bind::<Int2, _>(partition)
            .bind::<Int8, _>(retention.window_ms)
            .bind::<Int8, _>(retention.patience_ms)
            .bind::<Int8, _>(step)
            .get_result(conn)
            .await?;
        if deleted == 0 {
            return Ok(Trimmed { deleted, lost: Vec::new() });
        }
        let lost: Vec<Lost> = diesel::sql_query(DROP_CURSORS)
            .bind::<Text, _>(log.topic())
            .bind::<Int2, _>(partition)
            .load(conn)
            .await?;
        Ok(Trimmed { deleted, lost: lost.into_iter().map(|lost| lost.reader).collect() })
    });
    trimmed.await.map_err(StoreError::query("output_retention.trim"))
}
