//! Processes the bulk lane beside live traffic: chunks of the state of rooms that are only being joined.
//!
//! Such a room has nobody here yet, and nothing of live traffic touches it. So its chunks are applied and committed by
//! a task with a thread and a connection of its own, one batch at a time: no live batch waits for them, nor for their
//! commit. They compare and set the partition's row of `bulk_lanes`, as all others do `partition_state`, and take their
//! numeric IDs from it. The commit does not wait for the disk: nobody reads anything of it before the join, whose own
//! commit does.
//!
//! What does not fit goes back to the queue, and is processed in turn with everything else.

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use plexus_proto::input::v1::InputLog;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};
use tracing::{debug, warn};

use super::{
    cache::RoomCache,
    deferred::Deferred,
    engine::{Engine, EngineError, batch_count, connect, is_refused, measure},
    input_batch::{BatchMode, Done, Failure, InputBatch, Known},
    intake::Input,
    pace::Pace,
    partition::Partition,
};
use crate::{
    app::App,
    metrics as names,
    rooms::Env,
    store::{
        StoreError,
        batch::{Batch, CommitError},
    },
};

/// Events after which a batch ends: while nothing else has come lately, and else. What a batch writes has to go to the disk
/// with whatever live traffic commits meanwhile, so that it is felt if it is large.
const EVENTS: (usize, usize) = (256, 10);
/// Most records of a batch.
const RECORDS: usize = 16;
/// How long after live traffic it counts as lively.
const LIVELY: Duration = Duration::from_secs(1);
/// How much longer than the batch itself the pause is that follows it while traffic is lively, with one processor: the two
/// share them. With more it is shorter in proportion, but not below once as long: they share a disk, too.
const PAUSE: u32 = 16;
/// Niceness of the thread of the lane: the kernel gives it a ninth of what others get that want the same processor.
const NICE: i32 = 10;

/// What is done aside.
pub(super) struct BulkLane {
    conn: Option<AsyncPgConnection>,
    under_way: Option<JoinHandle<Run>>,
    pace: Pace,
    /// When the next batch may begin.
    not_before: Option<Instant>,
    /// See [`PAUSE`]; for as many processors as there are.
    pauses: u32,
    /// Where batches run: a thread of their own, so that nothing of live traffic is queued up behind them. What they do
    /// gives way wherever both want the processor.
    thread: Handle,
    /// What the thread belongs to; taken when this is dropped.
    runtime: Option<Runtime>,
}

/// A batch that has ended.
pub(super) struct Run {
    conn: Option<AsyncPgConnection>,
    inputs: Vec<Input>,
    took: Duration,
    ended: Ended,
    /// Whether it was not finished in time.
    too_slow: bool,
}

enum Ended {
    Committed(Box<Done>),
    /// It is not for this way, or a record of it is at fault: to be processed in turn.
    InTurn,
    /// A partition of it is not ours any more, or stands elsewhere than we believed.
    Stale,
    /// What became of it is not known.
    Failed(StoreError),
}

impl BulkLane {
    /// Starts the thread for batches.
    pub(super) fn new() -> std::io::Result<Self> {
        let processors = u32::try_from(available_parallelism().map_or(1, NonZero::get)).unwrap_or(u32::MAX);
        let runtime = low_priority("bulk-lane", NICE)?;
        Ok(Self {
            conn: None,
            under_way: None,
            pace: Pace::default(),
            not_before: None,
            pauses: (PAUSE / processors).max(1),
            thread: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Waits until the batch under way has ended; for ever if there is none. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Option<Run> {
        let Some(task) = &mut self.under_way else { return std::future::pending().await };
        let run = task.await;
        self.under_way = None;
        run.inspect_err(|failure| warn!(%failure, "a batch of the bulk lane has broken off")).ok()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// How long the next batch has to wait.
    pub(super) fn pause(&self) -> Duration {
        self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}

impl Drop for BulkLane {
    fn drop(&mut self) {
        // A batch that is under way is cut off, or ends by itself: its commit tells which.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Makes a thread that gives way to others; elsewhere than on Linux its priority would be that of the process.
pub(super) fn low_priority(name: &str, nice: i32) -> std::io::Result<Runtime> {
    let give_way = move || {
        if cfg!(target_os = "linux")
            && let Err(error) = rustix::process::setpriority_process(None, nice)
        {
            debug!(%error, "the priority of a thread stays as it is");
        }
    };
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .on_thread_start(give_way)
        .enable_all()
        .build()
}

impl Engine {
    /// Begins a batch with what waits first in the bulk lane, if it may be done aside and its time has come.
    pub(super) fn begin_bulk(&mut self) {
        if self.bulk_lane.is_busy() || !self.bulk_lane.pause().is_zero() {
            return;
        }
        let most = if self.last_live.elapsed() > LIVELY { EVENTS.0 } else { EVENTS.1 };
        if let Some(first) = self.intake.pending_bulk.front_mut()
            && first.room_id().is_some_and(|room_id| self.deferred.has(room_id))
        {
            // It goes behind what is deferred of its room.
            first.off_turn = false;
        }
        let most_records = RECORDS.min(self.bulk_lane.pace.records());
        let deferred = &self.deferred;
        let may_begin =
            |input: &&Input| input.off_turn && !input.room_id().is_some_and(|room_id| deferred.has(room_id));
        let waiting = self.intake.pending_bulk.iter().take(most_records).take_while(may_begin);
        let count = batch_count(waiting, most);
        if count == 0 {
            return;
        }
        let inputs: Vec<Input> = self.intake.pending_bulk.drain(..count).collect();
        let partitions = inputs
            .iter()
            .filter_map(|input| Some((input.partition, self.partitions.get(&input.partition)?.clone())));
        let partitions = partitions.collect();
        let (app, env, conn) = (self.app.clone(), Arc::clone(&self.env), self.bulk_lane.conn.take());
        let patience = self.bulk_lane.pace.patience();
        self.bulk_lane.under_way =
            Some(self.bulk_lane.thread.spawn(run(app, env, conn, (partitions, inputs), patience)));
    }

    /// Takes over what a batch has come to.
    pub(super) async fn take_bulk(&mut self, run: Option<Run>) -> Result<(), EngineError> {
        match self.merge_bulk(run) {
            None => Ok(()),
            Some(Ended::Failed(failure)) => Err(failure.into()),
            Some(_) => self.reconcile().await.map(|_| ()),
        }
    }

    /// Waits for the batch under way, before partitions are claimed or given up.
    pub(super) async fn end_bulk(&mut self) {
        if self.bulk_lane.is_busy() {
            let run = self.bulk_lane.ended().await;
            self.merge_bulk(run);
        }
    }

    /// Returns what is still to be seen to: the partitions have to be looked at, or claimed again.
    fn merge_bulk(&mut self, run: Option<Run>) -> Option<Ended> {
        let Some(Run { conn, mut inputs, took, ended, too_slow }) = run else {
            // Its inputs are gone with it: begin everything again from the database.
            self.intake.clear();
            self.partitions.clear();
            let source = "a batch of the bulk lane has broken off".into();
            return Some(Ended::Failed(StoreError::Connect { source }));
        };
        self.bulk_lane.conn = conn;
        if too_slow {
            self.bulk_lane.pace.was_too_slow(inputs.len());
        } else {
            self.bulk_lane.pace.went_well();
        }
        let lively = self.last_live.elapsed() <= LIVELY;
        self.bulk_lane.not_before = lively.then(|| Instant::now() + took * self.bulk_lane.pauses);
        let done = match ended {
            Ended::Committed(done) => done,
            other => {
                for input in &mut inputs {
                    input.off_turn = !matches!(other, Ended::InTurn);
                }
                let partitions = &self.partitions;
                inputs.retain(|input| partitions.contains_key(&input.partition));
                for input in inputs.into_iter().rev() {
                    self.intake.pending_bulk.push_front(input);
                }
                return (!matches!(other, Ended::InTurn)).then_some(other);
            }
        };
        measure(&inputs, &done.decided);
        metrics::counter!(names::DEAD_LETTERS).increment(done.dead_letters);
        let mut decided = done.decided;
        for (number, after) in done.touched {
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            partition.bulk.stored = after.bulk.stored;
            partition.bulk.stored_input_id = after.bulk.stored_input_id;
            partition.bulk_nid = after.bulk_nid;
            if let Some(decided) = decided.remove(&(InputLog::RoomBulk, number)) {
                let position = u64::try_from(after.bulk.stored).unwrap_or(0);
                self.app.verdicts.publish(InputLog::RoomBulk, number, decided, position);
            }
        }
        None
    }
}

async fn run(
    app: App,
    env: Arc<Env>,
    conn: Option<AsyncPgConnection>,
    (partitions, inputs): (BTreeMap<u32, Partition>, Vec<Input>),
    patience: Duration,
) -> Run {
    let began = Instant::now();
    let tried = tokio::time::timeout(patience, attempt(&app, &env, conn, &partitions, &inputs)).await;
    let too_slow = tried.is_err();
    let (conn, ended) = tried.unwrap_or_else(|_elapsed| {
        let source = "the database did not finish a batch of the bulk lane in time".into();
        (None, Ended::Failed(StoreError::Connect { source }))
    });
    Run { conn, inputs, took: began.elapsed(), ended, too_slow }
}

async fn attempt(
    app: &App,
    env: &Env,
    conn: Option<AsyncPgConnection>,
    partitions: &BTreeMap<u32, Partition>,
    inputs: &[Input],
) -> (Option<AsyncPgConnection>, Ended) {
    let mut conn = match conn {
        Some(conn) => conn,
        None => match connect(app).await {
            Ok(conn) => conn,
            Err(failure) => return (None, Ended::Failed(failure)),
        },
    };
    let applied = match apply(&conn, env, partitions, inputs).await {
        Ok(Some(done)) => Batch::commit(&done.batch, &conn).await.map(|()| done),
        Ok(None) => return (Some(conn), Ended::InTurn),
        // It is deferred in turn.
        Err(Failure::Overrun) => return (Some(conn), Ended::InTurn),
        Err(Failure::Store(failure)) => Err(failure.into()),
    };
    match applied {
        Ok(done) => (Some(conn), Ended::Committed(Box::new(done))),
        // The connection is inside of a transaction: it is dropped, which ends it.
        Err(CommitError::Stale) => (None, Ended::Stale),
        Err(CommitError::Joined) => (None, Ended::InTurn),
        Err(CommitError::Store(failure)) if is_refused(&failure) => {
            debug!(reason = %failure, "a batch of the bulk lane was refused");
            match conn.batch_execute("ROLLBACK; SELECT 1").await {
                Ok(()) => (Some(conn), Ended::InTurn),
                Err(_) => (None, Ended::Failed(failure)),
            }
        }
        Err(CommitError::Store(failure) | CommitError::InDoubt(failure)) => (None, Ended::Failed(failure)),
    }
}

/// Applies the inputs; `None` if they are not for this way.
async fn apply(
    conn: &AsyncPgConnection,
    env: &Env,
    partitions: &BTreeMap<u32, Partition>,
    inputs: &[Input],
) -> Result<Option<Done>, Failure> {
    // Rooms are read from the database each time: those in memory are live traffic's.
    let (rooms, none) = (RoomCache::default(), Deferred::default());
    let known = Known { partitions, rooms: &rooms, deferred: &none };
    let mut work = InputBatch::begin(conn, env, known, (BatchMode::BulkLane, inputs)).await?;
    if !work.are_rooms_incipient() {
        return Ok(None);
    }
    work.prefetch(inputs).await?;
    for input in inputs {
        work.apply(input, None).await?;
    }
    let mut done = work.finish(|_| 0);
    done.batch.may_be_undone = true;
    let is_off_turn = done.outputs.is_empty() && !done.batch.bulk_fences.is_empty();
    Ok(is_off_turn.then_some(done))
}
