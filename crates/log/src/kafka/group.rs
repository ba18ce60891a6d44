//! Membership in a group: who owns which partition.
//!
//! A consumer of its own, on a thread of its own, that fetches nothing. Its partitions are paused as soon as they are
//! assigned; reading is done elsewhere, from positions that the group does not know.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use metrics::counter;
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::{ClientConfig, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult},
};
use tokio::sync::{
    mpsc,
    oneshot::{self, error::TryRecvError},
};
use tokio_util::sync::CancellationToken;

use super::{RETRY, Shared, broker_error, client};
use crate::{LogError, OwnershipEvent, TopicSpec, metrics as names};

/// How long a member may take to let go of partitions before the group goes on without its word.
const DRAIN: Duration = Duration::from_secs(5);

/// Events a member may leave unread.
const EVENTS: usize = 64;

/// Time between two looks at what we wait for.
const TICK: Duration = Duration::from_millis(5);

/// Time between two looks at whether to stop.
const POLL: Duration = Duration::from_millis(100);

pub(super) fn join(
    shared: &Arc<Shared>,
    topic: TopicSpec,
    group: &str,
    alive: mpsc::Sender<()>,
) -> Result<mpsc::Receiver<OwnershipEvent>, LogError> {
    let (events, receiver) = mpsc::channel(EVENTS);
    let mut config = client::consumer(&shared.config, group);
    config
        .set("partition.assignment.strategy", "cooperative-sticky")
        // A member that was killed is missed after 6 s; the others hear of it with their next heartbeat.
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "1500")
        // Also how long the group waits for a member that disappears in the middle of a rebalance.
        .set("max.poll.interval.ms", "10000")
        // No position is ever looked up but the end, and hardly a byte fetched before the pause.
        .set("auto.offset.reset", "latest")
        .set("queued.min.messages", "1")
        .set("fetch.message.max.bytes", "1024");
    let member = Member {
        label: topic.name,
        topic: shared.topic_name(topic),
        events,
        stopping: shared.stopping.clone(),
    };
    // Here, so that a bad configuration is the caller's to know.
    let consumer = member.subscribe(&config).map_err(|error| broker_error(&error))?;
    thread::Builder::new()
        .name("plexus-log-group".to_owned())
        .spawn(move || {
            member.run(&config, consumer);
            drop(alive);
        })
        .map_err(|error| LogError::Broker { message: error.to_string() })?;
    Ok(receiver)
}

/// One membership; the context of its consumer.
#[derive(Clone)]
struct Member {
    label: &'static str,
    topic: String,
    events: mpsc::Sender<OwnershipEvent>,
    stopping: CancellationToken,
}

impl Member {
    fn subscribe(&self, config: &ClientConfig) -> KafkaResult<BaseConsumer<Self>> {
        let consumer: BaseConsumer<Self> = config.create_with_context(self.clone())?;
        consumer.subscribe(&[&self.topic])?;
        Ok(consumer)
    }

    fn over(&self) -> bool {
        self.stopping.is_cancelled() || self.events.is_closed()
    }

    /// Serves the membership until the log is closed or nobody listens. Leaves the group on return.
    fn run(&self, config: &ClientConfig, mut consumer: BaseConsumer<Self>) {
        while !self.over() {
            match consumer.poll(POLL) {
                None | Some(Ok(_)) => {}
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    tracing::warn!(error = %code, topic = self.label, "group member is broken, joining again");
                    match self.subscribe(config) {
                        Ok(fresh) => consumer = fresh,
                        Err(error) => tracing::warn!(error = %error, "cannot join the group"),
                    }
                    thread::sleep(RETRY);
                }
                Some(Err(error)) => {
                    tracing::debug!(error = %error, topic = self.label, "group member failed")
                }
            }
        }
    }

    /// Hands an event over; gives up at the deadline, if there is one, or when nobody listens.
    fn tell(&self, mut event: OwnershipEvent, deadline: Option<Instant>) {
        loop {
            event = match self.events.try_send(event) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
                Err(mpsc::error::TrySendError::Full(event)) => event,
            };
            if self.over() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return;
            }
            thread::sleep(TICK);
        }
    }

    fn gained(&self, partitions: Vec<u32>) {
        if self.over() {
            return;
        }
        tracing::debug!(topic = self.label, ?partitions, "gained partitions");
        counter!(names::REBALANCES, "topic" => self.label, "change" => "gained").increment(1);
        self.tell(OwnershipEvent::Gained(partitions), None);
    }

    fn expired(&self, partitions: Vec<u32>) {
        if partitions.is_empty() || self.over() {
            return;
        }
        tracing::debug!(topic = self.label, ?partitions, "membership expired");
        counter!(names::REBALANCES, "topic" => self.label, "change" => "expired").increment(1);
        self.tell(OwnershipEvent::Expired(partitions), None);
    }

    fn lost(&self, partitions: Vec<u32>) {
        // Whoever closes the log or goes away has drained before.
        if partitions.is_empty() || self.over() {
            return;
        }
        tracing::debug!(topic = self.label, ?partitions, "losing partitions");
        counter!(names::REBALANCES, "topic" => self.label, "change" => "lost").increment(1);
        let deadline = Instant::now() + DRAIN;
        let (done, mut drained) = oneshot::channel();
        self.tell(OwnershipEvent::Lost { partitions, done }, Some(deadline));
        // The client's own threads go on sending heartbeats meanwhile.
        while matches!(drained.try_recv(), Err(TryRecvError::Empty)) && !self.over() {
            if Instant::now() >= deadline {
                tracing::warn!(topic = self.label, "partitions were not drained in time");
                return;
            }
            thread::sleep(TICK);
        }
    }

    fn partitions(&self, list: &TopicPartitionList) -> Vec<u32> {
        list.elements_for_topic(&self.topic)
            .iter()
            .filter_map(|element| u32::try_from(element.partition()).ok())
            .collect()
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::failed(&error, reason);
    }
}

impl ConsumerContext for Member {
    /// Called before the client lets go of partitions: the group waits for our return.
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(list) if consumer.assignment_lost() => self.expired(self.partitions(list)),
            Rebalance::Revoke(list) => self.lost(self.partitions(list)),
            Rebalance::Assign(_) | Rebalance::Error(_) => {}
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                if let Err(error) = consumer.pause(list) {
                    // It costs bytes, not correctness: what it fetches is thrown away.
                    tracing::warn!(error = %error, "cannot pause partitions");
                }
                self.gained(self.partitions(list));
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => {
                tracing::warn!(error = %error, topic = self.label, "rebalance failed");
            }
        }
    }
}
