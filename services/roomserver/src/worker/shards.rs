//! Shares the partitions of this process among shards.
//!
//! A shard is a worker with a connection, a cache and a queue of its own. It has the partitions whose number leaves its
//! index as the remainder, so a partition never moves from one shard of a process to another. One actor is the member of
//! the group: it hears which partitions are ours, and hands each to its shard.

use std::{num::NonZero, thread::available_parallelism};

use plexus_log::{Ownership, OwnershipEvent};
use tokio::sync::{mpsc, oneshot};

/// Most shards of a process.
const MAX_SHARDS: u32 = 8;
/// Events of ownership that wait for a shard.
const EVENTS: usize = 16;

/// Which of the shards of a process one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// All shards of a process: as many as are configured, or as there are processors.
    pub(super) fn all(configured: u32) -> impl Iterator<Item = Self> {
        let processors = || available_parallelism().map_or(1, NonZero::get);
        let wanted =
            if configured == 0 { u32::try_from(processors()).unwrap_or(MAX_SHARDS) } else { configured };
        let count = wanted.clamp(1, MAX_SHARDS);
        (0..count).map(move |index| Self { index, count })
    }

    /// Whether a partition belongs to the shard.
    pub(super) fn has(self, partition: u32) -> bool {
        partition % self.count == self.index
    }

    /// Name of the shard as a label of metrics.
    pub(super) fn label(self) -> &'static str {
        const LABELS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];
        usize::try_from(self.index).ok().and_then(|index| LABELS.get(index)).copied().unwrap_or("7")
    }

    fn take(self, partitions: &[u32]) -> Vec<u32> {
        partitions.iter().copied().filter(|partition| self.has(*partition)).collect()
    }
}

/// Where events of ownership are handed to a shard.
pub(super) struct Inlet {
    shard: Shard,
    sender: mpsc::Sender<OwnershipEvent>,
}

/// Makes the channel by which a shard hears of its partitions.
pub(super) fn channel(shard: Shard) -> (Inlet, mpsc::Receiver<OwnershipEvent>) {
    let (sender, receiver) = mpsc::channel(EVENTS);
    (Inlet { shard, sender }, receiver)
}

/// Hands partitions to their shards until the group has nothing more to say, or all shards have ended: then the process
/// leaves the group.
pub(super) async fn distribute(mut ownership: Ownership, shards: Vec<Inlet>) {
    loop {
        let event = tokio::select! {
            event = ownership.next() => event,
            () = all_closed(&shards) => return,
        };
        match event {
            Some(event) => hand_out(event, &shards).await,
            None => return,
        }
    }
}

async fn all_closed(shards: &[Inlet]) {
    for inlet in shards {
        inlet.sender.closed().await;
    }
}

/// Every shard hears of every event, so that it knows that the group has spoken.
async fn hand_out(event: OwnershipEvent, shards: &[Inlet]) {
    match event {
        OwnershipEvent::Gained(partitions) => {
            for inlet in shards {
                send(inlet, OwnershipEvent::Gained(inlet.shard.take(&partitions))).await;
            }
        }
        OwnershipEvent::Expired(partitions) => {
            for inlet in shards {
                send(inlet, OwnershipEvent::Expired(inlet.shard.take(&partitions))).await;
            }
        }
        OwnershipEvent::Lost { partitions, done } => {
            let mut given_up = Vec::with_capacity(shards.len());
            for inlet in shards {
                let (sender, receiver) = oneshot::channel();
                let partitions = inlet.shard.take(&partitions);
                send(inlet, OwnershipEvent::Lost { partitions, done: sender }).await;
                given_up.push(receiver);
            }
            for receiver in given_up {
                // A shard that has ended holds nothing any more.
                let _ended = receiver.await;
            }
            let _stopped_waiting = done.send(());
        }
    }
}

async fn send(inlet: &Inlet, event: OwnershipEvent) {
    // A shard that has ended has given up its partitions.
    let _ended = inlet.sender.send(event).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_shard() {
        for count in [1, 2, 3, 8] {
            for partition in 0..64 {
                let having = Shard::all(count).filter(|shard| shard.has(partition));
                assert_eq!(having.count(), 1, "partition {partition} of {count} shards");
            }
        }
        assert_eq!(Shard::all(100).count(), 8);
        assert!(Shard::all(0).count() >= 1);
    }

    #[tokio::test]
    async fn partitions_are_given_up_when_all_shards_have_let_go() {
        let (inlets, mut receivers): (Vec<_>, Vec<_>) = Shard::all(2).map(channel).unzip();
        let (done, mut given_up) = oneshot::channel();
        let lost = OwnershipEvent::Lost { partitions: vec![1, 2, 3], done };
        let handing = tokio::spawn(async move { hand_out(lost, &inlets).await });
        let mut receipts = Vec::new();
        for (receiver, expected) in receivers.iter_mut().zip([vec![2], vec![1, 3]]) {
            let Some(OwnershipEvent::Lost { partitions, done }) = receiver.recv().await else {
                panic!("a shard hears of what is lost");
            };
            assert_eq!(partitions, expected);
            receipts.push(done);
        }
        assert!(given_up.try_recv().is_err(), "nobody has let go yet");
        for receipt in receipts {
            drop(receipt);
        }
        handing.await.unwrap();
        assert_eq!(given_up.await, Ok(()));
    }
}
