//! The loop around one output log: in order, without holes, without repeats.
//!
//! A record is applied when its `seq` follows the last one of its partition. One that is not greater was applied before
//! and is dropped; a hole before it is filled from the room server. If the records are gone there, too, what is in memory
//! of the partition is dropped, and loaded again by whoever asks for it. If they should be there and are not, somebody
//! lost a committed record: the follower stops the process loudly rather than showing clients a room with a hole in it.

use std::{future::Future, time::Duration};

use plexus_log::{Entry, Log, LogError, PARTITIONS, Reader, StartAt, Topic};
use plexus_service::{Shutdown, TraceContext, ready::Part};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use crate::{
    limits, metrics as names,
    positions::{Track, Vector},
    upstream::{Range, UpstreamError},
};

/// What a follower follows, and what it does with the records.
pub(crate) trait Feed: Send + Sync + 'static {
    /// The topic.
    type Topic: Topic;
    /// What applying a record needs beside the record.
    type Prepared: Send;

    /// The positions that the follower moves.
    fn track(&self) -> &Track;
    /// Asks how far the log has been committed.
    fn heads(&self) -> impl Future<Output = Result<Vector, UpstreamError>> + Send;
    /// Asks for committed records.
    fn range(
        &self,
        partition: u32,
        after: u64,
        to: u64,
    ) -> impl Future<Output = Result<Range<Record<Self>>, UpstreamError>> + Send;
    /// `seq` and partition of a record.
    fn place(record: &Record<Self>) -> (u64, u32);
    /// Trace of the request that led to a record.
    fn trace(record: &Record<Self>) -> Option<TraceContext>;
    /// Fetches what applying the record needs and the record lacks, if that comes soon: all other records wait. What
    /// could not be had is for [`Feed::apply`] to do without.
    fn prepare(&mut self, record: &Record<Self>) -> impl Future<Output = Self::Prepared> + Send;
    /// Applies a record. A record that makes no sense is logged and left out; it never panics.
    fn apply(&mut self, record: Record<Self>, prepared: Self::Prepared);
    /// Drops whatever is in memory of a partition: it lacks records up to `seq`, which will never come.
    fn drop_partition(&mut self, partition: u32, seq: u64);
    /// Wakes whom the records since the last call concern.
    fn wake(&mut self);
}

type Record<F> = <<F as Feed>::Topic as Topic>::Record;

/// Follows one output log.
pub(crate) struct Follower<F: Feed> {
    log: Log,
    feed: F,
    ready: Part,
    shutdown: Shutdown,
}

/// Why a follower cannot go on.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("shutdown was requested")]
    Shutdown,
    #[error("the log is closed")]
    Closed,
    #[error("partition {partition} lacks the records between {after} and {before}")]
    Hole { partition: u32, after: u64, before: u64 },
}

impl<F: Feed> Follower<F> {
    pub(crate) fn new(log: Log, feed: F, ready: Part, shutdown: Shutdown) -> Self {
        Self { log, feed, ready, shutdown }
    }

    /// Runs until shutdown. A hole that cannot be filled fails the process.
    pub(crate) async fn run(mut self) {
        let topic = <F::Topic as Topic>::SPEC.name;
        let stop = self.follow().await;
        self.ready.set(false);
        match stop {
            Stop::Shutdown => {}
            Stop::Closed if self.shutdown.is_requested() => {}
            stop => {
                error!(topic, error = %stop, "cannot follow the log any further");
                self.shutdown.fail(format!("following {topic}: {stop}"));
            }
        }
    }

    async fn follow(&mut self) -> Stop {
        let topic = <F::Topic as Topic>::SPEC.name;
        let mut started = false;
        let mut pause = limits::BACKOFF.0;
        loop {
            let result = match self.open().await {
                Ok(reader) => self.read(reader, &mut started).await,
                Err(stop) => Err(stop),
            };
            match result {
                Err(Failure::Stop(stop)) => return stop,
                Err(Failure::Log(LogError::Closed)) => return Stop::Closed,
                Err(Failure::Log(failure)) => {
                    warn!(topic, error = %failure, "log cannot be read, trying again");
                }
                Ok(never) => match never {},
            }
            if let Err(stop) = self.rest(&mut pause).await {
                return stop;
            }
        }
    }

    /// Opens a reader at the end: what is older comes from the room server.
    async fn open(&self) -> Result<Reader<F::Topic>, Failure> {
        let mut reader = self.log.reader::<F::Topic>()?;
        for partition in 0..PARTITIONS {
            tokio::select! {
                assigned = reader.assign(partition, StartAt::End) => assigned?,
                () = self.shutdown.requested() => return Err(Stop::Shutdown.into()),
            }
        }
        Ok(reader)
    }

    async fn read(
        &mut self,
        mut reader: Reader<F::Topic>,
        started: &mut bool,
    ) -> Result<std::convert::Infallible, Failure> {
        // The reader is open: nothing that is committed from here on escapes both it and these heads.
        let heads = self.heads().await?;
        if !*started {
            for (partition, seq) in heads.iter().enumerate() {
                self.feed.track().set(partition, *seq);
            }
            self.feed.track().announce();
            *started = true;
            self.ready.set(true);
            info!(topic = <F::Topic as Topic>::SPEC.name, "following");
        } else {
            self.fill_to(&heads).await?;
        }
        let mut idle = interval_at(Instant::now() + limits::HEADS_INTERVAL, limits::HEADS_INTERVAL);
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Heads as they were one interval ago: what was committed by then must have arrived by now.
        let mut due = heads;
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.requested() => return Err(Stop::Shutdown.into()),
                batch = reader.next_batch(limits::BATCH) => self.take(batch?).await?,
                _ = idle.tick() => {
                    self.fill_to(&due).await?;
                    if let Ok(heads) = self.feed.heads().await {
                        due = heads;
                    }
                }
            }
        }
    }

    async fn take(&mut self, batch: Vec<Entry<Record<F>>>) -> Result<(), Failure> {
        for entry in batch {
            match entry.record {
                Ok(record) if F::place(&record).1 == entry.partition => self.take_one(record).await?,
                Ok(_) => self.skip(entry.partition, entry.offset, &"record names another partition").await?,
                Err(failure) => self.skip(entry.partition, entry.offset, &failure).await?,
            }
        }
        self.publish();
        Ok(())
    }

    async fn take_one(&mut self, record: Record<F>) -> Result<(), Failure> {
        let (seq, partition) = F::place(&record);
        let position = self.feed.track().get(index(partition));
        if seq > position + 1 {
            self.fill(partition, seq - 1).await?;
        }
        self.apply(record).await
    }

    /// Applies a record that follows the last one; drops one that was applied before.
    async fn apply(&mut self, record: Record<F>) -> Result<(), Failure> {
        let (seq, partition) = F::place(&record);
        let position = self.feed.track().get(index(partition));
        let topic = <F::Topic as Topic>::SPEC.name;
        if seq <= position {
            metrics::counter!(names::DUPLICATES, "topic" => topic).increment(1);
            return Ok(());
        }
        if seq > position + 1 {
            return Err(Stop::Hole { partition, after: position, before: seq }.into());
        }
        let trace = F::trace(&record);
        let applied = async {
            let prepared = self.feed.prepare(&record).await;
            self.feed.apply(record, prepared);
            debug!(topic, partition, seq, "record applied");
        };
        match trace {
            Some(trace) => {
                let span = info_span!("record", trace_id = %trace.trace_id());
                trace.scope(applied.instrument(span)).await;
            }
            None => applied.await,
        }
        self.feed.track().set(index(partition), seq);
        metrics::counter!(names::RECORDS, "topic" => topic).increment(1);
        Ok(())
    }

    /// A record that is none: its fact, if it was one, is in the room server's database.
    async fn skip(
        &mut self,
        partition: u32,
        offset: u64,
        why: &(dyn std::fmt::Display + Sync),
    ) -> Result<(), Failure> {
        let topic = <F::Topic as Topic>::SPEC.name;
        error!(topic, partition, offset, error = %why, "record cannot be read, asking the room server instead");
        metrics::counter!(names::POISONED, "topic" => topic).increment(1);
        let heads = self.heads().await?;
        let head = heads.get(index(partition)).copied().unwrap_or_default();
        if head > self.feed.track().get(index(partition)) {
            self.fill(partition, head).await?;
        }
        Ok(())
    }

    /// Fills every partition up to what was committed; a log that brought everything leaves nothing to do.
    async fn fill_to(&mut self, heads: &Vector) -> Result<(), Failure> {
        for (partition, head) in (0..PARTITIONS).zip(heads) {
            if *head > self.feed.track().get(index(partition)) {
                self.fill(partition, *head).await?;
                self.publish();
            }
        }
        Ok(())
    }

    /// Reads the records after the position up to `to` from the room server.
    async fn fill(&mut self, partition: u32, to: u64) -> Result<(), Failure> {
        let topic = <F::Topic as Topic>::SPEC.name;
        let mut pause = limits::BACKOFF.0;
        let mut empty = 0;
        loop {
            let before = self.feed.track().get(index(partition));
            warn!(topic, partition, after = before, to, "log lacks records, asking the room server");
            match self.fill_once(partition, before, to).await {
                Ok(()) => empty += 1,
                Err(Failed::Failure(failure)) => return Err(failure),
                Err(Failed::Upstream(failure)) if failure.is_out_of_range() => {
                    warn!(
                        topic,
                        partition, to, "records are gone, dropping what is in memory of the partition"
                    );
                    metrics::counter!(names::RELOADED, "topic" => topic).increment(1);
                    // Before the position moves: nobody may take what lacks the records for what includes them.
                    self.feed.drop_partition(partition, to);
                    self.feed.track().set(index(partition), to);
                    return Ok(());
                }
                Err(Failed::Upstream(failure)) => {
                    warn!(topic, partition, error = %failure, "cannot read a range, trying again");
                }
            }
            let position = self.feed.track().get(index(partition));
            metrics::counter!(names::FILLED, "topic" => topic).increment(position - before);
            if position >= to {
                return Ok(());
            }
            // A whole answer that does not reach so far, several times over: the records do not exist.
            if empty >= 3 {
                return Err(Stop::Hole { partition, after: position, before: to + 1 }.into());
            }
            self.rest(&mut pause).await?;
        }
    }

    async fn fill_once(&mut self, partition: u32, after: u64, to: u64) -> Result<(), Failed> {
        use futures::TryStreamExt as _;
        let mut chunks = self.feed.range(partition, after, to).await.map_err(Failed::Upstream)?;
        while let Some(records) = chunks.try_next().await.map_err(Failed::Upstream)? {
            for record in records {
                if F::place(&record).1 != partition {
                    let call = "StreamRange";
                    let what = "a record of another partition";
                    return Err(Failed::Upstream(UpstreamError::Nonsense { call, what }));
                }
                self.apply(record).await.map_err(Failed::Failure)?;
            }
        }
        Ok(())
    }

    async fn heads(&self) -> Result<Vector, Failure> {
        let mut pause = limits::BACKOFF.0;
        loop {
            match self.feed.heads().await {
                Ok(heads) => return Ok(heads),
                Err(failure) => {
                    let topic = <F::Topic as Topic>::SPEC.name;
                    warn!(topic, error = %failure, "room server does not tell its heads, trying again");
                }
            }
            self.rest(&mut pause).await?;
        }
    }

    /// Lets readers see what was applied. Positions go first: whoever is woken must find them.
    fn publish(&mut self) {
        self.feed.track().announce();
        self.feed.wake();
    }

    /// Pauses before another attempt, longer each time.
    async fn rest(&self, pause: &mut Duration) -> Result<(), Stop> {
        let this = *pause;
        *pause = (this * 2).min(limits::BACKOFF.1);
        tokio::select! {
            () = sleep(this) => Ok(()),
            () = self.shutdown.requested() => Err(Stop::Shutdown),
        }
    }
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Stop(#[from] Stop),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why a range was not read to its end.
enum Failed {
    Failure(Failure),
    Upstream(UpstreamError),
}

fn index(partition: u32) -> usize {
    usize::try_from(partition).unwrap_or(usize::MAX)
}
