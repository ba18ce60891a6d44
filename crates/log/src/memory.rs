//! The logs inside one process: a bounded buffer with back-pressure, not a durable queue.
//!
//! Each partition is a ring of records behind a short lock. While readers are attached to it, a record stays until all
//! of them have read it, and an append that finds the ring full waits for the slowest; without readers the oldest
//! records go. What has been read is kept for a while, as far as the memory allows, so that a partition which changes
//! hands can be read again from a position a little back.
//!
//! Offsets start at 0 in each process.

mod group;
mod partition;
mod reader;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::counter;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use self::{
    group::Group,
    partition::{Partition, Pushed},
    reader::{MemoryReader, Wake},
};
use crate::{
    Backend, BackendReader, Log, LogError, Offset, OwnershipEvent, PARTITIONS, RawRecord, TopicSpec,
    Watermarks, metrics as names,
};

/// How much a partition of an in-process topic may hold.
#[derive(Debug, Clone, Copy)]
pub struct MemoryConfig {
    /// Records a partition keeps before the oldest go, or, where a reader has yet to read them, before writers wait.
    pub records_per_partition: usize,
    /// How long an append waits for room, before it fails with [`LogError::TimedOut`].
    pub append_timeout: Duration,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { records_per_partition: 4096, append_timeout: Duration::from_secs(30) }
    }
}

/// Opens logs that live in this process.
pub fn open(config: MemoryConfig) -> Log {
    Log::new(Arc::new(MemoryLog {
        shared: Arc::new(Shared {
            records_per_partition: config.records_per_partition.max(1),
            bytes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            readers: Mutex::new(Vec::new()),
        }),
        append_timeout: config.append_timeout,
        topics: RwLock::new(HashMap::new()),
        groups: Mutex::new(HashMap::new()),
    }))
}

/// What partitions, readers and the log have in common.
struct Shared {
    records_per_partition: usize,
    /// Bytes in all partitions together.
    bytes: AtomicUsize,
    closed: AtomicBool,
    stopping: CancellationToken,
    readers: Mutex<Vec<Weak<Wake>>>,
}

impl Shared {
    fn check_open(&self) -> Result<(), LogError> {
        if self.closed.load(Ordering::Acquire) { Err(LogError::Closed) } else { Ok(()) }
    }
}

/// The partitions of a topic.
type TopicLog = Arc<[Partition]>;

struct MemoryLog {
    shared: Arc<Shared>,
    append_timeout: Duration,
    topics: RwLock<HashMap<&'static str, TopicLog>>,
    groups: Mutex<HashMap<(&'static str, String), Group>>,
}

impl MemoryLog {
    /// Topics come into being by their first use: there is nothing to decide about them.
    fn topic(&self, topic: TopicSpec) -> TopicLog {
        if let Some(found) = self.topics.read().get(topic.name) {
            return Arc::clone(found);
        }
        let mut topics = self.topics.write();
        let made = topics
            .entry(topic.name)
            .or_insert_with(|| (0..PARTITIONS).map(|index| Partition::new(index, &self.shared)).collect());
        Arc::clone(made)
    }
}

/// Returns a partition, or an error for a number that no topic has.
fn partition_at(topic: &TopicLog, partition: u32) -> Result<&Partition, LogError> {
    usize::try_from(partition)
        .ok()
        .and_then(|index| topic.get(index))
        .ok_or_else(|| LogError::Broker { message: format!("partition {partition} does not exist") })
}

#[async_trait::async_trait]
impl Backend for MemoryLog {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        self.shared.check_open()?;
        for topic in topics {
            self.topic(*topic);
        }
        Ok(())
    }

    async fn append(&self, topic: TopicSpec, partition: u32, record: RawRecord) -> Result<Offset, LogError> {
        let log = self.topic(topic);
        let partition = partition_at(&log, partition)?;
        self.shared.check_open()?;
        let record = match partition.push(record) {
            Pushed::At(offset) => return Ok(offset),
            Pushed::Full(record) => record,
        };
        counter!(names::APPENDS_WAITED, "topic" => topic.name).increment(1);
        match tokio::time::timeout(self.append_timeout, partition.push_when_free(record)).await {
            Ok(result) => result,
            Err(_) => {
                counter!(names::APPEND_FAILURES, "topic" => topic.name, "reason" => "timed_out").increment(1);
                Err(LogError::TimedOut)
            }
        }
    }

    async fn watermarks(&self, topic: TopicSpec, partition: u32) -> Result<Watermarks, LogError> {
        self.shared.check_open()?;
        Ok(partition_at(&self.topic(topic), partition)?.watermarks())
    }

    fn reader(&self, topic: TopicSpec) -> Result<Box<dyn BackendReader>, LogError> {
        self.shared.check_open()?;
        Ok(Box::new(MemoryReader::open(&self.shared, self.topic(topic))))
    }

    fn join_group(
        &self,
        topic: TopicSpec,
        group: &str,
    ) -> Result<tokio::sync::mpsc::Receiver<OwnershipEvent>, LogError> {
        self.shared.check_open()?;
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|error| LogError::Broker { message: error.to_string() })?;
        let mut groups = self.groups.lock();
        let group = groups
            .entry((topic.name, group.to_owned()))
            .or_insert_with(|| Group::start(&runtime, self.shared.stopping.clone()));
        Ok(group.join())
    }

    async fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.stopping.cancel();
        for topic in self.topics.read().values() {
            for partition in topic.iter() {
                partition.wake_writers();
            }
        }
        for reader in self.shared.readers.lock().drain(..) {
            if let Some(reader) = reader.upgrade() {
                reader.wake();
            }
        }
        self.groups.lock().clear();
    }
}

impl Drop for MemoryLog {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
    }
}
