//! Decides on records of deferred rooms beside live traffic, with a larger budget.
//!
//! A thread of its own, which gives way to all others, decides on the records of one room at a time with a hundred times
//! the budget of live traffic. What it finds out is not written: `seq` of a partition is given in turn. It hands over all
//! that it has loaded and resolved, and the worker decides once more, with nothing left to load or to resolve, and commits.
//! Both give the same numeric IDs, from a block that is set aside before; only the `seq` is another one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use diesel_async::AsyncPgConnection;
use plexus_log::Offset;
use plexus_proto::input::v1::InputLog;
use tokio::{
    runtime::{Handle, Runtime},
    task::JoinHandle,
};
use tracing::{error, warn};

use super::{
    bulk_lane::low_priority,
    cache::RoomCache,
    deferred::Deferred,
    engine::{Engine, EngineError, MAX_ATTEMPTS, Step, connect, is_refused},
    input_batch::{BatchMode, Failure, InputBatch, Known, partition_column},
    intake::Input,
    partition::Partition,
};
use crate::{
    app::App,
    error_chain::chain,
    metrics as names,
    rooms::{Budget, Effort, Env, LoadedData},
    store::{StoreError, deferred},
};

/// Records of a room that are taken at once.
const RECORDS: usize = 64;
/// Numeric IDs that are set aside for them.
const BLOCK: i64 = 1 << 24;
/// Pause after the database failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Niceness of the thread: it gets what nobody else wants.
const NICE: i32 = 19;

/// The lane.
pub(super) struct LowLane {
    conn: Option<AsyncPgConnection>,
    under_way: Option<JoinHandle<Run>>,
    /// The partition that is at work.
    partition: Option<u32>,
    cancelled: Arc<AtomicBool>,
    not_before: Option<Instant>,
    thread: Handle,
    /// What the thread belongs to; taken when this is dropped.
    runtime: Option<Runtime>,
}

/// Records of a room that were decided on.
pub(super) struct Run {
    conn: Option<AsyncPgConnection>,
    partition: u32,
    epoch: i64,
    room_id: String,
    inputs: Vec<Input>,
    ended: Result<Prepared, StoreError>,
}

/// What was found out.
pub(super) struct Prepared {
    /// All that was loaded, without what the records have changed, and all that was resolved.
    pub(super) loaded: LoadedData,
    /// The first of the numeric IDs that were set aside.
    pub(super) first_nid: i64,
    /// How many of the records were decided on.
    count: usize,
    /// Whether the next one has cost more than its budget.
    overran: bool,
}

impl LowLane {
    /// Starts the thread.
    pub(super) fn new() -> std::io::Result<Self> {
        let runtime = low_priority("low-priority", NICE)?;
        Ok(Self {
            conn: None,
            under_way: None,
            partition: None,
            cancelled: Arc::default(),
            not_before: None,
            thread: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Waits until what is under way has ended; for ever if there is nothing. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Option<Run> {
        let Some(task) = &mut self.under_way else { return std::future::pending().await };
        let run = task.await;
        self.under_way = None;
        self.partition = None;
        run.inspect_err(|failure| warn!(%failure, "the low-priority lane has broken off")).ok()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// Ends what is under way in a partition: it is not ours any more.
    pub(super) fn cancel(&mut self, partition: u32) {
        if self.partition == Some(partition) {
            self.cancelled.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for LowLane {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Engine {
    /// Begins with the room whose turn it is. Not while the bulk lane is busy: it may have begun with a chunk of the room
    /// before that was deferred.
    pub(super) fn begin_low(&mut self) {
        let pausing = self.low.not_before.is_some_and(|at| at > Instant::now());
        if self.low.is_busy() || self.bulk_lane.is_busy() || pausing {
            return;
        }
        let Some((number, room_id)) = self.deferred.next() else { return };
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        let first_nid = partition.counters.next_nid;
        partition.counters.next_nid += BLOCK;
        let mut partition = partition.clone();
        partition.counters.next_nid = first_nid;
        self.low.cancelled = Arc::default();
        self.low.partition = Some(number);
        let job = Job {
            app: self.app.clone(),
            env: Arc::clone(&self.env),
            partition: (number, partition),
            room_id,
            most: self.pace.records().min(RECORDS),
            cancelled: Arc::clone(&self.low.cancelled),
        };
        let conn = self.low.conn.take();
        self.low.under_way = Some(self.low.thread.spawn(job.run(conn)));
    }

    /// Commits what was found out.
    pub(super) async fn take_low(&mut self, run: Option<Run>) -> Result<(), EngineError> {
        let Some(Run { conn, partition, epoch, room_id, mut inputs, ended }) = run else {
            self.low.not_before = Some(Instant::now() + PAUSE);
            return Ok(());
        };
        self.low.conn = conn;
        let ours = self.partitions.get(&partition).is_some_and(|partition| partition.epoch == epoch);
        if !ours || self.low.cancelled.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (prepared, poison) = match ended {
            Ok(prepared) if prepared.count > 0 => {
                inputs.truncate(prepared.count);
                (Some(prepared), None)
            }
            Ok(prepared) if prepared.overran => {
                error!(partition, room.id = %room_id, "a record has cost more than the budget of the low-priority lane");
                metrics::counter!(names::OVERRUNS, "lane" => "low").increment(1);
                (None, Some("it has cost more than the budget of the low-priority lane".to_owned()))
            }
            // Somebody has emptied the table.
            Ok(_) => {
                self.deferred.remove(&room_id, usize::MAX);
                return Ok(());
            }
            Err(failure) => {
                warn!(partition, reason = %chain(&failure), "deferred records wait for now");
                self.low.not_before = Some(Instant::now() + PAUSE);
                if !is_refused(&failure) || self.deferred.note_failure(&room_id) < MAX_ATTEMPTS {
                    return Ok(());
                }
                (None, Some(chain(&failure)))
            }
        };
        if poison.is_some() {
            inputs.truncate(1);
        }
        match self.process(&inputs, poison.as_deref(), prepared).await? {
            Step::Committed(_) => Ok(()),
            Step::Stale => self.reconcile().await.map(|_| ()),
            Step::AtFault(failure) => self.refuse_low(&room_id, inputs, &chain(&failure)).await,
            // It was all worked out, and is not the same this time.
            Step::Overran(_) => self.refuse_low(&room_id, inputs, "it costs more than was found out").await,
        }
    }

    /// Counts a failure against the first of deferred records, and sets it aside after some.
    async fn refuse_low(
        &mut self,
        room_id: &str,
        mut inputs: Vec<Input>,
        why: &str,
    ) -> Result<(), EngineError> {
        warn!(room.id = room_id, reason = why, "deferred records were refused");
        self.low.not_before = Some(Instant::now() + PAUSE);
        if self.deferred.note_failure(room_id) >= MAX_ATTEMPTS {
            inputs.truncate(1);
            self.process(&inputs, Some(why), None).await?;
        }
        Ok(())
    }
}

/// Records of a room to be decided on.
struct Job {
    app: App,
    env: Arc<Env>,
    partition: (u32, Partition),
    room_id: String,
    most: usize,
    cancelled: Arc<AtomicBool>,
}

impl Job {
    async fn run(self, conn: Option<AsyncPgConnection>) -> Run {
        let (number, epoch) = (self.partition.0, self.partition.1.epoch);
        let room_id = self.room_id.clone();
        let mut inputs = Vec::new();
        let conn = match conn {
            Some(conn) => Ok(conn),
            None => connect(&self.app).await,
        };
        let (conn, ended) = match conn {
            Ok(conn) => {
                let ended = self.decide(&conn, &mut inputs).await;
                (ended.is_ok().then_some(conn), ended)
            }
            Err(failure) => (None, Err(failure)),
        };
        Run { conn, partition: number, epoch, room_id, inputs, ended }
    }

    async fn decide(self, conn: &AsyncPgConnection, inputs: &mut Vec<Input>) -> Result<Prepared, StoreError> {
        let (number, partition) = self.partition;
        let most = i64::try_from(self.most).unwrap_or(1);
        for row in deferred::list_first(conn, partition_column(number), &self.room_id, most).await? {
            let log = InputLog::try_from(i32::from(row.log)).unwrap_or(InputLog::Room);
            let offset = Offset::try_from(row.log_offset).unwrap_or(0);
            inputs.push(Input::deferred(log, number, offset, Bytes::from(row.payload), row.id));
        }
        let first_nid = partition.counters.next_nid;
        let partitions = BTreeMap::from([(number, partition)]);
        // All of it is read from the database: rooms in memory are live traffic's.
        let (rooms, none) = (RoomCache::default(), Deferred::default());
        let known = Known { partitions: &partitions, rooms: &rooms, deferred: &none };
        let mut work = InputBatch::begin(conn, &self.env, known, (BatchMode::LowPriority, inputs)).await?;
        work.set_effort(Effort::new(Budget::LOW_PRIORITY, self.cancelled));
        work.prefetch(inputs).await?;
        let (mut count, mut overran) = (0, false);
        for input in inputs.iter() {
            match work.apply(input, None).await {
                Ok(()) if work.next_nid(number) > first_nid + BLOCK => overran = true,
                Ok(()) => count += 1,
                Err(Failure::Overrun) => overran = true,
                // What was decided on before it is committed first.
                Err(Failure::Store(failure)) if count == 0 => return Err(failure),
                Err(Failure::Store(_)) => break,
            }
            // What has cost much is committed before anything else is looked at.
            if overran || work.is_full() {
                break;
            }
        }
        Ok(Prepared { loaded: work.into_pristine(), first_nid, count, overran })
    }
}
