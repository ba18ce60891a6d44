//! Rooms kept in memory from batch to batch.

use std::collections::HashMap;

use plexus_log::partition_of;
use ruma::{OwnedRoomId, RoomId};

use crate::rooms::Room;

/// Rooms kept.
const CAPACITY: usize = 2_000;

/// Rooms of the partitions we own, as they were last committed.
#[derive(Default)]
pub(super) struct RoomCache {
    rooms: HashMap<OwnedRoomId, Cached>,
    clock: u64,
}

struct Cached {
    room: Room,
    used: u64,
}

impl RoomCache {
    /// Finds a room.
    pub(super) fn find(&self, id: &RoomId) -> Option<Room> {
        self.rooms.get(id).map(|cached| cached.room.clone())
    }

    /// Whether a room is there.
    pub(super) fn contains(&self, id: &RoomId) -> bool {
        self.rooms.contains_key(id)
    }

    /// Takes over what a batch has committed; `None`: there is no such room.
    pub(super) fn commit(&mut self, rooms: HashMap<OwnedRoomId, Option<Room>>) {
        self.clock += 1;
        for (id, room) in rooms {
            match room {
                Some(room) => self.rooms.insert(id, Cached { room, used: self.clock }),
                None => self.rooms.remove(&id),
            };
        }
        if self.rooms.len() > CAPACITY {
            // The quarter that was used longest ago goes.
            let mut used: Vec<u64> = self.rooms.values().map(|cached| cached.used).collect();
            let quarter = used.len() / 4;
            let (_, &mut limit, _) = used.select_nth_unstable(quarter);
            self.rooms.retain(|_, cached| cached.used > limit);
        }
    }

    /// Forgets the rooms of a partition.
    pub(super) fn drop_partition(&mut self, partition: u32) {
        self.rooms.retain(|id, _| partition_of(id.as_str()) != partition);
    }

    /// Forgets all rooms.
    pub(super) fn clear(&mut self) {
        self.rooms.clear();
    }
}
