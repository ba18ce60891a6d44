//! Acknowledges messages that devices have got: by commands to the room server, gathered for a while.
//!
//! One that is lost does no harm: what was delivered is told by the client's token, and what is acknowledged late is
//! deleted late.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use plexus_log::{InputUser, Log};
use plexus_proto::log::v1::{AckToDevice, InputUserEvent, input_user_event::Command};
use plexus_service::Shutdown;
use ruma::{OwnedDeviceId, OwnedUserId};
use uuid::Uuid;

use crate::{clock::now_ms, limits, metrics as names};

type Waiting = HashMap<(OwnedUserId, OwnedDeviceId), u64>;

/// What is to be acknowledged. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acks(Arc<Mutex<Waiting>>);

impl Acks {
    /// Has messages to a device up to this acknowledged.
    pub(crate) fn add(&self, user: OwnedUserId, device: OwnedDeviceId, upto: u64) {
        let mut waiting = self.0.lock();
        if waiting.len() >= limits::ACKS && !waiting.contains_key(&(user.clone(), device.clone())) {
            return;
        }
        let known = waiting.entry((user, device)).or_default();
        *known = (*known).max(upto);
    }

    /// Writes what waits, from time to time, until told to stop.
    pub(crate) async fn run(self, log: Log, shutdown: Shutdown) {
        let mut rounds = tokio::time::interval(limits::ACK_PAUSE);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stops = tokio::select! {
                () = shutdown.requested() => true,
                _ = rounds.tick() => false,
            };
            self.write(&log).await;
            if stops {
                return;
            }
        }
    }

    async fn write(&self, log: &Log) {
        let waiting = std::mem::take(&mut *self.0.lock());
        futures::stream::iter(waiting)
            .for_each_concurrent(limits::ACKS_AT_ONCE, |((user, device), upto)| async move {
                let command = AckToDevice { device_id: device.to_string(), seq: upto };
                let record = InputUserEvent {
                    version: 1,
                    input_id: Bytes::copy_from_slice(&Uuid::now_v7().into_bytes()),
                    user_id: user.to_string(),
                    produced_ts: now_ms(),
                    traceparent: String::new(),
                    command: Some(Command::AckToDevice(command)),
                };
                match log.append::<InputUser>(&record).await {
                    Ok(_) => metrics::counter!(names::ACKS).increment(1),
                    Err(failure) => {
                        tracing::debug!(error = %failure, "messages that have arrived stay for now");
                        self.add(user, device, upto);
                    }
                }
            })
            .await;
    }
}
