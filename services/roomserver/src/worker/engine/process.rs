//! Applies and commits a batch.

use std::time::Instant;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tracing::warn;

use super::{Engine, EngineError, Step, is_refused};
use crate::{
    metrics as names,
    store::{
        StoreError,
        batch::{Batch, CommitError},
    },
    worker::{
        input_batch::{BatchMode, Failure, InputBatch, Known},
        intake::Input,
        low_lane::Prepared,
    },
};

impl Engine {
    /// Applies and commits records. `prepared`: what the low-priority lane has found out about them.
    pub(in crate::worker) async fn process(
        &mut self,
        inputs: &[Input],
        poison: Option<&str>,
        prepared: Option<Prepared>,
    ) -> Result<Step, EngineError> {
        let patience = self.pace.patience();
        match tokio::time::timeout(patience, self.try_process(inputs, poison, prepared)).await {
            Ok(step) => {
                if let Ok(Step::Committed(_)) = &step {
                    self.pace.went_well();
                }
                step
            }
            Err(_elapsed) => {
                self.conn = None;
                self.pace.was_too_slow(inputs.len());
                warn!(
                    records = inputs.len(),
                    next_records = self.pace.records(),
                    next_seconds = self.pace.patience().as_secs(),
                    "a batch takes too long"
                );
                let source = "the database did not finish a batch in time".into();
                Err(StoreError::Connect { source }.into())
            }
        }
    }

    async fn try_process(
        &mut self,
        inputs: &[Input],
        poison: Option<&str>,
        prepared: Option<Prepared>,
    ) -> Result<Step, EngineError> {
        let Some(conn) = self.conn.take() else {
            return Err(StoreError::Connect { source: "not connected".into() }.into());
        };
        let started = Instant::now();
        let mut count = 0;
        let applied = async {
            let known = Known { partitions: &self.partitions, rooms: &self.rooms, deferred: &self.deferred };
            let mut work = InputBatch::begin(&conn, &self.env, known, (BatchMode::Main, inputs)).await?;
            let block = prepared.is_some().then(|| inputs.first().map(|input| input.partition)).flatten();
            match (prepared, block) {
                (Some(prepared), Some(partition)) => work.go_on_with(prepared, partition),
                _ if poison.is_none() => work.prefetch(inputs).await?,
                _ => {}
            }
            for input in inputs {
                work.apply(input, poison).await?;
                count += 1;
                // What a batch costs, and what parked events have added to it, is bounded; the rest of the inputs waits for
                // the next. What was prepared is of no use to another batch.
                if work.is_full() && block.is_none() {
                    break;
                }
            }
            if let Some(partition) = block {
                work.end_prepared(partition);
            }
            Ok::<_, Failure>(work.finish(|lane| self.publisher.published(lane)))
        };
        let applied = applied.await;
        let done = match applied {
            Ok(done) => done,
            // Nothing was written: the connection is as it was.
            Err(Failure::Overrun) => {
                self.conn = Some(conn);
                return Ok(Step::Overran(count));
            }
            Err(Failure::Store(failure)) => return self.after_failure(conn, failure).await,
        };
        if done.batch.fences.is_empty() {
            // All of it was of partitions that are not ours any more.
            self.conn = Some(conn);
            return Ok(Step::Committed(count));
        }
        metrics::histogram!(names::APPLY_DURATION).record(started.elapsed());
        let committing = Instant::now();
        self.in_doubt = true;
        let committed = Batch::commit(&done.batch, &conn).await;
        self.in_doubt = matches!(committed, Err(CommitError::InDoubt(_)));
        match committed {
            Ok(()) => self.conn = Some(conn),
            // The connection is inside of a transaction: it is dropped, which ends it.
            Err(CommitError::Stale) => return Ok(Step::Stale),
            // Only this lane joins rooms: what the database holds is not what we know of it.
            Err(CommitError::Joined) => {
                let what = "a room that is only being joined".to_owned();
                return self.after_failure(conn, StoreError::Corrupt { what }).await;
            }
            Err(CommitError::Store(failure)) => return self.after_failure(conn, failure).await,
            Err(CommitError::InDoubt(failure)) => return Err(failure.into()),
        }
        metrics::histogram!(names::COMMIT_DURATION).record(committing.elapsed());
        self.after_commit(&inputs[..count], done);
        Ok(Step::Committed(count))
    }

    /// Tells whether a failure is the fault of a record or of the world: see [`is_refused`].
    async fn after_failure(
        &mut self,
        mut conn: AsyncPgConnection,
        failure: StoreError,
    ) -> Result<Step, EngineError> {
        if !is_refused(&failure) {
            return Err(failure.into());
        }
        if conn.batch_execute("ROLLBACK; SELECT 1").await.is_err() {
            return Err(failure.into());
        }
        self.conn = Some(conn);
        Ok(Step::AtFault(failure))
    }
}
