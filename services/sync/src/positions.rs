//! Positions to which this process has read: one for each partition of each output log.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use plexus_matrix_http::token::{PARTITION_COUNT, SyncToken};
use tokio::sync::watch;

/// In the place of a generation that is not known yet.
const UNKNOWN: u64 = 0;

/// Positions, one for each partition.
pub(crate) type Vector = [u64; PARTITION_COUNT];

/// How far the view reflects the logs. A position is published after its record was applied.
#[derive(Debug)]
pub(crate) struct Positions {
    pub(crate) rooms: Track,
    pub(crate) users: Track,
    /// Offsets in the ephemeral log.
    pub(crate) live: Track,
    /// Generation of the database that the positions are of.
    generation: AtomicU64,
}

/// Positions in one log.
#[derive(Debug)]
pub(crate) struct Track {
    seqs: [AtomicU64; PARTITION_COUNT],
    moved: watch::Sender<()>,
}

impl Positions {
    pub(crate) fn new() -> Self {
        let generation = AtomicU64::new(UNKNOWN);
        Self { rooms: Track::new(), users: Track::new(), live: Track::new(), generation }
    }

    /// Notes which generation of the database the positions are of.
    pub(crate) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// The generation, once it is known.
    fn generation(&self) -> Option<u64> {
        Some(self.generation.load(Ordering::Acquire)).filter(|generation| *generation != UNKNOWN)
    }

    /// Whether a token tells of positions of the database as it is. One that names no generation is taken to, and so is any
    /// while the generation is not known: a process that begins has not asked yet.
    pub(crate) fn is_of_generation(&self, token: &SyncToken) -> bool {
        token.generation.is_none_or(|named| self.generation().is_none_or(|generation| named == generation))
    }

    /// Takes the positions as they are: what an answer reflects that tells how it was at this time.
    pub(crate) fn cut(&self, at: u64) -> SyncToken {
        SyncToken {
            generation: self.generation(),
            inbox: 0,
            inbox_device: 0,
            rooms: self.rooms.vector(),
            users: self.users.vector(),
            live: self.live.vector(),
            at,
        }
    }

    /// Waits until both logs were read up to these positions; returns whether they were in time.
    pub(crate) async fn reach(&self, target: &SyncToken, limit: Duration) -> bool {
        let both = async {
            self.rooms.reach(&target.rooms).await;
            self.users.reach(&target.users).await;
        };
        tokio::time::timeout(limit, both).await.is_ok()
    }
}

impl Track {
    fn new() -> Self {
        Self { seqs: std::array::from_fn(|_| AtomicU64::new(0)), moved: watch::Sender::new(()) }
    }

    /// The position in a partition; 0 for a partition that does not exist.
    pub(crate) fn get(&self, partition: usize) -> u64 {
        self.seqs.get(partition).map_or(0, |seq| seq.load(Ordering::Acquire))
    }

    /// Publishes a position. Whoever waits for it learns of it by [`Track::announce`].
    pub(crate) fn set(&self, partition: usize, seq: u64) {
        if let Some(slot) = self.seqs.get(partition) {
            slot.store(seq, Ordering::Release);
        }
    }

    /// Wakes whoever waits for a position.
    pub(crate) fn announce(&self) {
        self.moved.send_replace(());
    }

    pub(crate) fn vector(&self) -> Vector {
        std::array::from_fn(|partition| self.get(partition))
    }

    fn has_reached(&self, target: &Vector) -> bool {
        target.iter().enumerate().all(|(partition, seq)| self.get(partition) >= *seq)
    }

    async fn reach(&self, target: &Vector) {
        let mut moved = self.moved.subscribe();
        while !self.has_reached(target) {
            if moved.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_when_every_partition_is_there() {
        let positions = std::sync::Arc::new(Positions::new());
        let mut target = positions.cut(1);
        target.rooms[3] = 7;
        target.users[63] = 1;
        assert!(!positions.reach(&target, Duration::from_millis(5)).await);
        let waiting = {
            let (positions, target) = (std::sync::Arc::clone(&positions), target);
            tokio::spawn(async move { positions.reach(&target, Duration::from_secs(10)).await })
        };
        positions.rooms.set(3, 8);
        positions.rooms.announce();
        positions.users.set(63, 1);
        positions.users.announce();
        assert!(waiting.await.unwrap());
    }
}
