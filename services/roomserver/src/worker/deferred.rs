//! Accounts for the rooms that are deferred to the low-priority lane.
//!
//! A room is left to it when one of its records has cost more than the budget of live traffic. From then on all that
//! comes for the room waits behind that record, in `deferred_inputs`, until nothing is left there: so its records stay in
//! order, and all other rooms go on.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::store::deferred::Waiting;

/// Inputs of a room that may wait; what comes beyond is refused.
const MAX_OF_ROOM: usize = 10_000;
/// The same of all rooms of a partition.
const MAX_OF_PARTITION: usize = 50_000;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    rooms: HashMap<String, Queue>,
    partitions: BTreeMap<u32, usize>,
    /// Whose turn it is.
    turns: VecDeque<String>,
}

/// What waits of a room.
#[derive(Debug)]
struct Queue {
    partition: u32,
    waiting: usize,
    /// How often what is first has failed.
    attempts: u8,
}

impl Deferred {
    /// Whether a room is left to the low-priority lane.
    pub(super) fn has(&self, room_id: &str) -> bool {
        self.rooms.contains_key(room_id)
    }

    /// Whether more of a room may wait, beside so many that are about to.
    pub(super) fn has_place(
        &self,
        partition: u32,
        room_id: &str,
        (of_room, of_partition): (usize, usize),
    ) -> bool {
        let waiting = self.rooms.get(room_id).map_or(0, |queue| queue.waiting);
        let others = self.partitions.get(&partition).copied().unwrap_or(0);
        waiting + of_room < MAX_OF_ROOM && others + of_partition < MAX_OF_PARTITION
    }

    /// Inputs of a room were deferred.
    pub(super) fn add(&mut self, partition: u32, room_id: &str, count: usize) {
        if count == 0 {
            return;
        }
        *self.partitions.entry(partition).or_default() += count;
        match self.rooms.get_mut(room_id) {
            Some(queue) => queue.waiting += count,
            None => {
                let queue = Queue { partition, waiting: count, attempts: 0 };
                self.rooms.insert(room_id.to_owned(), queue);
                self.turns.push_back(room_id.to_owned());
            }
        }
    }

    /// The first inputs of a room were worked off. When none is left, the room is one like all others.
    pub(super) fn remove(&mut self, room_id: &str, count: usize) {
        let Some(queue) = self.rooms.get_mut(room_id) else { return };
        let count = count.min(queue.waiting);
        queue.waiting -= count;
        queue.attempts = 0;
        let (partition, left) = (queue.partition, queue.waiting);
        if let Some(others) = self.partitions.get_mut(&partition) {
            *others = others.saturating_sub(count);
        }
        if left == 0 {
            self.rooms.remove(room_id);
            self.turns.retain(|other| other != room_id);
        }
    }

    /// The first input of a room has failed; returns how often by now.
    pub(super) fn note_failure(&mut self, room_id: &str) -> u8 {
        let Some(queue) = self.rooms.get_mut(room_id) else { return 0 };
        queue.attempts = queue.attempts.saturating_add(1);
        queue.attempts
    }

    /// The room whose turn it is, and its partition; then it is that of the others.
    pub(super) fn next(&mut self) -> Option<(u32, String)> {
        let room_id = self.turns.pop_front()?;
        let partition = self.rooms.get(&room_id)?.partition;
        self.turns.push_back(room_id.clone());
        Some((partition, room_id))
    }

    /// Takes over what the database says of partitions, in place of what was known.
    pub(super) fn take(&mut self, partitions: &[u32], waiting: &[Waiting]) {
        for partition in partitions {
            self.forget(*partition);
        }
        for input in waiting {
            self.add(u32::try_from(input.partition).unwrap_or(0), &input.room_id, 1);
        }
    }

    /// Forgets a partition.
    pub(super) fn forget(&mut self, partition: u32) {
        self.partitions.remove(&partition);
        self.rooms.retain(|_, queue| queue.partition != partition);
        let rooms = &self.rooms;
        self.turns.retain(|room_id| rooms.contains_key(room_id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_take_turns_until_nothing_of_them_waits() {
        let mut deferred = Deferred::default();
        deferred.add(1, "a", 2);
        deferred.add(2, "b", 1);
        assert_eq!(deferred.next(), Some((1, "a".to_owned())));
        assert_eq!(deferred.next(), Some((2, "b".to_owned())));
        assert_eq!(deferred.next(), Some((1, "a".to_owned())));
        deferred.remove("a", 1);
        assert!(deferred.has("a"));
        deferred.remove("a", 1);
        assert!(!deferred.has("a") && deferred.has("b"));
        assert_eq!(deferred.next(), Some((2, "b".to_owned())));
        deferred.forget(2);
        assert_eq!(deferred.next(), None);
        assert!(!deferred.has("b"));
    }

    #[test]
    fn what_may_wait_is_bounded_by_room_and_by_partition() {
        let mut deferred = Deferred::default();
        deferred.add(1, "a", MAX_OF_ROOM - 1);
        assert!(deferred.has_place(1, "a", (0, 0)));
        assert!(!deferred.has_place(1, "a", (1, 1)));
        assert!(deferred.has_place(1, "b", (0, 1)));
        for other in 0..4 {
            deferred.add(1, &other.to_string(), MAX_OF_ROOM);
        }
        assert!(deferred.has_place(1, "b", (0, 0)));
        assert!(!deferred.has_place(1, "b", (0, 1)));
        assert!(deferred.has_place(2, "b", (0, 1)));
    }
}
