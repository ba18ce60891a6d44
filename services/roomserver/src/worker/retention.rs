//! Deletes expired records of the output logs, verdicts, dead letters and alarms, a few rows at a time.

use std::time::Duration;

use diesel::sql_types::{Array, Int2, Int8};
use diesel_async::RunQueryDsl as _;
use plexus_service::Shutdown;
use tracing::{info, warn};

use super::engine::now_ms;
use crate::{
    app::App,
    metrics as names,
    store::{
        StoreError,
        output::OutputLog,
        output_retention::{self, Retention, Trimmed},
        pool,
    },
};

/// Rows deleted in one step.
const STEP: usize = 2_000;
/// Pause between two steps of the same kind.
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// Most dead letters that stay, and most alarms about states.
const MAX_LETTERS: i64 = 10_000;

/// Deletes verdicts that are too old.
const DELETE_VERDICTS: &str = "DELETE FROM verdicts WHERE ctid = ANY(ARRAY( \
    SELECT ctid FROM verdicts WHERE created_ts < $1 AND partition = ANY($2) LIMIT 2000))";

/// Deletes dead letters that are too old or too many, whosever they are.
const DELETE_DEAD_LETTERS: &str = "DELETE FROM dead_letters WHERE id = ANY(ARRAY( \
    SELECT id FROM dead_letters WHERE created_ts < $1 OR id <= \
    (SELECT max(id) FROM (SELECT id FROM dead_letters ORDER BY id DESC OFFSET $2) AS beyond) \
    ORDER BY id LIMIT 2000))";

/// Deletes alarms that are too old or too many, whosever they are.
const DELETE_STATE_RESETS: &str = "DELETE FROM state_resets WHERE id = ANY(ARRAY( \
    SELECT id FROM state_resets WHERE detected_ts < $1 OR id <= \
    (SELECT max(id) FROM (SELECT id FROM state_resets ORDER BY id DESC OFFSET $2) AS beyond) \
    ORDER BY id LIMIT 2000))";

/// Deletes all that may go by now.
pub(super) async fn round(app: &App, shutdown: &Shutdown) -> Result<(), StoreError> {
    let partitions = app.verdicts.owned();
    if partitions.is_empty() {
        return Ok(());
    }
    for log in OutputLog::ALL {
        for partition in &partitions {
            while !shutdown.is_requested() && trim(app, log, *partition).await? >= STEP {
                tokio::time::sleep(STEP_PAUSE).await;
            }
        }
    }
    let keep = &app.config.retention;
    while !shutdown.is_requested() && expire_verdicts(app, &partitions, keep.verdicts_s).await? >= STEP {
        tokio::time::sleep(STEP_PAUSE).await;
    }
    for (name, sql) in
        [("dead_letters.expire", DELETE_DEAD_LETTERS), ("state_resets.expire", DELETE_STATE_RESETS)]
    {
        while !shutdown.is_requested() && expire_letters(app, name, sql, keep.dead_letters_s).await? >= STEP {
            tokio::time::sleep(STEP_PAUSE).await;
        }
    }
    Ok(())
}

/// Trims an output log of a partition by a step; returns how many records went.
async fn trim(app: &App, log: OutputLog, partition: i16) -> Result<usize, StoreError> {
    let keep = &app.config.retention;
    let retention =
        Retention { window_ms: millis(keep.output_log_s), patience_ms: millis(keep.lagging_reader_s) };
    let mut conn = pool::get(&app.pool).await?;
    let step = i64::try_from(STEP).unwrap_or(i64::MAX);
    let Trimmed { deleted, lost } =
        output_retention::trim(&mut conn, log, partition, retention, step).await?;
    for reader in lost {
        warn!(reader, topic = log.topic(), partition, "a reader lagged for too long and lost its claim");
    }
    let deleted = u64::try_from(deleted).unwrap_or(0);
    metrics::counter!(names::TRIMMED, "topic" => log.topic()).increment(deleted);
    Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
}

/// Deletes some verdicts of our partitions that are too old; returns how many.
async fn expire_verdicts(app: &App, partitions: &[i16], keep_s: u64) -> Result<usize, StoreError> {
    let mut conn = pool::get(&app.pool).await?;
    diesel::sql_query(DELETE_VERDICTS)
        .bind::<Int8, _>(now_ms().saturating_sub(millis(keep_s)))
        .bind::<Array<Int2>, _>(partitions)
        .execute(&mut conn)
        .await
        .map_err(StoreError::query("verdicts.expire"))
}

/// Deletes some dead letters or alarms; returns how many.
async fn expire_letters(app: &App, name: &'static str, sql: &str, keep_s: u64) -> Result<usize, StoreError> {
    let mut conn = pool::get(&app.pool).await?;
    let deleted = diesel::sql_query(sql)
        .bind::<Int8, _>(now_ms().saturating_sub(millis(keep_s)))
        .bind::<Int8, _>(MAX_LETTERS)
        .execute(&mut conn)
        .await
        .map_err(StoreError::query(name))?;
    if deleted > 0 {
        info!(name, deleted, "deleted what was kept for operators long enough");
    }
    Ok(deleted)
}

fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
}
