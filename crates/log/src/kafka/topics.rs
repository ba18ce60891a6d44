//! Creating topics.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    error::RDKafkaErrorCode,
    producer::Producer as _,
};
use tokio::time::{Instant, sleep};

use super::{REQUEST, RETRY, Shared, broker_error, client, client::Context};
use crate::{LogError, MAX_ENVELOPE_BYTES, MAX_RECORD_BYTES, PARTITIONS, TopicSpec};

/// How long to go on trying: brokers that have just started refuse for a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a broker counts to the size of a record beside payload, key and headers.
const FRAMING: usize = 4096;

/// Creates the topics that do not exist and waits until all their partitions can be written to.
pub(super) async fn create(shared: &Shared, topics: &[TopicSpec]) -> Result<(), LogError> {
    let admin: AdminClient<Context> =
        client::base(&shared.config).create_with_context(Context).map_err(|error| broker_error(&error))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        shared.check_open()?;
        let result = match try_create(shared, &admin, topics).await {
            Ok(()) => ready(shared, topics).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) => tracing::debug!(error = %error, "topics are not ready yet"),
        }
        sleep(RETRY).await;
    }
}

async fn try_create(
    shared: &Shared,
    admin: &AdminClient<Context>,
    topics: &[TopicSpec],
) -> Result<(), LogError> {
    let partitions = i32::try_from(PARTITIONS).unwrap_or(i32::MAX);
    let replication = if shared.config.replication > 0 { shared.config.replication } else { -1 };
    let max_bytes = (MAX_RECORD_BYTES + MAX_ENVELOPE_BYTES + FRAMING).to_string();
    let named: Vec<(String, String)> = topics
        .iter()
        .map(|topic| (shared.topic_name(*topic), topic.retention.as_millis().to_string()))
        .collect();
    let wanted: Vec<NewTopic<'_>> = named
        .iter()
        .map(|(name, retention)| {
            NewTopic::new(name, partitions, TopicReplication::Fixed(replication))
                .set("cleanup.policy", "delete")
                .set("retention.ms", retention)
                .set("max.message.bytes", &max_bytes)
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
    let results = admin.create_topics(&wanted, &options).await.map_err(|error| broker_error(&error))?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(LogError::Broker { message: format!("cannot create topic {topic}: {code}") });
            }
        }
    }
    Ok(())
}

/// Checks that the topics have the partitions that keys are spread over, each with a leader.
async fn ready(shared: &Shared, topics: &[TopicSpec]) -> Result<(), LogError> {
    for topic in topics {
        let name = shared.topic_name(*topic);
        let asked = name.clone();
        let (count, led) = shared
            .producer
            .ask(move |client| {
                let metadata = client.client().fetch_metadata(Some(&asked), REQUEST)?;
                let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
                let led = partitions.iter().filter(|partition| partition.leader() >= 0).count();
                Ok((partitions.len(), led))
            })
            .await
            .map_err(|error| broker_error(&error))?;
        if count != PARTITIONS as usize || led != count {
            let message =
                format!("topic {name} has {count} partitions, {led} of them led, instead of {PARTITIONS}");
            return Err(LogError::Broker { message });
        }
    }
    Ok(())
}
