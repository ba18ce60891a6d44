//! The logs on Redpanda or Apache Kafka.
//!
//! Appends go through one idempotent producer that waits for all in-sync replicas. Readers are assigned by hand, at
//! explicit positions, and know nothing of groups; group membership is a consumer of its own that fetches nothing
//! and only tells who owns what. A broker that is away is waited for everywhere.

mod client;
mod group;
mod producer;
mod reader;
mod security;
mod topics;

use std::{sync::Arc, time::Duration};

use plexus_service::config::LogConfig;
use rdkafka::producer::Producer as _;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub use self::security::{KafkaConfigError, Sasl, Security};
use self::{producer::Producer, reader::KafkaReader};
use crate::{
    Backend, BackendReader, Log, LogError, Offset, OwnershipEvent, PARTITIONS, RawRecord, TopicSpec,
    Watermarks,
};

/// How to reach the brokers.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// Bootstrap brokers, `host:port`, separated by commas.
    pub brokers: String,
    /// Put before every topic and group name; empty for none. Lets several servers share a broker.
    pub topic_prefix: String,
    /// Replicas of a topic that is created; 0 for the broker's default.
    pub replication: i32,
    /// How long an append waits for its acknowledgement.
    pub append_timeout: Duration,
    /// TLS and SASL.
    pub security: Security,
}

impl KafkaConfig {
    /// Reads the configuration, which must name brokers, and the files that it names.
    pub fn new(config: &LogConfig, append_timeout: Duration) -> Result<Self, KafkaConfigError> {
        Ok(Self {
            brokers: config.required_brokers()?.to_owned(),
            topic_prefix: config.topic_prefix.clone(),
            replication: config.replication,
            append_timeout,
            security: Security::new(config)?,
        })
    }
}

/// How long a request that changes nothing may take before it is tried again.
const REQUEST: Duration = Duration::from_secs(5);

/// Time between two tries of such a request.
const RETRY: Duration = Duration::from_millis(200);

/// How long [`Log::close`] waits for records under way, and for members to leave their groups.
const FLUSH: Duration = Duration::from_secs(10);
const LEAVE: Duration = Duration::from_secs(5);

/// Connects to the brokers; waits for them while they are away. Does not create topics.
pub async fn open(config: KafkaConfig) -> Result<Log, LogError> {
    let producer = Producer::open(&config)?;
    let (members, left) = mpsc::channel(1);
    let shared = Arc::new(Shared { config, producer, stopping: CancellationToken::new() });
    shared.wait_for_brokers().await;
    Ok(Log::new(Arc::new(KafkaLog {
        shared,
        members: parking_lot::Mutex::new(Some(members)),
        left: tokio::sync::Mutex::new(left),
    })))
}

/// What the log and its readers have in common.
struct Shared {
    config: KafkaConfig,
    producer: Producer,
    stopping: CancellationToken,
}

struct KafkaLog {
    shared: Arc<Shared>,
    /// Held by every member of a group until it has left.
    members: parking_lot::Mutex<Option<mpsc::Sender<()>>>,
    left: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

impl Shared {
    fn topic_name(&self, topic: TopicSpec) -> String {
        format!("{}{}", self.config.topic_prefix, topic.name)
    }

    fn check_open(&self) -> Result<(), LogError> {
        if self.stopping.is_cancelled() { Err(LogError::Closed) } else { Ok(()) }
    }

    async fn wait_for_brokers(&self) {
        let mut tries = 0_u32;
        loop {
            let found = self
                .producer
                .ask(|producer| producer.client().fetch_metadata(None, REQUEST).map(|_| ()))
                .await;
            match found {
                Ok(()) => return,
                // The first try fails where broker and service start together.
                Err(error) if tries > 0 => tracing::warn!(error = %error, "waiting for the brokers"),
                Err(_) => {}
            }
            tries += 1;
            sleep(RETRY).await;
        }
    }

    /// Tells the offsets of a partition; waits for a broker that is away, at most as long as an append would.
    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        let number = partition_number(partition)?;
        let deadline = Instant::now() + self.config.append_timeout;
        loop {
            self.check_open()?;
            let name = topic.to_owned();
            let found = self
                .producer
                .ask(move |producer| producer.client().fetch_watermarks(&name, number, REQUEST))
                .await;
            match found {
                Ok((low, high)) => {
                    return Ok(Watermarks { low: offset_of(low), high: offset_of(high) });
                }
                Err(error) if Instant::now() >= deadline => {
                    return Err(LogError::Broker { message: error.to_string() });
                }
                Err(error) => tracing::debug!(error = %error, "asking again for watermarks"),
            }
            sleep(RETRY).await;
        }
    }
}

/// Returns the number of a partition as librdkafka wants it, or an error for one that no topic has.
fn partition_number(partition: u32) -> Result<i32, LogError> {
    match i32::try_from(partition) {
        Ok(number) if partition < PARTITIONS => Ok(number),
        _ => Err(LogError::Broker { message: format!("partition {partition} does not exist") }),
    }
}

/// Returns an offset that a broker sent; it never sends a negative one.
fn offset_of(offset: i64) -> Offset {
    Offset::try_from(offset).unwrap_or_default()
}

fn broker_error(error: &rdkafka::error::KafkaError) -> LogError {
    LogError::Broker { message: error.to_string() }
}

#[async_trait::async_trait]
impl Backend for KafkaLog {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        topics::create(&self.shared, topics).await
    }

    async fn append(&self, topic: TopicSpec, partition: u32, record: RawRecord) -> Result<Offset, LogError> {
        self.shared.check_open()?;
        let name = self.shared.topic_name(topic);
        self.shared.producer.append(topic.name, &name, partition_number(partition)?, record).await
    }

    async fn watermarks(&self, topic: TopicSpec, partition: u32) -> Result<Watermarks, LogError> {
        self.shared.watermarks(&self.shared.topic_name(topic), partition).await
    }

    fn reader(&self, topic: TopicSpec) -> Result<Box<dyn BackendReader>, LogError> {
        self.shared.check_open()?;
        Ok(Box::new(KafkaReader::open(&self.shared, topic)?))
    }

    fn join_group(&self, topic: TopicSpec, group: &str) -> Result<mpsc::Receiver<OwnershipEvent>, LogError> {
        self.shared.check_open()?;
        let Some(alive) = self.members.lock().clone() else { return Err(LogError::Closed) };
        group::join(&self.shared, topic, group, alive)
    }

    async fn close(&self) {
        self.shared.stopping.cancel();
        self.shared.producer.flush(FLUSH).await;
        self.members.lock().take();
        // Members that leave in good order save the others the wait for their sessions to expire.
        let mut left = self.left.lock().await;
        if timeout(LEAVE, left.recv()).await.is_err() {
            tracing::warn!("a group could not be left in time");
        }
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
    }
}
