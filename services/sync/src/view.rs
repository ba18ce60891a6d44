//! The view in memory: rooms and users, loaded when they are first asked for, then kept current by the
//! records of the output logs. Nothing here is the truth: whatever is missing is loaded again.
//!
//! Answers are cut at a vector of positions, and the view is usually ahead of it: so rooms keep their recent state
//! changes, and users their recent memberships, to tell how things were at the cut.

mod applied;
mod event;
mod inboxes;
mod keys;
mod load;
mod membership;
mod out_of_band;
mod receipts;
mod room;
mod rooms_of_user;
mod slot;
mod timeline;
mod traits;
mod typing;
mod unread;
mod user;
mod wake;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use dashmap::DashMap;
use plexus_service::config::SyncConfig;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::{
    limits, metrics as names,
    upstream::{Upstream, UpstreamError},
};

pub(crate) use applied::{Applied, Completed, RecordError};
pub(crate) use event::{Event, Viewer};
pub(crate) use membership::{Membership, MembershipChange};
pub(crate) use out_of_band::OutOfBand;
pub(crate) use receipts::Receipt;
pub(crate) use room::{Changed, MEMBER, POWER_LEVELS, RoomView};
pub(crate) use rooms_of_user::{RoomOfUser, RoomsOfUser};
pub(crate) use slot::{Pin, Room};
pub(crate) use timeline::{Rest, Seen, Walk};
pub(crate) use typing::Typing;
pub(crate) use unread::{Attention, Counts, Heard, Listing, Tally, Unread};
pub(crate) use user::{AccountChange, At, Candidate, News, PUSH_RULES, Reading, Request, User};
pub(crate) use wake::Woken;

/// Rooms and users in memory.
pub(crate) struct View {
    upstream: Upstream,
    rooms: DashMap<OwnedRoomId, Arc<Room>>,
    users: DashMap<OwnedUserId, Arc<User>>,
    /// Who types where: also in rooms that nobody here has to do with yet, for a while.
    typing: DashMap<OwnedRoomId, Arc<Typing>>,
    /// When the last of all who type stops by itself, in milliseconds since the Unix epoch.
    typing_end: AtomicI64,
    /// How far changes of device lists were heard of.
    pub(crate) keys: keys::KeyNews,
    max_rooms: usize,
    max_bytes: usize,
    /// Bytes that loaded rooms take, about: as of the last look, and what was loaded since.
    bytes: AtomicUsize,
    /// Bytes from which on there is a look: more than there may be, if answers hold as many.
    look_from: AtomicUsize,
    /// Counts uses, to tell what was used last.
    clock: AtomicU64,
    /// Rooms loaded since the last look at how many there are.
    loaded: AtomicU64,
}

impl View {
    pub(crate) fn new(upstream: Upstream, config: &SyncConfig) -> Self {
        let bound = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        Self {
            upstream,
            rooms: DashMap::new(),
            users: DashMap::new(),
            typing: DashMap::new(),
            typing_end: AtomicI64::new(0),
            keys: keys::KeyNews::new(),
            max_rooms: bound(config.max_cached_rooms),
            max_bytes: bound(config.max_cached_bytes),
            bytes: AtomicUsize::new(0),
            look_from: AtomicUsize::new(0),
            clock: AtomicU64::new(0),
            loaded: AtomicU64::new(0),
        }
    }

    /// Finds a room that somebody here has to do with.
    pub(crate) fn find_room(&self, id: &RoomId) -> Option<Arc<Room>> {
        self.rooms.get(id).map(|room| Arc::clone(&room))
    }

    /// Finds a user who has synced here lately.
    pub(crate) fn find_user(&self, id: &UserId) -> Option<Arc<User>> {
        self.users.get(id).map(|user| Arc::clone(&user))
    }

    /// All rooms that somebody here has to do with.
    pub(crate) fn all_rooms(&self) -> Vec<Arc<Room>> {
        self.rooms.iter().map(|room| Arc::clone(&room)).collect()
    }

    /// All rooms of a partition that somebody here has to do with.
    pub(crate) fn rooms_of_partition(&self, partition: u32) -> Vec<Arc<Room>> {
        let partition = usize::try_from(partition).unwrap_or(usize::MAX);
        let of_partition = self.rooms.iter().filter(|room| room.partition == partition);
        of_partition.map(|room| Arc::clone(&room)).collect()
    }

    /// All users who have synced here lately.
    pub(crate) fn users_in_memory(&self) -> Vec<Arc<User>> {
        self.users.iter().map(|user| Arc::clone(&user)).collect()
    }

    /// Whether anybody has synced here lately.
    pub(crate) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// Returns the room, which need not be loaded.
    pub(crate) fn room(&self, id: &OwnedRoomId) -> Arc<Room> {
        if let Some(room) = self.find_room(id) {
            return room;
        }
        let typing = self.typing(id);
        Arc::clone(&self.rooms.entry(id.clone()).or_insert_with(|| Arc::new(Room::new(id.clone(), typing))))
    }

    /// Who types in a room.
    pub(crate) fn typing(&self, id: &OwnedRoomId) -> Arc<Typing> {
        if let Some(typing) = self.typing.get(id) {
            return Arc::clone(&typing);
        }
        Arc::clone(&self.typing.entry(id.clone()).or_default())
    }

    /// Ends a user's typing in a room.
    pub(crate) fn stop_typing(&self, room: &RoomId, user: &UserId, now: i64) {
        if let Some(typing) = self.typing.get(room) {
            typing.stop(user, now);
        }
    }

    /// Ends a user's typing everywhere; returns the rooms where they typed.
    pub(crate) fn stop_typing_everywhere(&self, user: &UserId, now: i64) -> Vec<Arc<Room>> {
        let typed = self.typing.iter().filter(|typing| typing.stop(user, now));
        let rooms: Vec<OwnedRoomId> = typed.map(|typing| typing.key().clone()).collect();
        rooms.iter().filter_map(|room| self.find_room(room)).collect()
    }

    /// Notes that somebody types until then.
    pub(crate) fn types_until(&self, until: i64) {
        self.typing_end.fetch_max(until, Ordering::AcqRel);
    }

    /// The time that the token of an answer made now has to tell, if its client was told how it was at another: as long
    /// as nobody stops typing, it stands still, and a quiet server gives out the same token.
    pub(crate) fn time_of_answer(&self, told: u64, now: i64) -> u64 {
        let end = u64::try_from(self.typing_end.load(Ordering::Acquire)).unwrap_or_default();
        if end > told { u64::try_from(now).unwrap_or_default().max(told) } else { told }
    }

    /// Forgets who typed in rooms that nobody here has to do with.
    pub(crate) fn sweep_typing(&self, now: i64) {
        self.typing.retain(|_, typing| Arc::strong_count(typing) > 1 || !typing.is_over(now));
    }

    /// Forgets who types everywhere: the log that told it is gone.
    pub(crate) fn forget_typing(&self) {
        self.typing.iter().for_each(|typing| typing.forget());
    }

    /// Returns the user with memberships and account data loaded.
    pub(crate) async fn user(&self, id: &OwnedUserId) -> Result<Arc<User>, UpstreamError> {
        let user = match self.find_user(id) {
            Some(user) => user,
            None => {
                self.evict_users();
                Arc::clone(&self.users.entry(id.clone()).or_insert_with(|| Arc::new(User::new(id.clone()))))
            }
        };
        user.used(self.tick());
        user.load(self, &self.upstream).await?;
        Ok(user)
    }

    /// Learns what lists of rooms look at, of rooms that the user came to have to do with since they were loaded.
    pub(crate) async fn meet_rooms(&self, user: &User) -> Result<(), UpstreamError> {
        let strange = user.strange_rooms();
        if strange.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = strange.iter().map(|room| room.id.to_string()).collect();
        let by_id: HashMap<&str, &Arc<Room>> = strange.iter().map(|room| (room.id.as_str(), room)).collect();
        for info in self.upstream.room_infos(&ids).await? {
            if let Some(room) = by_id.get(info.room_id.as_str()) {
                room.traits.learn(&info);
            }
        }
        // Of what is not told nothing is known: records will tell it.
        strange.iter().for_each(|room| room.traits.is_whole());
        Ok(())
    }

    /// Loads a room, if it is not.
    pub(crate) async fn load(&self, room: &Arc<Room>) -> Result<(), UpstreamError> {
        room.used(self.tick());
        if room.load(&self.upstream).await? {
            let bytes = self.bytes.fetch_add(room.weight(), Ordering::Relaxed);
            // Counting costs a walk over all rooms, so it is done once for every so many loads.
            let step = (self.max_rooms / 16).clamp(1, 256) as u64;
            let is_turn = self.loaded.fetch_add(1, Ordering::Relaxed).is_multiple_of(step);
            if is_turn || bytes > self.max_bytes.max(self.look_from.load(Ordering::Relaxed)) {
                self.evict_rooms();
            }
        }
        Ok(())
    }

    /// Makes room if there is too much in memory: an answer was made, and does not hold its rooms any more.
    pub(crate) fn relieve(&self) {
        if self.bytes.load(Ordering::Relaxed) > self.max_bytes {
            self.evict_rooms();
        }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Unloads the rooms that were not used for longest, and forgets those that nobody has to do with.
    fn evict_rooms(&self) {
        let mut loaded: Vec<(u64, Arc<Room>)> = self
            .rooms
            .iter()
            .filter(|room| room.is_loaded())
            .map(|room| (room.last_used(), Arc::clone(&room)))
            .collect();
        let mut bytes: usize = loaded.iter().map(|(_, room)| room.weight()).sum();
        let mut rooms = loaded.len();
        if rooms > self.max_rooms || bytes > self.max_bytes {
            let most = (self.max_rooms - self.max_rooms / 8, self.max_bytes - self.max_bytes / 8);
            loaded.sort_unstable_by_key(|(used, _)| *used);
            for (_, room) in &loaded {
                if rooms <= most.0 && bytes <= most.1 {
                    break;
                }
                let weight = room.weight();
                if room.evict() {
                    rooms -= 1;
                    bytes = bytes.saturating_sub(weight);
                }
            }
        }
        drop(loaded);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.look_from.store(bytes.saturating_add(self.max_bytes / 8), Ordering::Relaxed);
        metrics::gauge!(names::ROOMS).set(rooms as f64);
        metrics::gauge!(names::BYTES).set(bytes as f64);
        // Whoever holds one relies on the log reaching it: only rooms that nobody holds may go.
        self.rooms.retain(|_, room| Arc::strong_count(room) > 1 || room.is_loaded());
    }

    fn evict_users(&self) {
        metrics::gauge!(names::USERS).set(self.users.len() as f64);
        if self.users.len() < limits::USERS {
            return;
        }
        let mut used: Vec<u64> = self.users.iter().map(|user| user.last_used()).collect();
        used.sort_unstable();
        let Some(oldest_kept) = used.get(used.len() / 8).copied() else {
            return;
        };
        self.users.retain(|_, user| Arc::strong_count(user) > 1 || user.last_used() >= oldest_kept);
    }
}
