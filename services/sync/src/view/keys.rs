//! Tracks changes that may concern device lists: whether anybody's keys or memberships changed since a
//! token. What changed is asked of the room server, and only then.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use plexus_matrix_http::token::PARTITION_COUNT;

use crate::positions::Vector;

/// Last changes by partition.
#[derive(Debug)]
pub(crate) struct KeyNews {
    /// Of devices and keys: positions in `OutputUserEvent`.
    pub(crate) users: LastChanges,
    /// Of memberships and encryption: positions in `OutputRoomEvent`.
    pub(crate) rooms: LastChanges,
}

/// Last changes in one log.
#[derive(Debug)]
pub(crate) struct LastChanges {
    begun: OnceLock<()>,
    /// Position after which every change was heard of.
    floors: [AtomicU64; PARTITION_COUNT],
    last: [AtomicU64; PARTITION_COUNT],
}

impl KeyNews {
    pub(super) fn new() -> Self {
        Self { users: LastChanges::new(), rooms: LastChanges::new() }
    }
}

impl LastChanges {
    fn new() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { begun: OnceLock::new(), floors: zeros(), last: zeros() }
    }

    /// Notes where following the log began; only the first call counts.
    pub(crate) fn begin(&self, heads: &Vector) {
        if self.begun.get().is_some() {
            return;
        }
        for (floor, head) in self.floors.iter().zip(heads) {
            floor.fetch_max(*head, Ordering::AcqRel);
        }
        // Whoever was first has set the same.
        self.begun.set(()).ok();
    }

    /// Notes a change.
    pub(crate) fn heard(&self, partition: u32, seq: u64) {
        raise(&self.last, partition, seq);
    }

    /// Notes that records up to a position were missed.
    pub(crate) fn missed(&self, partition: u32, seq: u64) {
        raise(&self.floors, partition, seq);
    }

    /// Whether something may have changed in a partition after a position.
    pub(crate) fn may_be_after(&self, partition: usize, position: u64) -> bool {
        let at = |positions: &[AtomicU64]| {
            positions.get(partition).map_or(u64::MAX, |position| position.load(Ordering::Acquire))
        };
        self.begun.get().is_none() || position < at(&self.floors) || position < at(&self.last)
    }
}

fn raise(positions: &[AtomicU64], partition: u32, seq: u64) {
    let position = usize::try_from(partition).ok().and_then(|partition| positions.get(partition));
    if let Some(position) = position {
        position.fetch_max(seq, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_heard_of_may_have_changed() {
        let changes = LastChanges::new();
        assert!(changes.may_be_after(3, u64::MAX));
        changes.begin(&[5; PARTITION_COUNT]);
        changes.begin(&[9; PARTITION_COUNT]);
        assert!(changes.may_be_after(3, 4));
        assert!(!changes.may_be_after(3, 5));
        changes.heard(3, 7);
        assert!(changes.may_be_after(3, 6) && !changes.may_be_after(3, 7) && !changes.may_be_after(4, 6));
        changes.missed(4, 8);
        assert!(changes.may_be_after(4, 7) && !changes.may_be_after(4, 8));
    }
}
