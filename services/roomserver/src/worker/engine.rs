//! Runs the worker: reads inputs, has them decided, commits, publishes, and recovers from failures.

mod after_commit;
mod process;
mod shut_down;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use diesel_async::AsyncPgConnection;
use futures::FutureExt as _;
use plexus_log::{LogError, OwnershipEvent};
use plexus_proto::input::v1::InputLog;
use plexus_service::Shutdown;
use tokio::sync::mpsc;
use tracing::{error, warn};

pub(super) use self::{after_commit::measure, turns::batch_count};
use super::{
    bulk_lane::BulkLane,
    cache::RoomCache,
    deferred::Deferred,
    guests,
    intake::{Input, Intake},
    low_lane::LowLane,
    pace::Pace,
    partition::Partition,
    publisher::{Lane, Publisher},
    shards::Shard,
};
use crate::{
    app::{App, StartError},
    error_chain::chain,
    metrics as names,
    rooms::Env,
    store::{StoreError, partitions, pool},
};

/// How often a record may fail on its own before it is set aside.
pub(super) const MAX_ATTEMPTS: u8 = 3;
/// Pauses between tries to get on, from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long a partition is left to another instance that has taken it over, although the group says it is ours.
pub(super) const CONTEST_PAUSE: Duration = Duration::from_secs(5);
/// When the group counts as joined although it has given us nothing.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);
/// How often the published positions are saved while nothing else is written.
const FLUSH: Duration = Duration::from_secs(1);

/// The worker.
pub(super) struct Engine {
    pub(super) app: App,
    pub(super) env: Arc<Env>,
    pub(super) publisher: Publisher,
    /// Which of the shards of the process this is.
    pub(super) shard: Shard,
    ownership: mpsc::Receiver<OwnershipEvent>,
    pub(super) guest_access: guests::Changes,
    pub(super) intake: Intake,
    /// The connection that writes; `None` after a failure.
    pub(super) conn: Option<AsyncPgConnection>,
    /// Partitions that the group has given us, and those of `unconfirmed`.
    pub(super) wanted: BTreeSet<u32>,
    /// Partitions that we work on without the group's word, until it gives them to us or another instance claims them:
    /// those that an earlier process at our address has left behind, and those of an expired membership. The fence keeps
    /// that safe.
    pub(super) unconfirmed: BTreeSet<u32>,
    /// When ownership was last settled.
    pub(super) settled: Instant,
    /// Whether we have looked for what an earlier process has left behind.
    pub(super) recalled: bool,
    /// Partitions of those that are claimed and being read.
    pub(super) partitions: BTreeMap<u32, Partition>,
    /// Partitions that another instance has taken although the group says they are ours, and when to claim them again.
    pub(super) contested: BTreeMap<u32, Instant>,
    pub(super) rooms: RoomCache,
    /// Whether it is not known if a commit has happened.
    in_doubt: bool,
    /// Rooms that are left to the low-priority lane.
    pub(super) deferred: Deferred,
    pub(super) low: LowLane,
    pub(super) pace: Pace,
    /// Whether the group has said anything yet.
    pub(super) heard: bool,
    /// Whether we have told that it has.
    joined: bool,
    started: Instant,
    pause: Duration,
    /// Which queue is worked off.
    at_work: InputLog,
    /// For how long live traffic goes before bulk.
    bulk_cooldown: Duration,
    /// When live traffic was last worked off.
    pub(super) last_live: Instant,
    /// The bulk lane, as far as it does not go in turn.
    pub(super) bulk_lane: BulkLane,
}

/// Why the worker could not go on with a batch.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("the log failed")]
    Log(#[from] LogError),
}

/// What to do with a record that was read.
pub(super) enum Checked {
    /// It is to be processed.
    Process,
    /// It is not ours, or was read before.
    Skip,
    /// Its lane is read from its beginning from now on.
    Restarted,
}

/// What a batch came to.
pub(super) enum Step {
    /// So many of its records are committed; the others are still to be processed.
    Committed(usize),
    /// This one of its records has cost more than its budget.
    Overran(usize),
    /// A partition of it is not ours any more, or stands elsewhere than we believed.
    Stale,
    /// A record of it is at fault.
    AtFault(StoreError),
}

impl Engine {
    /// Makes the worker; it owns nothing at first. Fails if the logs cannot be read, or there is no thread for the bulk
    /// lane.
    pub(super) fn open(
        app: App,
        env: Arc<Env>,
        shard: Shard,
        publisher: Publisher,
        ownership: mpsc::Receiver<OwnershipEvent>,
        guest_access: guests::Changes,
    ) -> Result<Self, StartError> {
        let intake = Intake::open(&app.log)?;
        Ok(Self {
            app,
            env,
            publisher,
            shard,
            ownership,
            guest_access,
            intake,
            conn: None,
            wanted: BTreeSet::new(),
            unconfirmed: BTreeSet::new(),
            settled: Instant::now(),
            recalled: false,
            partitions: BTreeMap::new(),
            contested: BTreeMap::new(),
            rooms: RoomCache::default(),
            in_doubt: false,
            deferred: Deferred::default(),
            low: LowLane::new().map_err(StartError::BulkLane)?,
            pace: Pace::default(),
            heard: false,
            joined: false,
            started: Instant::now(),
            pause: PAUSES.0,
            at_work: InputLog::Room,
            bulk_cooldown: Duration::ZERO,
            last_live: Instant::now(),
            bulk_lane: BulkLane::new().map_err(StartError::BulkLane)?,
        })
    }

    /// Works until told to stop.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        loop {
            match self.round(&shutdown).await {
                Ok(true) => self.pause = PAUSES.0,
                Ok(false) => break,
                Err(EngineError::Log(LogError::Closed)) => break,
                Err(failure) => {
                    warn!(reason = %chain(&failure), retry_in_ms = self.pause.as_millis(), "the worker is held up");
                    metrics::counter!(names::ABORTED_BATCHES).increment(1);
                    self.drop_connection();
                    tokio::select! {
                        () = tokio::time::sleep(self.pause) => {}
                        () = shutdown.requested() => break,
                    }
                    self.pause = (self.pause * 2).min(PAUSES.1);
                }
            }
        }
        self.shut_down().await;
    }

    /// One round of the loop; `false` when it is time to stop.
    async fn round(&mut self, shutdown: &Shutdown) -> Result<bool, EngineError> {
        while let Some(event) = self.ownership.recv().now_or_never() {
            match event {
                Some(event) => self.change_ownership(event).await?,
                None => return Ok(false),
            }
        }
        if self.conn.is_none() || self.has_unclaimed() || self.is_in_doubt() {
            self.settle().await?;
        }
        let joined = self.heard || !self.unconfirmed.is_empty() || self.started.elapsed() > JOIN_PATIENCE;
        if joined && !std::mem::replace(&mut self.joined, true) {
            self.app.verdicts.set_joined();
        }
        self.begin_bulk();
        self.begin_low();
        if self.has_work() {
            self.work_off().await?;
            return Ok(true);
        }
        if shutdown.is_requested() {
            self.drain().await?;
            return Ok(false);
        }
        let full = self.publisher.is_full();
        let low = self.low.is_busy();
        let (busy, pause) = (self.bulk_lane.is_busy(), self.bulk_lane.pause());
        let paused = !busy && !self.intake.pending_bulk.is_empty();
        tokio::select! {
            biased;
            event = self.ownership.recv() => match event {
                Some(event) => self.change_ownership(event).await?,
                None => return Ok(false),
            },
            () = self.publisher.has_room(), if full => {}
            run = self.bulk_lane.ended(), if busy => self.take_bulk(run).await?,
            run = self.low.ended(), if low && !full => self.take_low(run).await?,
            () = tokio::time::sleep(pause), if paused => {}
            inputs = self.intake.next(), if !full => {
                let inputs = inputs?;
                self.accept(inputs).await?;
            }
            () = shutdown.requested() => {}
            () = tokio::time::sleep(FLUSH) => self.flush().await?,
        }
        Ok(true)
    }

    /// Takes records from the logs, but for those that only tell whether a log is still the one it was.
    async fn accept(&mut self, inputs: Vec<Input>) -> Result<(), EngineError> {
        let mut restarted: Vec<(InputLog, u32)> = Vec::new();
        for input in inputs {
            // What was read of a lane before it was started again does not follow on what comes from it now.
            let lane = (input.log, input.partition);
            if restarted.contains(&lane) {
                continue;
            }
            match self.check(&input).await {
                Ok(Checked::Process) => self.intake.queue(input.log).push_back(input),
                Ok(Checked::Skip) => {}
                Ok(Checked::Restarted) => restarted.push(lane),
                Err(failure) => {
                    // What was read and not looked at would be missing: begin everything again from the database.
                    self.intake.clear();
                    self.partitions.clear();
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Forgets whatever may have changed under us. Rooms change by commits alone: without one in doubt they stay, and where
    /// somebody else had a partition meanwhile they go when it is claimed again.
    fn drop_connection(&mut self) {
        self.conn = None;
        if std::mem::take(&mut self.in_doubt) {
            self.rooms.clear();
        }
        // Another instance may end sessions before we are back.
        for partition in self.partitions.keys() {
            self.app.sessions.evict_partition(*partition);
        }
        self.app.session_leases.end_all(self.partitions.keys().copied());
    }

    /// Whether the group has given us partitions that are still to be claimed.
    fn has_unclaimed(&self) -> bool {
        self.wanted.iter().any(|number| !self.partitions.contains_key(number) && !self.is_contested(*number))
    }

    /// Whether a partition is to be left to another instance for the moment.
    pub(super) fn is_contested(&self, number: u32) -> bool {
        self.contested.get(&number).is_some_and(|until| *until > Instant::now())
    }

    /// Saves how far the output logs are.
    pub(super) async fn flush(&mut self) -> Result<(), EngineError> {
        let Some(mut conn) = self.conn.take() else { return Ok(()) };
        for (number, partition) in &mut self.partitions {
            let lane = |log| Lane { log, partition: *number };
            let room = self.publisher.published(lane(InputLog::Room)).max(partition.room_published);
            let user = self.publisher.published(lane(InputLog::User)).max(partition.user_published);
            if room > partition.room_published || user > partition.user_published {
                let number = super::input_batch::partition_column(*number);
                partitions::set_published(&mut conn, number, partition.epoch, room, user).await?;
                partition.room_published = room;
                partition.user_published = user;
            }
        }
        self.conn = Some(conn);
        Ok(())
    }
}

/// Whether a failure is the fault of a record and not of the world, as far as the error tells.
pub(super) fn is_refused(failure: &StoreError) -> bool {
    failure.is_deterministic()
}

/// Opens a connection that writes.
pub(super) async fn connect(app: &App) -> Result<AsyncPgConnection, StoreError> {
    let connecting = pool::connect(&app.config.postgres.url);
    match tokio::time::timeout(Duration::from_secs(10), connecting).await {
        Ok(connected) => connected,
        Err(elapsed) => Err(StoreError::Connect { source: Box::new(elapsed) }),
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Someone should look: what is in the database cannot be worked with.
pub(super) fn report_corrupt(partition: u32, failure: &StoreError) {
    error!(partition, reason = %chain(failure), "a partition cannot be worked on");
}
