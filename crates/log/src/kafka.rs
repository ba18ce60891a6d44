//! The logs on Redpanda or Apache Kafka.

use std::time::Duration;

use crate::{Log, LogError};

/// How to reach the brokers.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// Bootstrap brokers, `host:port`, separated by commas.
    pub brokers: String,
    /// Put before every topic and group name; empty for none. Lets several servers share a broker.
    pub topic_prefix: String,
    /// Replicas of a topic that is created.
    pub replication: i32,
    /// How long an append waits for its acknowledgement.
    pub append_timeout: Duration,
}

/// Connects to the brokers; waits for them while they are away. Does not create topics.
pub async fn open(_config: KafkaConfig) -> Result<Log, LogError> {
    unimplemented!()
}
