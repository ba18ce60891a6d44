//! The event logs: typed topics, records, producers and readers.
//!
//! One small interface with two implementations: [`kafka`] (Redpanda or Apache Kafka, through `rdkafka`) and [`memory`]
//! (inside one process, for `standalone` and tests). One conformance suite runs on both.
//! It knows what a topic is and how its records are encoded; it knows nothing of rooms, users or Postgres.
//!
//! What callers may rely on:
//! - [`Log::append`] returns after the record is durable in the log (acknowledged by all in-sync replicas), with its
//!   position. A failed append may still have happened: writers give their records an ID and readers are idempotent.
//! - A [`Reader`] yields the records of each assigned partition in order of offset, from the position asked.
//! - [`Ownership`] tells which partitions this process owns within its group. It is a hint for who should work, not a
//!   lock: whoever works must fence its writes.

mod entry;
pub mod kafka;
pub mod memory;
pub mod metrics;
mod partition;
mod topic;

use std::{marker::PhantomData, sync::Arc};

use bytes::Bytes;

pub use entry::{Entry, Headers, Offset};
pub use partition::{PARTITIONS, partition_of};
pub use topic::{
    ALL_TOPICS, Ephemeral, InputRoom, InputRoomBulk, InputUser, OutputRoom, OutputUser, Topic, TopicSpec,
};

/// A handle on the logs; cheap to clone.
#[derive(Clone)]
pub struct Log {
    backend: Arc<dyn Backend>,
}

/// Where a reader starts in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At this offset; if it no longer exists, at the oldest one that does. In a topic that was deleted and made again
    /// (or in another process, for [`memory`]) the same offset is another record: who keeps offsets compares them with
    /// [`Log::watermarks`] before it writes anything there.
    Offset(Offset),
    /// At the oldest record.
    Oldest,
    /// After the newest record at the time of the call.
    End,
}

/// Offsets of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Offset of the oldest record that still exists.
    pub low: Offset,
    /// Offset that the next record will get.
    pub high: Offset,
}

/// A record to append, as the implementations see it.
#[derive(Debug, Clone)]
pub struct RawRecord {
    /// Key.
    pub key: Bytes,
    /// Headers.
    pub headers: Headers,
    /// Encoded record.
    pub payload: Bytes,
}

/// Largest payload of a record in bytes; larger ones are refused by [`Log::append`].
pub const MAX_RECORD_BYTES: usize = 1024 * 1024 - 4096;

/// Largest key and headers of a record in bytes, together.
pub const MAX_ENVELOPE_BYTES: usize = 2048;

/// Why a log could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The record exceeds [`MAX_RECORD_BYTES`]. It will never fit.
    #[error("record of {size} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Size of the payload in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The log did not take the record in time; it may still arrive there.
    #[error("log did not acknowledge in time")]
    TimedOut,
    /// The log is closed: the process is shutting down.
    #[error("log is closed")]
    Closed,
    /// The broker refused or failed.
    #[error("broker failed: {message}")]
    Broker {
        /// What it said.
        message: String,
    },
}

/// A change of what this process owns within its group.
#[derive(Debug)]
pub enum OwnershipEvent {
    /// These partitions are ours now. It may be an empty list: then the group has heard of us and has nothing new.
    Gained(Vec<u32>),
    /// The group has not heard from us for so long that our membership has expired, most likely because the brokers
    /// are away. Nobody may have taken these partitions over; what the group gives us next tells. Whoever has a fence
    /// may go on until then.
    Expired(Vec<u32>),
    /// These partitions are to be given up: drain them, commit, then drop (or complete) the receipt.
    /// The group waits for it for a bounded time, after which another member may own them.
    Lost {
        /// The partitions.
        partitions: Vec<u32>,
        /// Dropped when the partitions have been let go.
        done: tokio::sync::oneshot::Sender<()>,
    },
}

/// The interface that both implementations fill in, on raw bytes. Use [`Log`].
#[async_trait::async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Creates the topics that do not exist, with [`PARTITIONS`] partitions and their retention.
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), LogError>;
    /// Appends a record; returns its offset once it is acknowledged. Waits while the log is full or away, at most
    /// until the configured time-out.
    async fn append(&self, topic: TopicSpec, partition: u32, record: RawRecord) -> Result<Offset, LogError>;
    /// Tells the offsets of a partition.
    async fn watermarks(&self, topic: TopicSpec, partition: u32) -> Result<Watermarks, LogError>;
    /// Opens a reader without partitions.
    fn reader(&self, topic: TopicSpec) -> Result<Box<dyn BackendReader>, LogError>;
    /// Joins a group that shares the partitions of a topic; events come by the receiver, until it is dropped.
    fn join_group(
        &self,
        topic: TopicSpec,
        group: &str,
    ) -> Result<tokio::sync::mpsc::Receiver<OwnershipEvent>, LogError>;
    /// Flushes what is under way and stops; later calls fail with [`LogError::Closed`].
    async fn close(&self);
}

/// A record as read by an implementation.
#[derive(Debug, Clone)]
pub struct RawEntry {
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: Offset,
    /// The record.
    pub record: RawRecord,
}

/// The reading half of [`Backend`].
#[async_trait::async_trait]
pub trait BackendReader: Send {
    /// Starts reading a partition; replaces its position if it is being read already.
    async fn assign(&mut self, partition: u32, start: StartAt) -> Result<(), LogError>;
    /// Stops reading a partition. Records of it that were not yet returned are dropped.
    async fn unassign(&mut self, partition: u32) -> Result<(), LogError>;
    /// Returns the records at hand, at most `max`; waits until there is at least one. Never waits to fill a batch.
    /// Cancel-safe: a dropped call loses no record. A broker that is away is waited for.
    async fn next_batch(&mut self, max: usize) -> Result<Vec<RawEntry>, LogError>;
}

impl Log {
    /// Wraps an implementation.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// Creates all topics that do not exist.
    pub async fn create_topics(&self) -> Result<(), LogError> {
        self.backend.create_topics(&ALL_TOPICS).await
    }

    /// Creates one topic, if it does not exist.
    pub async fn create_topic<T: Topic>(&self) -> Result<(), LogError> {
        self.backend.create_topics(&[T::SPEC]).await
    }

    /// Appends a record to the partition of its key. Returns (partition, offset) once the log has acknowledged it.
    pub async fn append<T: Topic>(&self, record: &T::Record) -> Result<(u32, Offset), LogError> {
        self.append_with_headers::<T>(record, Vec::new()).await
    }

    /// Like [`Log::append`], with headers.
    pub async fn append_with_headers<T: Topic>(
        &self,
        record: &T::Record,
        headers: Headers,
    ) -> Result<(u32, Offset), LogError> {
        let size = prost::Message::encoded_len(record);
        if size > MAX_RECORD_BYTES {
            return Err(LogError::TooLarge { size, limit: MAX_RECORD_BYTES });
        }
        let key = T::key(record);
        let payload = Bytes::from(prost::Message::encode_to_vec(record));
        let partition = partition_of(key);
        let raw = RawRecord { key: Bytes::copy_from_slice(key.as_bytes()), headers, payload };
        let offset = self.append_raw::<T>(partition, raw).await?;
        Ok((partition, offset))
    }

    /// Appends bytes as they are: for replaying dead letters and for tests of poisoned records.
    pub async fn append_raw<T: Topic>(&self, partition: u32, record: RawRecord) -> Result<Offset, LogError> {
        let size = record.payload.len();
        if size > MAX_RECORD_BYTES {
            return Err(LogError::TooLarge { size, limit: MAX_RECORD_BYTES });
        }
        // Far above any ID or trace context; the brokers count these bytes with the payload's.
        let envelope = record.key.len() + entry::headers_size(&record.headers);
        if envelope > MAX_ENVELOPE_BYTES {
            return Err(LogError::TooLarge { size: envelope, limit: MAX_ENVELOPE_BYTES });
        }
        self.backend.append(T::SPEC, partition, record).await
    }

    /// Tells the offsets of a partition.
    pub async fn watermarks<T: Topic>(&self, partition: u32) -> Result<Watermarks, LogError> {
        self.backend.watermarks(T::SPEC, partition).await
    }

    /// Opens a reader, without partitions at first.
    pub fn reader<T: Topic>(&self) -> Result<Reader<T>, LogError> {
        Ok(Reader { inner: self.backend.reader(T::SPEC)?, _log: self.clone(), topic: PhantomData })
    }

    /// Joins the group that shares the partitions of a topic.
    pub fn join_group<T: Topic>(&self, group: &str) -> Result<Ownership, LogError> {
        Ok(Ownership { events: self.backend.join_group(T::SPEC, group)?, _log: self.clone() })
    }

    /// Flushes what is under way and stops.
    pub async fn close(&self) {
        self.backend.close().await;
    }
}

/// Reads the partitions of a topic from explicit positions.
pub struct Reader<T: Topic> {
    inner: Box<dyn BackendReader>,
    /// The log is open for as long as anybody uses it.
    _log: Log,
    topic: PhantomData<T>,
}

impl<T: Topic> Reader<T> {
    /// Starts reading a partition; replaces its position if it is being read already.
    pub async fn assign(&mut self, partition: u32, start: StartAt) -> Result<(), LogError> {
        self.inner.assign(partition, start).await
    }

    /// Stops reading a partition.
    pub async fn unassign(&mut self, partition: u32) -> Result<(), LogError> {
        self.inner.unassign(partition).await
    }

    /// Returns the records at hand, at most `max`; waits until there is at least one. Cancel-safe.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<Entry<T::Record>>, LogError> {
        let raw = self.inner.next_batch(max).await?;
        Ok(raw
            .into_iter()
            .map(|entry| Entry {
                partition: entry.partition,
                offset: entry.offset,
                record: prost::Message::decode(entry.record.payload.clone()),
                key: entry.record.key,
                headers: entry.record.headers,
                payload: entry.record.payload,
            })
            .collect())
    }
}

/// Which partitions this process owns within a group.
pub struct Ownership {
    events: tokio::sync::mpsc::Receiver<OwnershipEvent>,
    /// The log is open for as long as anybody uses it.
    _log: Log,
}

impl Ownership {
    /// Waits for the next change; `None` when the log is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<OwnershipEvent> {
        self.events.recv().await
    }
}
