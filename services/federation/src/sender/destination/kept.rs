//! The kept part of a destination, as the room server has it.

use ruma::OwnedRoomId;

use super::{Behind, Destination};

/// How a destination is, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::sender) struct Row {
    pub(in crate::sender) failures: u32,
    pub(in crate::sender) first_failure_ts: i64,
    pub(in crate::sender) retry_ts: i64,
    pub(in crate::sender) error: String,
    pub(in crate::sender) last_success_ts: i64,
}

/// What is to be kept of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sender) enum Change {
    /// This.
    Keep {
        /// How it is.
        row: Row,
        /// Rooms that are new or have changed, with the position up to which it has everything.
        rooms: Vec<(OwnedRoomId, u64)>,
        /// Rooms in which it is behind no more.
        caught_up: Vec<OwnedRoomId>,
    },
    /// Nothing any more.
    Recovered,
}

impl Destination {
    /// A destination as it was kept, to be tried at some time.
    pub(in crate::sender) fn restore(row: Row, retry_ts: i64) -> Self {
        Self {
            failures: row.failures,
            first_failure_ts: row.first_failure_ts,
            retry_ts,
            error: row.error,
            last_success_ts: row.last_success_ts,
            is_kept: true,
            ..Self::default()
        }
    }

    /// A room in which it was behind.
    pub(in crate::sender) fn restore_room(&mut self, room_id: OwnedRoomId, after: u64) {
        if self.behind.insert(room_id.clone(), Behind::new(after, after)).is_none() {
            self.order.push_back(room_id);
        }
    }

    /// What the room server does not know yet. It counts as kept from here on.
    pub(in crate::sender) fn take_change(&mut self) -> Option<Change> {
        if self.failures == 0 && self.behind.is_empty() {
            (self.is_changed, self.changed_rooms) = (false, Default::default());
            return std::mem::take(&mut self.is_kept).then_some(Change::Recovered);
        }
        if self.is_kept && !self.is_changed && self.changed_rooms.is_empty() {
            return None;
        }
        (self.is_kept, self.is_changed) = (true, false);
        let (mut rooms, mut caught_up) = (Vec::new(), Vec::new());
        for room_id in std::mem::take(&mut self.changed_rooms) {
            match self.behind.get(&room_id) {
                Some(behind) => rooms.push((room_id, behind.after)),
                None => caught_up.push(room_id),
            }
        }
        let row = Row {
            failures: self.failures,
            first_failure_ts: self.first_failure_ts,
            retry_ts: self.retry_ts,
            error: self.error.clone(),
            last_success_ts: self.last_success_ts,
        };
        Some(Change::Keep { row, rooms, caught_up })
    }

    /// A change could not be kept.
    pub(in crate::sender) fn put_change_back(&mut self, change: Change) {
        (self.is_kept, self.is_changed) = (true, true);
        if let Change::Keep { rooms, caught_up, .. } = change {
            self.changed_rooms.extend(rooms.into_iter().map(|(room_id, _)| room_id));
            self.changed_rooms.extend(caught_up);
        }
    }
}
