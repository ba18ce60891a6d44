//! Publishes committed records to the output logs, in order of `seq` within each partition.
//!
//! Committed rows are in `output_log`, so nothing is lost if this never happens: whoever owns the partition next
//! publishes again from there what is not known to have arrived.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use parking_lot::Mutex;
use plexus_log::{Log, LogError, OutputRoom, OutputUser};
use plexus_proto::{
    input::v1::InputLog,
    log::v1::{OutputRoomEvent, OutputUserEvent},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::metrics as names;

/// Records that may wait before the worker pauses.
const MAX_RECORDS: usize = 10_000;
/// Bytes that may wait before the worker pauses.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Records of one partition that are under way at once.
const CHUNK: usize = 64;
/// Pause after the log has failed.
const RETRY: Duration = Duration::from_millis(500);

/// A record to publish.
#[derive(Debug)]
pub(super) enum Record {
    Room(Box<OutputRoomEvent>),
    User(Box<OutputUserEvent>),
}

impl Record {
    fn seq(&self) -> u64 {
        match self {
            Self::Room(record) => record.seq,
            Self::User(record) => record.seq,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Room(record) => prost::Message::encoded_len(record.as_ref()),
            Self::User(record) => prost::Message::encoded_len(record.as_ref()),
        }
    }

    async fn append(&self, log: &Log) -> Result<(), LogError> {
        match self {
            Self::Room(record) => log.append::<OutputRoom>(record).await.map(drop),
            Self::User(record) => log.append::<OutputUser>(record).await.map(drop),
        }
    }
}

/// An output log of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub(super) log: InputLog,
    pub(super) partition: u32,
}

/// The worker's end; cheap to clone.
#[derive(Clone)]
pub(super) struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    queues: Mutex<Queues>,
    work: Notify,
    room: Notify,
    stop: CancellationToken,
}

#[derive(Default)]
struct Queues {
    lanes: HashMap<Lane, Queue>,
    records: usize,
    bytes: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Record, usize)>,
    /// Whether a chunk is under way.
    busy: bool,
    /// Last `seq` that the log has acknowledged, with everything before it; 0 if none was published from here.
    published: u64,
    /// Grows when the queue is dropped, so that chunks of before change nothing.
    generation: u64,
}

impl Publisher {
    /// Starts publishing. The future runs until [`Publisher::stop`].
    pub(super) fn new(log: Log) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::new(Shared {
            queues: Mutex::default(),
            work: Notify::new(),
            room: Notify::new(),
            stop: CancellationToken::new(),
        });
        (Self { shared: Arc::clone(&shared) }, run(shared, log))
    }

    /// Queues records of a partition, in order of `seq`.
    pub(super) fn push(&self, lane: Lane, records: impl IntoIterator<Item = Record>) {
        let mut queues = self.shared.queues.lock();
        let queues = &mut *queues;
        let queue = queues.lanes.entry(lane).or_default();
        for record in records {
            let size = record.size();
            queues.records += 1;
            queues.bytes += size;
            queue.waiting.push_back((record, size));
        }
        metrics::gauge!(names::PUBLISH_QUEUE).set(gauge(queues.records));
        self.shared.work.notify_one();
    }

    /// Whether so much waits that nothing should be added.
    pub(super) fn is_full(&self) -> bool {
        let queues = self.shared.queues.lock();
        queues.records >= MAX_RECORDS || queues.bytes >= MAX_BYTES
    }

    /// Waits until there is room.
    pub(super) async fn has_room(&self) {
        loop {
            let notified = self.shared.room.notified();
            if !self.is_full() {
                return;
            }
            notified.await;
        }
    }

    /// Waits until everything is published.
    pub(super) async fn is_idle(&self) {
        loop {
            let notified = self.shared.room.notified();
            if self.shared.queues.lock().records == 0 {
                return;
            }
            notified.await;
        }
    }

    /// The last `seq` that is known to be in the log, as far as it was published from here.
    pub(super) fn published(&self, lane: Lane) -> i64 {
        let queues = self.shared.queues.lock();
        let published = queues.lanes.get(&lane).map_or(0, |queue| queue.published);
        i64::try_from(published).unwrap_or(i64::MAX)
    }

    /// Stops publishing a partition: it is no longer ours, or begins anew.
    pub(super) fn forget(&self, partition: u32) {
        let mut queues = self.shared.queues.lock();
        let queues = &mut *queues;
        for log in [InputLog::Room, InputLog::User] {
            if let Some(queue) = queues.lanes.get_mut(&Lane { log, partition }) {
                for (_, size) in queue.waiting.drain(..) {
                    queues.records = queues.records.saturating_sub(1);
                    queues.bytes = queues.bytes.saturating_sub(size);
                }
                queue.generation += 1;
                queue.busy = false;
                queue.published = 0;
            }
        }
        self.shared.room.notify_waiters();
    }

    /// Stops for good.
    pub(super) fn stop(&self) {
        self.shared.stop.cancel();
    }
}

/// Records of one partition that are under way.
struct Chunk {
    lane: Lane,
    generation: u64,
    records: Vec<(Record, usize)>,
}

/// What became of a chunk.
struct Sent {
    chunk: Chunk,
    /// How many records from the first on have arrived.
    arrived: usize,
    failure: Option<LogError>,
}

async fn run(shared: Arc<Shared>, log: Log) {
    let mut under_way = FuturesUnordered::new();
    let mut failing = false;
    loop {
        for chunk in take_chunks(&shared) {
            under_way.push(send(log.clone(), chunk));
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.work.notified() => {}
            Some(sent) = under_way.next(), if !under_way.is_empty() => {
                let Sent { chunk, arrived, failure } = sent;
                if let Some(error) = &failure && !failing {
                    warn!(%error, "the output log does not take records; trying on");
                }
                failing = failure.is_some();
                settle(&shared, chunk, arrived);
            }
        }
    }
}

/// Takes what waits in partitions that have nothing under way.
fn take_chunks(shared: &Shared) -> Vec<Chunk> {
    let mut queues = shared.queues.lock();
    let mut chunks = Vec::new();
    for (lane, queue) in &mut queues.lanes {
        if queue.busy || queue.waiting.is_empty() {
            continue;
        }
        queue.busy = true;
        let count = queue.waiting.len().min(CHUNK);
        chunks.push(Chunk {
            lane: *lane,
            generation: queue.generation,
            records: queue.waiting.drain(..count).collect(),
        });
    }
    chunks
}

/// Appends the records of a chunk. All are handed to the log at once and in order; after a failure everything from the
/// first record that failed on is sent again, so that a reader may see records twice, and sees the missing ones late.
async fn send(log: Log, chunk: Chunk) -> Sent {
    let results = join_all(chunk.records.iter().map(|(record, _)| record.append(&log))).await;
    let mut arrived = 0;
    let mut failure = None;
    for result in results {
        match result {
            Ok(()) => arrived += 1,
            // It can never be published. Readers find it in the database, as they do for whatever is missing.
            Err(error @ LogError::TooLarge { .. }) => {
                warn!(%error, partition = chunk.lane.partition, "an output record is too large for the log");
                arrived += 1;
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    if failure.is_some() {
        tokio::time::sleep(RETRY).await;
    }
    Sent { chunk, arrived, failure }
}

/// Notes what has arrived, and puts the rest back.
fn settle(shared: &Shared, chunk: Chunk, arrived: usize) {
    let mut queues = shared.queues.lock();
    let queues = &mut *queues;
    let Chunk { lane, generation, mut records } = chunk;
    let rest = records.split_off(arrived);
    let bytes: usize = records.iter().map(|(_, size)| size).sum();
    queues.records = queues.records.saturating_sub(records.len());
    queues.bytes = queues.bytes.saturating_sub(bytes);
    metrics::counter!(names::PUBLISHED).increment(u64::try_from(records.len()).unwrap_or(0));
    match queues.lanes.get_mut(&lane) {
        Some(queue) if queue.generation == generation => {
            queue.busy = false;
            if let Some((last, _)) = records.last() {
                queue.published = last.seq();
            }
            for record in rest.into_iter().rev() {
                queue.waiting.push_front(record);
            }
        }
        Some(_) | None => {
            // The partition was given up meanwhile; what is left of it is somebody else's to publish.
            let bytes: usize = rest.iter().map(|(_, size)| size).sum();
            queues.records = queues.records.saturating_sub(rest.len());
            queues.bytes = queues.bytes.saturating_sub(bytes);
        }
    }
    metrics::gauge!(names::PUBLISH_QUEUE).set(gauge(queues.records));
    shared.room.notify_waiters();
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and the queue is short")]
fn gauge(value: usize) -> f64 {
    value as f64
}
