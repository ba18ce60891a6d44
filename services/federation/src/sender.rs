//! Hands events on to other servers, each in order, and keeps what they have not taken.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#transactions)
//!
//! [`follow`] reads the logs and says who is to be sent what; [`hub`] holds one small [`destination`] for each server that
//! something is to be sent to, and starts an [`attempt`] when its time has come. A server that takes everything costs
//! nothing durable: the position in the log says that it has what lies before it. One that fails costs a timer, and the
//! names of the rooms in which it is behind; what it is to be sent is read from the room server when it is back.
//!
//! Servers are spread over shards, by name, and a shard belongs to one process at a time.

mod attempt;
mod backoff;
mod contacts;
mod destination;
mod edus;
mod follow;
mod hub;
mod metrics;
mod outbox;
mod outcome;
mod progress;
mod room_servers;
mod route;
mod transaction;
mod upstream;

use bytes::Bytes;
use plexus_log::{Log, PARTITIONS, partition_of};
use plexus_service::Shutdown;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, ServerName};
use tokio::sync::mpsc;

pub(crate) use contacts::Contacts;

use self::{follow::Follower, hub::Hub, upstream::Upstream};
use crate::Federation;

/// Partitions of a log, and shards of destinations.
const PARTITION_COUNT: usize = PARTITIONS as usize;
/// What waits between the follower and the hub.
const QUEUE: usize = 1_024;

/// Positions, one for each partition.
type Vector = [u64; PARTITION_COUNT];

/// An event to send.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pdu {
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
    partition: usize,
    seq: u64,
    json: Bytes,
}

/// Shards, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Shards(u64);

impl Shards {
    fn of(shards: impl IntoIterator<Item = u32>) -> Self {
        Self(shards.into_iter().filter(|shard| *shard < 64).fold(0, |bits, shard| bits | 1 << shard))
    }

    fn contains(self, shard: u32) -> bool {
        shard < 64 && self.0 & (1 << shard) != 0
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The shard of a server.
fn shard_of(server: &ServerName) -> u32 {
    partition_of(server.as_str())
}

/// The server of a user.
fn server_of(user_id: &str) -> Option<OwnedServerName> {
    let (_, server) = user_id.split_once(':')?;
    ServerName::parse(server).ok()
}

/// Starts the sender; it runs until shutdown.
pub(crate) fn start(federation: &Federation, log: Log, shutdown: &Shutdown) {
    metrics::describe();
    let upstream = Upstream::new(federation.rooms.clone());
    let (items, received) = mpsc::channel(QUEUE);
    let (commands, orders) = mpsc::unbounded_channel();
    let own = federation.name.clone();
    shutdown.spawn(outbox::watch(log.clone(), upstream.clone(), items.clone(), shutdown.clone()));
    let follower = Follower::new(log.clone(), upstream.clone(), own, items, shutdown.clone());
    shutdown.spawn(follower.run(orders));
    let hub = Hub::new(federation, upstream, log, shutdown.clone(), commands);
    shutdown.spawn(hub.run(received));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_a_set() {
        let shards = Shards::of([0, 5, 63, 64]);
        assert!(shards.contains(0) && shards.contains(63) && !shards.contains(64) && !shards.contains(1));
        assert!(!shards.is_empty() && Shards::default().is_empty());
        assert_eq!(shards.without(Shards::of([5, 63])), Shards::of([0]));
        assert_eq!(Shards::of([1]).with(Shards::of([2])), Shards::of([1, 2]));
        assert!(shard_of(<&ServerName>::try_from("example.org").unwrap()) < 64);
        assert_eq!(server_of("@a:b.example:8448").unwrap(), "b.example:8448");
        assert_eq!(server_of("a"), None);
    }
}
