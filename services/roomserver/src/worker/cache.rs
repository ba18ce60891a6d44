//! Rooms kept in memory from batch to batch.

use std::collections::HashMap;

use plexus_log::partition_of;
use ruma::{OwnedRoomId, RoomId};

use crate::rooms::Room;

/// Rooms kept.
const CAPACITY: usize = 2_000;
/// Bytes that they take together, about: of large rooms, or of such as somebody made large on purpose, fewer are kept.
const CAPACITY_BYTES: usize = 256 * 1024 * 1024;
/// Commits of a room after which it is weighed again. Weighing looks at every node that is in memory.
const WEIGHED_AFTER: u32 = 32;

/// Rooms of the partitions we own, as they were last committed.
#[derive(Default)]
pub(super) struct RoomCache {
    rooms: HashMap<OwnedRoomId, Cached>,
    bytes: usize,
    clock: u64,
}

struct Cached {
    room: Room,
    used: u64,
    /// What it weighed, and commits since then.
    bytes: usize,
    commits: u32,
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
            let known = self.rooms.remove(&id);
            let weighed = known.as_ref().map_or(0, |known| known.bytes);
            let Some(room) = room else {
                self.bytes -= weighed;
                continue;
            };
            let (bytes, commits) = match known {
                Some(known) if known.commits < WEIGHED_AFTER => (known.bytes, known.commits + 1),
                _ => (room.loaded_bytes(), 0),
            };
            self.bytes = self.bytes - weighed + bytes;
            self.rooms.insert(id, Cached { room, used: self.clock, bytes, commits });
        }
        if self.rooms.len() > CAPACITY || self.bytes > CAPACITY_BYTES {
            self.evict();
        }
    }

    /// Forgets the quarter of the rooms that was used longest ago, but none of this commit.
    fn evict(&mut self) {
        let mut used: Vec<u64> = self.rooms.values().map(|cached| cached.used).collect();
        let quarter = used.len() / 4;
        let (_, &mut limit, _) = used.select_nth_unstable(quarter);
        let now = self.clock;
        self.retain(|_, cached| cached.used > limit || cached.used == now);
    }

    /// Forgets the rooms of a partition.
    pub(super) fn drop_partition(&mut self, partition: u32) {
        self.retain(|id, _| partition_of(id.as_str()) != partition);
    }

    fn retain(&mut self, keep: impl Fn(&OwnedRoomId, &Cached) -> bool) {
        self.rooms.retain(|id, cached| keep(id, cached));
        self.bytes = self.rooms.values().map(|cached| cached.bytes).sum();
    }

    /// Forgets all rooms.
    pub(super) fn clear(&mut self) {
        self.rooms.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use ruma::event_id;

    use super::*;
    use crate::rooms::{EventNid, RoomNid, RoomParts};

    fn room(number: u64) -> (OwnedRoomId, Option<Room>) {
        let room_id = RoomId::parse(format!("!room{number}:example.org")).unwrap();
        let parts = RoomParts {
            nid: RoomNid(i64::try_from(number).unwrap()),
            room_id: room_id.clone(),
            partition: partition_of(room_id.as_str()),
            version: "11".to_owned(),
            create_nid: EventNid(1),
            create_id: event_id!("$create").to_owned(),
            forward_extremities: Vec::new(),
            members_root: None,
            other_root: None,
            depth: 1,
            last_seq: 1,
            joined_members: 1,
            invited_members: 0,
            published: false,
            parked: 0,
            forked: false,
            has_gaps: false,
            oldest_position: 0,
            snapshot: None,
            state_bytes: 0,
        };
        (room_id, Some(Room::from_parts(parts).unwrap()))
    }

    fn weigh(cache: &RoomCache) -> usize {
        cache.rooms.values().map(|cached| cached.bytes).sum()
    }

    #[test]
    fn latest_rooms_are_kept() {
        let mut cache = RoomCache::default();
        for number in 0..3000 {
            cache.commit(HashMap::from([room(number)]));
            assert!(cache.rooms.len() <= CAPACITY);
        }
        assert!((1700..3000).all(|number| cache.contains(&room(number).0)));
        assert!(!cache.contains(&room(0).0));
        assert_eq!(cache.bytes, weigh(&cache));
        cache.drop_partition(partition_of(room(2999).0.as_str()));
        assert_eq!(cache.bytes, weigh(&cache));
        assert!(!cache.contains(&room(2999).0));
    }

    #[test]
    fn large_rooms_make_place_for_each_other() {
        let mut cache = RoomCache::default();
        for number in 0..100 {
            cache.commit(HashMap::from([room(number)]));
            let (id, _) = room(number);
            let cached = cache.rooms.get_mut(&id).unwrap();
            cache.bytes += CAPACITY_BYTES / 10;
            cached.bytes += CAPACITY_BYTES / 10;
        }
        assert!((5..=12).contains(&cache.rooms.len()), "{}", cache.rooms.len());
        assert!(cache.contains(&room(99).0));
        // It is weighed again when it has been committed often enough.
        for _ in 0..=WEIGHED_AFTER {
            cache.commit(HashMap::from([room(99)]));
        }
        assert!(cache.rooms[&room(99).0].bytes < CAPACITY_BYTES / 10);
        cache.commit(HashMap::from([(room(99).0, None)]));
        assert_eq!(cache.bytes, weigh(&cache));
        // One that is too large alone stays as long as it is at work.
        cache.rooms.clear();
        cache.bytes = 0;
        cache.commit(HashMap::from([room(1)]));
        cache.bytes = CAPACITY_BYTES * 2;
        cache.commit(HashMap::from([room(1)]));
        assert!(cache.contains(&room(1).0));
    }
}
