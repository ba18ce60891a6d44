//! Appending.

use std::time::Duration;

use metrics::{counter, histogram};
use parking_lot::RwLock;
use rdkafka::{
    config::ClientConfig,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{KafkaConfig, broker_error, client, client::Context};
use crate::{LogError, Offset, RawRecord, metrics as names};

/// Time between two looks at a full queue.
const QUEUE_FULL: Duration = Duration::from_millis(5);

/// How long after librdkafka's own time-out we stop to wait for its answer.
const GRACE: Duration = Duration::from_millis(500);

type Client = FutureProducer<Context>;

pub(super) struct Producer {
    config: ClientConfig,
    append_timeout: Duration,
    /// Replaced after a fatal error; librdkafka's idempotent producers can have one, and stay broken then.
    client: RwLock<Client>,
}

impl Producer {
    pub(super) fn open(kafka: &KafkaConfig) -> Result<Self, LogError> {
        let mut config = client::base(kafka);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.max.bytes", "2097152")
            .set("message.timeout.ms", kafka.append_timeout.as_millis().max(1).to_string())
            .set("request.timeout.ms", "10000")
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "65536");
        let client = create(&config)?;
        Ok(Self { config, append_timeout: kafka.append_timeout, client: RwLock::new(client) })
    }

    fn client(&self) -> Client {
        self.client.read().clone()
    }

    /// Asks the brokers something by a call that blocks.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Client) -> KafkaResult<T> + Send + 'static,
    ) -> KafkaResult<T> {
        let client = self.client();
        tokio::task::spawn_blocking(move || question(&client)).await.unwrap_or(Err(KafkaError::Canceled))
    }

    pub(super) async fn append(
        &self,
        label: &'static str,
        topic: &str,
        partition: i32,
        record: RawRecord,
    ) -> Result<Offset, LogError> {
        let start = Instant::now();
        let result = self.append_until(start + self.append_timeout, label, topic, partition, &record).await;
        match &result {
            Ok(_) => histogram!(names::APPEND_DURATION, "topic" => label).record(start.elapsed()),
            Err(error) => {
                let reason = if matches!(error, LogError::TimedOut) { "timed_out" } else { "broker" };
                counter!(names::APPEND_FAILURES, "topic" => label, "reason" => reason).increment(1);
            }
        }
        result
    }

    async fn append_until(
        &self,
        deadline: Instant,
        label: &'static str,
        topic: &str,
        partition: i32,
        record: &RawRecord,
    ) -> Result<Offset, LogError> {
        loop {
            let client = self.client();
            let sent = send(&client, label, topic, partition, record);
            let error = match timeout_at(deadline + GRACE, sent).await {
                Ok(Ok(Some(offset))) => return Ok(offset),
                Ok(Ok(None)) => {
                    counter!(names::APPENDS_UNPLACED, "topic" => label).increment(1);
                    if Instant::now() < deadline {
                        continue;
                    }
                    return Err(LogError::TimedOut);
                }
                Ok(Err(error)) => error,
                Err(_) => return Err(LogError::TimedOut),
            };
            if let Some((code, reason)) = client.client().fatal_error() {
                // The record may have arrived all the same; readers know repeats by its ID.
                self.replace(&client, code, &reason)?;
                if Instant::now() < deadline {
                    continue;
                }
                return Err(LogError::TimedOut);
            }
            return Err(match error {
                KafkaError::MessageProduction(
                    RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::QueueFull,
                ) => LogError::TimedOut,
                error => broker_error(&error),
            });
        }
    }

    /// Puts a new client in the place of a broken one, unless somebody has.
    fn replace(&self, broken: &Client, code: RDKafkaErrorCode, reason: &str) -> Result<(), LogError> {
        let mut current = self.client.write();
        if std::ptr::eq(current.client().native_ptr(), broken.client().native_ptr()) {
            tracing::warn!(error = %code, reason, "producer is broken, opening another");
            *current = create(&self.config)?;
        }
        Ok(())
    }

    /// Waits until everything under way has been acknowledged or has failed.
    pub(super) async fn flush(&self, limit: Duration) {
        if let Err(error) = self.ask(move |client| client.flush(limit)).await {
            tracing::warn!(error = %error, "not all records were acknowledged before the end");
        }
    }
}

fn create(config: &ClientConfig) -> Result<Client, LogError> {
    config.create_with_context(Context).map_err(|error| broker_error(&error))
}

/// Sends a record once. Returns its offset, or `None` if the brokers will not say where it is.
///
/// That is what librdkafka makes of `DUPLICATE_SEQUENCE_NUMBER`: it takes the record for one that has arrived before.
/// But the brokers say the same of the first record of a new topic, if they refused it because they were not ready and
/// took the one that was sent right behind it. Then it is nowhere. So only a record with a place counts as appended;
/// readers know repeats by their IDs.
async fn send(
    client: &Client,
    label: &'static str,
    topic: &str,
    partition: i32,
    record: &RawRecord,
) -> KafkaResult<Option<Offset>> {
    let mut message = FutureRecord::to(topic)
        .partition(partition)
        .key(record.key.as_ref())
        .payload(record.payload.as_ref());
    if !record.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        message = message.headers(record.headers.iter().fold(headers, |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_ref()) })
        }));
    }
    let mut waited = false;
    let delivery = loop {
        match client.send_result(message) {
            Ok(delivery) => break delivery,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => message = back,
            Err((error, _)) => return Err(error),
        }
        if !waited {
            counter!(names::APPENDS_WAITED, "topic" => label).increment(1);
            waited = true;
        }
        sleep(QUEUE_FULL).await;
    };
    match delivery.await {
        Ok(Ok(delivered)) => Ok(Offset::try_from(delivered.offset).ok()),
        Ok(Err((error, _))) => Err(error),
        Err(_) => Err(KafkaError::Canceled),
    }
}
