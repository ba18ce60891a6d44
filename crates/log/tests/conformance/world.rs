//! Sets up a log for a scenario.

use std::{future::Future, time::Duration};

use plexus_log::{
    Entry, InputRoom, Log, Offset, Reader, StartAt,
    kafka::{self, KafkaConfig},
    memory::{self, MemoryConfig},
};
use plexus_proto::log::v1::InputRoomEvent;
use tokio::time::timeout;

/// Longest that anything expected may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A log with the topic `InputRoomEvent`.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) log: Log,
    kafka: Option<KafkaConfig>,
}

pub(crate) async fn in_memory() -> World {
    let log = memory::open(MemoryConfig::default());
    log.create_topic::<InputRoom>().await.unwrap();
    World { log, kafka: None }
}

/// Returns the broker that the tests share.
pub(crate) fn shared_broker() -> String {
    std::env::var("PLEXUS_TEST_KAFKA").expect("PLEXUS_TEST_KAFKA names a broker, such as 127.0.0.1:9092")
}

/// Returns a configuration with topics of its own.
pub(crate) fn config(brokers: String) -> KafkaConfig {
    KafkaConfig {
        brokers,
        topic_prefix: format!("test-{}-", uuid::Uuid::now_v7().simple()),
        replication: 1,
        append_timeout: Duration::from_secs(30),
        security: plexus_log::kafka::Security::default(),
    }
}

pub(crate) async fn on_kafka() -> World {
    World::at(config(shared_broker())).await
}

impl World {
    pub(crate) async fn at(config: KafkaConfig) -> Self {
        let log = soon("the broker answers", kafka::open(config.clone())).await.unwrap();
        soon("the topic is made", log.create_topic::<InputRoom>()).await.unwrap();
        Self { log, kafka: Some(config) }
    }

    /// The same log as another process has it.
    pub(crate) async fn another(&self) -> Log {
        match &self.kafka {
            Some(config) => kafka::open(config.clone()).await.unwrap(),
            None => self.log.clone(),
        }
    }

    /// Deletes what the scenario made on a shared broker.
    pub(crate) async fn remove(self) {
        if let Some(config) = &self.kafka {
            crate::broker::delete_topic(config).await;
        }
    }

    pub(crate) async fn append(&self, room: &str, number: u64) -> (u32, Offset) {
        soon("an append", self.log.append::<InputRoom>(&record(room, number))).await.unwrap()
    }

    pub(crate) async fn reader_at(&self, partition: u32, start: StartAt) -> Reader<InputRoom> {
        let mut reader = self.log.reader::<InputRoom>().unwrap();
        soon("an assignment", reader.assign(partition, start)).await.unwrap();
        reader
    }
}

/// A record that carries a number.
pub(crate) fn record(room: &str, number: u64) -> InputRoomEvent {
    InputRoomEvent {
        version: 1,
        input_id: number.to_be_bytes().to_vec().into(),
        room_id: room.to_owned(),
        ..InputRoomEvent::default()
    }
}

pub(crate) fn number_of(entry: &Entry<InputRoomEvent>) -> u64 {
    let record = entry.record.as_ref().expect("a whole record");
    u64::from_be_bytes(record.input_id.as_ref().try_into().unwrap())
}

/// Reads until there are so many records.
pub(crate) async fn read(reader: &mut Reader<InputRoom>, count: usize) -> Vec<Entry<InputRoomEvent>> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let batch = timeout(PATIENCE, reader.next_batch(count - entries.len())).await;
        let batch = batch.unwrap_or_else(|_| panic!("{} of {count} records came", entries.len())).unwrap();
        assert!(!batch.is_empty(), "a batch has a record");
        entries.extend(batch);
    }
    entries
}

pub(crate) async fn read_numbers(reader: &mut Reader<InputRoom>, count: usize) -> Vec<u64> {
    read(reader, count).await.iter().map(number_of).collect()
}

/// Makes sure that nothing comes.
pub(crate) async fn stays_silent(reader: &mut Reader<InputRoom>) {
    let came = timeout(Duration::from_millis(300), reader.next_batch(10)).await;
    assert!(came.is_err(), "nothing comes, but {came:?} did");
}

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen in time"))
}

/// Returns a room of each of so many different partitions.
pub(crate) fn rooms(count: usize) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    (0..)
        .map(|number| format!("!room{number}:example.org"))
        .filter(|room| seen.insert(plexus_log::partition_of(room)))
        .take(count)
        .collect()
}
