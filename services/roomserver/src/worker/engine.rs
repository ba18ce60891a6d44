//! The loop around the pure half.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use futures::FutureExt as _;
use plexus_log::{LogError, Ownership};
use plexus_proto::input::v1::{InputLog, verdict::Outcome as Decision};
use plexus_service::Shutdown;
use ruma::UserId;
use tracing::{debug, error, info, warn};

use super::{
    aside::Aside,
    cache::RoomCache,
    deferred::Deferred,
    guests,
    intake::{BATCH_RECORDS, Input, Intake},
    low_lane::{LowLane, Prepared},
    pace::Pace,
    partition::{INPUT_LOGS, Partition},
    publisher::{Lane, Publisher},
    work::{Failure, Known, Way, Work},
};
use crate::{
    app::{App, StartError},
    metrics as names,
    rooms::{Env, StateResetRow},
    store::{
        StoreError,
        batch::{Batch, CommitError},
        partitions, pool,
    },
};

/// Events after which a batch ends: one of live traffic, for which a record may hold 500, and one of the bulk lane, for
/// which whatever comes meanwhile waits.
const LIVE_EVENTS: usize = 512;
const BULK_EVENTS: usize = 32;
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
/// At shutdown: how long no input may come before the worker stops, and how long that may take.
const DRAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));
/// At shutdown: how long publishing may take.
const PUBLISH_DRAIN: Duration = Duration::from_secs(2);

/// The worker.
pub(super) struct Engine {
    pub(super) app: App,
    pub(super) env: Arc<Env>,
    pub(super) publisher: Publisher,
    ownership: Ownership,
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
    started: Instant,
    pause: Duration,
    /// Which queue is worked off.
    at_work: InputLog,
    /// For how long live traffic goes before bulk.
    bulk_owes: Duration,
    /// When live traffic was last worked off.
    pub(super) last_live: Instant,
    /// The bulk lane, as far as it does not go in turn.
    pub(super) aside: Aside,
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
        publisher: Publisher,
        ownership: Ownership,
        guest_access: guests::Changes,
    ) -> Result<Self, StartError> {
        let intake = Intake::open(&app.log)?;
        Ok(Self {
            app,
            env,
            publisher,
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
            started: Instant::now(),
            pause: PAUSES.0,
            at_work: InputLog::Room,
            bulk_owes: Duration::ZERO,
            last_live: Instant::now(),
            aside: Aside::new().map_err(StartError::BulkLane)?,
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
        while let Some(event) = self.ownership.next().now_or_never() {
            match event {
                Some(event) => self.change_ownership(event).await?,
                None => return Ok(false),
            }
        }
        if self.conn.is_none() || self.has_unclaimed() || self.is_in_doubt() {
            self.settle().await?;
        }
        if self.heard || !self.unconfirmed.is_empty() || self.started.elapsed() > JOIN_PATIENCE {
            self.app.board.set_joined();
        }
        self.begin_aside();
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
        let (busy, pause) = (self.aside.is_busy(), self.aside.pause());
        let paused = !busy && !self.intake.pending_bulk.is_empty();
        tokio::select! {
            biased;
            event = self.ownership.next() => match event {
                Some(event) => self.change_ownership(event).await?,
                None => return Ok(false),
            },
            () = self.publisher.has_room(), if full => {}
            run = self.aside.ended(), if busy => self.take_aside(run).await?,
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

    /// Whether the bulk lane goes on with something that goes in turn.
    fn has_bulk(&self) -> bool {
        !self.aside.is_busy() && self.intake.pending_bulk.front().is_some_and(|input| !input.aside)
    }

    /// Whether there is something to be processed in turn.
    fn has_work(&self) -> bool {
        !self.intake.pending.is_empty() || self.has_bulk()
    }

    /// Works off what was read. After an error the rest stays, to be tried again.
    ///
    /// Bulk has batches of its own. While live traffic waits, it gets at most a quarter of the time: after a batch of it,
    /// live batches go first for three times as long as it took.
    async fn work_off(&mut self) -> Result<(), EngineError> {
        while self.has_work() {
            let live_waits = !self.intake.pending.is_empty();
            let bulk_waits = self.has_bulk();
            let bulk = bulk_waits && (!live_waits || self.bulk_owes.is_zero());
            if !live_waits {
                self.bulk_owes = Duration::ZERO;
            }
            self.at_work = if bulk { InputLog::RoomBulk } else { InputLog::Room };
            let queue = self.intake.queue(self.at_work);
            let count = if bulk {
                batch_count(queue.iter().take_while(|input| !input.aside), BULK_EVENTS)
            } else {
                batch_count(queue.iter(), LIVE_EVENTS)
            };
            let count = count.min(self.pace.records());
            let started = Instant::now();
            let step = self.process_first(count, None).await?;
            if bulk {
                self.bulk_owes = started.elapsed() * 3;
            } else {
                self.bulk_owes = self.bulk_owes.saturating_sub(started.elapsed());
                self.last_live = Instant::now();
            }
            match step {
                Step::Committed(count) => {
                    self.intake.queue(self.at_work).drain(..count);
                }
                Step::Stale => {
                    self.reconcile().await?;
                    return Ok(());
                }
                Step::Overran(index) => self.leave_to_low_lane(index),
                Step::AtFault(failure) => {
                    debug!(reason = %chain(&failure), records = count, "a batch was refused; trying its records one by one");
                    if !self.one_by_one(count).await? {
                        return Ok(());
                    }
                }
            }
            // After bulk, whatever has arrived of live traffic goes first.
            if self.publisher.is_full() || bulk {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Processes records on their own, so that one that is at fault stops nobody else; `false` if the partitions have
    /// to be looked at again.
    async fn one_by_one(&mut self, count: usize) -> Result<bool, EngineError> {
        for _ in 0..count {
            let mut poison = None;
            loop {
                match self.process_first(1, poison.as_deref()).await? {
                    Step::Committed(_) => break,
                    Step::Overran(index) => self.leave_to_low_lane(index),
                    Step::Stale => {
                        self.reconcile().await?;
                        return Ok(false);
                    }
                    Step::AtFault(failure) => {
                        // Another owner may have done the same before us: then it is we who are at fault.
                        if self.reconcile().await? {
                            return Ok(false);
                        }
                        // Not even setting it aside worked: then it is not the record.
                        if poison.is_some() {
                            return Err(failure.into());
                        }
                        let Some(input) = self.intake.queue(self.at_work).front_mut() else {
                            return Ok(false);
                        };
                        input.attempts = input.attempts.saturating_add(1);
                        if input.attempts >= MAX_ATTEMPTS {
                            poison = Some(chain(&failure));
                        }
                    }
                }
            }
            self.intake.queue(self.at_work).pop_front();
        }
        Ok(true)
    }

    /// A record has cost more than the budget of live traffic: it is deferred when its batch is begun again.
    fn leave_to_low_lane(&mut self, index: usize) {
        let Some(input) = self.intake.queue(self.at_work).get_mut(index) else { return };
        input.overran = true;
        warn!(
            partition = input.partition,
            offset = input.offset,
            room.id = input.room_id().unwrap_or_default(),
            "a record costs much; its room is left to the low-priority lane"
        );
        metrics::counter!(names::OVERRUNS, "lane" => "live").increment(1);
    }

    /// Applies and commits the first `count` records that wait. `poison`: the only one has failed for this reason so
    /// often that it goes to `dead_letters`.
    async fn process_first(&mut self, count: usize, poison: Option<&str>) -> Result<Step, EngineError> {
        let mut queue = std::mem::take(self.intake.queue(self.at_work));
        let inputs = queue.make_contiguous();
        let step = self.process(&inputs[..count.min(inputs.len())], poison, None).await;
        *self.intake.queue(self.at_work) = queue;
        step
    }

    /// Applies and commits records. `prepared`: what the low-priority lane has found out about them.
    pub(super) async fn process(
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
            let mut work = Work::begin(&conn, &self.env, known, (Way::Main, inputs)).await?;
            let block = prepared.is_some().then(|| inputs.first().map(|input| input.partition)).flatten();
            match (prepared, block) {
                (Some(prepared), Some(partition)) => work.go_on_with(prepared, partition),
                _ if poison.is_none() => work.foresee(inputs).await?,
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
        measure(&inputs[..count], &done.decided);
        raise_alarms(done.batch.rooms.state_resets());
        metrics::counter!(names::DEAD_LETTERS).increment(done.dead_letters);
        for room in done.batch.facts.changed("m.room.guest_access") {
            self.guest_access.note(room);
        }
        if done.batch.rooms.purges() {
            self.app.purged.notify_one();
        }
        if done.batch.users.begins_jobs() {
            self.app.member_jobs.notify_one();
        }
        self.rooms.commit(done.rooms);
        for id in &done.signed_out {
            if let Ok(id) = <&UserId>::try_from(id.as_str()) {
                self.app.sessions.evict_user(id);
                self.app.holders.end(plexus_log::partition_of(id.as_str()), id.as_str());
            }
        }
        for ((log, partition), records) in done.outputs {
            self.publisher.push(Lane { log, partition }, records);
        }
        for (room_id, (partition, inputs)) in &done.deferring {
            self.deferred.add(*partition, room_id, inputs.len());
            self.app.board.defer(*partition, inputs);
        }
        for (room_id, count) in &done.worked_off {
            self.deferred.remove(room_id, *count);
        }
        for (log, partition, decided) in done.decided_late {
            self.app.board.publish_deferred(log, partition, vec![decided]);
        }
        let mut decided = done.decided;
        for (number, after) in done.touched {
            let board = &self.app.board;
            for log in INPUT_LOGS {
                let lane = after.lane(log);
                if let Some(decided) = decided.remove(&(log, number)) {
                    board.publish(log, number, decided, u64::try_from(lane.stored).unwrap_or(0));
                }
            }
            self.partitions.insert(number, after);
        }
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
        self.app.holders.end_all(self.partitions.keys().copied());
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
                let number = super::work::small(*number);
                partitions::set_published(&mut conn, number, partition.epoch, room, user).await?;
                partition.room_published = room;
                partition.user_published = user;
            }
        }
        self.conn = Some(conn);
        Ok(())
    }

    /// Works on for a moment, so that whoever has just written gets an answer.
    async fn drain(&mut self) -> Result<(), EngineError> {
        let end = Instant::now() + DRAIN.1;
        while Instant::now() < end {
            match tokio::time::timeout(DRAIN.0, self.intake.next()).await {
                Ok(inputs) => {
                    let inputs = inputs?;
                    self.accept(inputs).await?;
                    self.work_off().await?;
                }
                Err(_quiet) => break,
            }
        }
        Ok(())
    }

    /// Gives everything up in order: the next owner need not publish or process anything twice.
    async fn shut_down(mut self) {
        self.end_aside().await;
        let published = tokio::time::timeout(PUBLISH_DRAIN, self.publisher.is_idle()).await;
        if published.is_err() {
            info!("not everything was published; the next owner will do it");
        }
        if let Err(failure) = self.flush().await {
            info!(reason = %chain(&failure), "could not save how far the output logs are");
        }
        let all: Vec<u32> = self.partitions.keys().copied().collect();
        if let Err(failure) = self.release(&all).await {
            info!(reason = %chain(&failure), "could not give up the partitions; the next owner will take them");
        }
        self.publisher.stop();
    }
}

/// Whether a failure is the fault of a record and not of the world, as far as the error tells.
pub(super) fn is_refused(failure: &StoreError) -> bool {
    failure.is_deterministic()
}

/// Records that make a batch: as few as hold so many events, at least one if there are any.
pub(super) fn batch_count<'a>(inputs: impl Iterator<Item = &'a Input>, most: usize) -> usize {
    let mut events = 0;
    let fitting = inputs.take(BATCH_RECORDS).take_while(|input| {
        let fits = events < most;
        events += input.events();
        fits
    });
    fitting.count()
}

/// Makes known that keys of states changed although no event says so. What is known of it is in `state_resets`.
fn raise_alarms(resets: &[StateResetRow]) {
    for reset in resets {
        warn!(
            room.nid = reset.room_nid.0,
            event.nid = reset.event_nid.0,
            lost.nid = reset.lost_nid.0,
            "the state of a room lost an entry that nobody contested"
        );
    }
    metrics::counter!(names::STATE_RESETS).increment(u64::try_from(resets.len()).unwrap_or(0));
}

/// Opens a connection that writes.
pub(super) async fn connect(app: &App) -> Result<AsyncPgConnection, StoreError> {
    let connecting = pool::connect(&app.config.postgres.url);
    match tokio::time::timeout(Duration::from_secs(10), connecting).await {
        Ok(connected) => connected,
        Err(elapsed) => Err(StoreError::Connect { source: Box::new(elapsed) }),
    }
}

/// An error with all its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "measurements are floats")]
pub(super) fn measure(inputs: &[Input], decided: &HashMap<(InputLog, u32), Vec<super::board::Decided>>) {
    metrics::histogram!(names::BATCH_SIZE).record(inputs.len() as f64);
    let now = now_ms();
    if let Some(oldest) = inputs.iter().map(|input| input.produced_ts).filter(|ts| *ts > 0).min() {
        metrics::histogram!(names::INPUT_LAG).record(now.saturating_sub(oldest).max(0) as f64 / 1000.0);
    }
    let (mut accepted, mut rejected) = (0, 0);
    for verdict in decided.values().flatten().map(|decided| &decided.verdict) {
        match verdict.outcome {
            Some(Decision::Accepted(_)) => accepted += 1,
            Some(Decision::Rejected(_) | Decision::Parked(_) | Decision::Unknown(_)) | None => rejected += 1,
        }
    }
    metrics::counter!(names::INPUTS, "outcome" => "accepted").increment(accepted);
    metrics::counter!(names::INPUTS, "outcome" => "rejected").increment(rejected);
}

/// Someone should look: what is in the database cannot be worked with.
pub(super) fn report_corrupt(partition: u32, failure: &StoreError) {
    error!(partition, reason = %chain(failure), "a partition cannot be worked on");
}
