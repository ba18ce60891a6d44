//! Slow chores: verdicts that nobody will ask for any more are deleted, a few at a time.

use std::time::Duration;

use diesel::sql_types::{Array, Int2, Int8};
use diesel_async::RunQueryDsl as _;
use plexus_log::PARTITIONS;
use plexus_service::Shutdown;
use tracing::debug;

use super::{
    engine::{chain, now_ms},
    work::small,
};
use crate::{
    app::App,
    store::{StoreError, pool},
};

/// How long verdicts are kept.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause between two rounds.
const PAUSE: Duration = Duration::from_secs(60);
/// Pause between two steps of a round.
const STEP_PAUSE: Duration = Duration::from_millis(200);
/// Rows deleted in one step.
const STEP: usize = 2_000;

/// Deletes verdicts that are too old.
const DELETE: &str = "DELETE FROM verdicts WHERE ctid = ANY(ARRAY( \
    SELECT ctid FROM verdicts WHERE created_ts < $1 AND partition = ANY($2) LIMIT 2000))";

/// Runs until told to stop.
pub(super) async fn run(app: App, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
        loop {
            match expire(&app).await {
                Ok(deleted) if deleted >= STEP => tokio::time::sleep(STEP_PAUSE).await,
                Ok(_) => break,
                Err(failure) => {
                    debug!(reason = %chain(&failure), "old verdicts stay for now");
                    break;
                }
            }
            if shutdown.is_requested() {
                return;
            }
        }
    }
}

/// Deletes some verdicts of our partitions that are too old; returns how many.
async fn expire(app: &App) -> Result<usize, StoreError> {
    let partitions: Vec<i16> =
        (0..PARTITIONS).filter(|partition| app.board.owns(*partition)).map(small).collect();
    if partitions.is_empty() {
        return Ok(0);
    }
    let keep = i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX);
    let before = now_ms().saturating_sub(keep);
    let mut conn = pool::get(&app.pool).await?;
    diesel::sql_query(DELETE)
        .bind::<Int8, _>(before)
        .bind::<Array<Int2>, _>(partitions)
        .execute(&mut conn)
        .await
        .map_err(StoreError::query("verdicts.expire"))
}
