//! Reading partitions from explicit positions.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures::FutureExt as _;
use metrics::counter;
use rdkafka::{
    TopicPartitionList,
    config::ClientConfig,
    consumer::{Consumer as _, StreamConsumer},
    error::{KafkaError, KafkaResult},
    message::{BorrowedMessage, Headers as _, Message as _},
};
use tokio::time::sleep;

use super::{RETRY, Shared, broker_error, client, client::Context, offset_of, partition_number};
use crate::{BackendReader, LogError, Offset, RawEntry, RawRecord, StartAt, TopicSpec, metrics as names};

/// Bytes after which a batch is not added to.
const BATCH_BYTES: usize = 8 << 20;

type Client = StreamConsumer<Context>;

pub(super) struct KafkaReader {
    shared: Arc<Shared>,
    label: &'static str,
    topic: String,
    config: ClientConfig,
    /// Empty only while the reader is dropped.
    client: Option<Client>,
    positions: HashMap<u32, Position>,
    /// Partitions that sent another offset than the one that was due.
    suspects: Vec<u32>,
    /// A bit for each partition that this reader was ever assigned.
    read_before: u64,
    broken: bool,
}

/// Where we are in a partition.
#[derive(Debug, Clone, Copy)]
struct Position {
    /// Offset that is due.
    next: Offset,
    /// Whether a later one may come: `next` was asked for before, or the oldest was, whichever it is.
    hole: bool,
}

/// What a message turned out to be.
enum Seen {
    Due(RawEntry),
    /// Of a partition that is not read, or is being looked into.
    Stale,
    Unexpected(u32),
}

impl KafkaReader {
    pub(super) fn open(shared: &Arc<Shared>, topic: TopicSpec) -> Result<Self, LogError> {
        // The group is never joined: librdkafka only wants a name for it.
        let mut config = client::consumer(&shared.config, "plexus-reader");
        config
            .set("max.poll.interval.ms", "86400000")
            .set("auto.offset.reset", "earliest")
            // A record is sent as soon as it is there. A request for others that is under way holds up a new
            // partition for this long.
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.error.backoff.ms", "100")
            .set("fetch.queue.backoff.ms", "10")
            // What is fetched ahead of the reader.
            .set("queued.max.messages.kbytes", "16384")
            .set("queued.min.messages", "10000");
        let client = create(&config)?;
        Ok(Self {
            shared: Arc::clone(shared),
            label: topic.name,
            topic: shared.topic_name(topic),
            config,
            client: Some(client),
            positions: HashMap::new(),
            suspects: Vec::new(),
            read_before: 0,
            broken: false,
        })
    }

    fn was_read(&self, partition: u32) -> bool {
        self.read_before & 1_u64.checked_shl(partition).unwrap_or(0) != 0
    }

    fn client(&self) -> Result<&Client, LogError> {
        self.client.as_ref().ok_or(LogError::Closed)
    }

    fn list(&self, partition: u32, offset: rdkafka::Offset) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.topic, partition_number(partition)?, offset)
            .map_err(|error| broker_error(&error))?;
        Ok(list)
    }

    /// Makes the client read from a position. One by one: a new assignment of all would start the others again.
    fn start(&mut self, partition: u32, position: Position) -> Result<(), LogError> {
        self.stop(partition)?;
        let offset = i64::try_from(position.next).unwrap_or(i64::MAX);
        let list = self.list(partition, rdkafka::Offset::Offset(offset))?;
        self.client()?.incremental_assign(&list).map_err(|error| broker_error(&error))?;
        self.positions.insert(partition, position);
        self.read_before |= 1_u64.checked_shl(partition).unwrap_or(0);
        Ok(())
    }

    fn stop(&mut self, partition: u32) -> Result<(), LogError> {
        self.suspects.retain(|suspect| *suspect != partition);
        if self.positions.remove(&partition).is_some() {
            let list = self.list(partition, rdkafka::Offset::Invalid)?;
            self.client()?.incremental_unassign(&list).map_err(|error| broker_error(&error))?;
        }
        Ok(())
    }

    /// Checks a message against the position of its partition, and moves that on.
    fn accept(&mut self, entry: RawEntry) -> Seen {
        let Some(position) = self.positions.get_mut(&entry.partition) else { return Seen::Stale };
        if self.suspects.contains(&entry.partition) {
            return Seen::Stale;
        }
        if entry.offset == position.next || (entry.offset > position.next && position.hole) {
            *position = Position { next: entry.offset + 1, hole: false };
            return Seen::Due(entry);
        }
        Seen::Unexpected(entry.partition)
    }

    /// Finds out where to go on in a partition that sent something unexpected.
    ///
    /// Either what was due is gone (retention; a topic deleted and made again): then we go on at the oldest record.
    /// Or the message was a left-over of an earlier assignment: then we ask again for what is due.
    async fn look_into(&mut self, partition: u32) -> Result<(), LogError> {
        let Some(Position { next, .. }) = self.positions.get(&partition).copied() else {
            self.suspects.retain(|suspect| *suspect != partition);
            return Ok(());
        };
        let marks = match self.shared.watermarks(&self.topic, partition).await {
            Ok(marks) => marks,
            Err(LogError::Closed) => return Err(LogError::Closed),
            Err(error) => {
                tracing::debug!(error = %error, topic = self.label, partition, "cannot look into a partition yet");
                sleep(RETRY).await;
                return Ok(());
            }
        };
        let position = if (marks.low..=marks.high).contains(&next) {
            Position { next, hole: true }
        } else {
            counter!(names::POSITIONS_LOST, "topic" => self.label).increment(1);
            tracing::warn!(
                topic = self.label,
                partition,
                position = next,
                oldest = marks.low,
                "position is gone, reading on from the oldest record"
            );
            Position { next: marks.low, hole: false }
        };
        tracing::debug!(topic = self.label, partition, ?position, "reading on after an unexpected offset");
        if let Err(error) = self.start(partition, position) {
            tracing::warn!(error = %error, topic = self.label, partition, "cannot read on, opening another client");
            self.positions.insert(partition, position);
            self.broken = true;
        }
        Ok(())
    }

    /// Opens another client in the place of a broken one, at the same positions.
    fn reopen(&mut self) -> Result<(), LogError> {
        let fresh = create(&self.config)?;
        dispose(self.client.replace(fresh));
        self.suspects.clear();
        let mut list = TopicPartitionList::with_capacity(self.positions.len());
        for (partition, position) in &self.positions {
            let offset = rdkafka::Offset::Offset(i64::try_from(position.next).unwrap_or(i64::MAX));
            list.add_partition_offset(&self.topic, partition_number(*partition)?, offset)
                .map_err(|error| broker_error(&error))?;
        }
        self.client()?.assign(&list).map_err(|error| broker_error(&error))?;
        self.broken = false;
        Ok(())
    }

    fn failed(&mut self, error: &KafkaError) {
        counter!(names::READ_ERRORS, "topic" => self.label).increment(1);
        if let KafkaError::MessageConsumptionFatal(code) = error {
            tracing::warn!(error = %code, topic = self.label, "reader is broken, opening another");
            self.broken = true;
        } else {
            tracing::debug!(error = %error, topic = self.label, "reader met an error");
        }
    }

    /// Adds what a client returned to a batch.
    fn take(&mut self, received: KafkaResult<RawEntry>, batch: &mut Vec<RawEntry>, bytes: &mut usize) {
        match received {
            Ok(entry) => match self.accept(entry) {
                Seen::Due(entry) => {
                    *bytes += entry.record.payload.len();
                    batch.push(entry);
                }
                Seen::Stale => {}
                Seen::Unexpected(partition) => self.suspects.push(partition),
            },
            Err(error) => self.failed(&error),
        }
    }
}

#[async_trait::async_trait]
impl BackendReader for KafkaReader {
    async fn assign(&mut self, partition: u32, start: StartAt) -> Result<(), LogError> {
        self.shared.check_open()?;
        // Always a number: only so can the first message be checked.
        let position = match start {
            StartAt::Offset(next) => Position { next, hole: false },
            // Whatever comes first is the oldest, unless left-overs of an earlier assignment may come.
            StartAt::Oldest if !self.was_read(partition) => Position { next: 0, hole: true },
            StartAt::Oldest => {
                Position { next: self.shared.watermarks(&self.topic, partition).await?.low, hole: false }
            }
            StartAt::End => {
                Position { next: self.shared.watermarks(&self.topic, partition).await?.high, hole: false }
            }
        };
        self.start(partition, position)
    }

    async fn unassign(&mut self, partition: u32) -> Result<(), LogError> {
        self.stop(partition)
    }

    async fn next_batch(&mut self, max: usize) -> Result<Vec<RawEntry>, LogError> {
        let stopping = self.shared.stopping.clone();
        loop {
            self.shared.check_open()?;
            if self.broken {
                self.reopen()?;
            }
            if let Some(partition) = self.suspects.last().copied() {
                self.look_into(partition).await?;
                continue;
            }
            let client = self.client()?;
            let first = tokio::select! {
                biased;
                () = stopping.cancelled() => return Err(LogError::Closed),
                first = client.recv() => first.map(|message| entry_of(&message)),
            };
            // From here to the return nothing waits: a call dropped while it waits has taken nothing.
            let (mut batch, mut bytes) = (Vec::new(), 0);
            self.take(first, &mut batch, &mut bytes);
            while batch.len() < max.max(1) && bytes < BATCH_BYTES && !self.broken {
                let Some(more) = self.client()?.recv().now_or_never() else { break };
                let more = more.map(|message| entry_of(&message));
                self.take(more, &mut batch, &mut bytes);
            }
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        dispose(self.client.take());
    }
}

fn create(config: &ClientConfig) -> Result<Client, LogError> {
    // The client spawns a task.
    tokio::runtime::Handle::try_current().map_err(|error| LogError::Broker { message: error.to_string() })?;
    config.create_with_context(Context).map_err(|error| broker_error(&error))
}

/// Closes a client where its waiting for its threads holds up nobody.
fn dispose(client: Option<Client>) {
    if let (Some(client), Ok(runtime)) = (client, tokio::runtime::Handle::try_current()) {
        runtime.spawn_blocking(move || drop(client));
    }
}

/// Copies a message out of the client.
fn entry_of(message: &BorrowedMessage<'_>) -> RawEntry {
    let copy = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice).unwrap_or_default();
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), copy(header.value))).collect()
    });
    RawEntry {
        partition: u32::try_from(message.partition()).unwrap_or(u32::MAX),
        offset: offset_of(message.offset()),
        record: RawRecord { key: copy(message.key()), headers, payload: copy(message.payload()) },
    }
}
