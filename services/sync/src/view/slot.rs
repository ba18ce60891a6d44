//! A room that somebody here has to do with, loaded or not.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use plexus_log::partition_of;
use plexus_service::trace::TraceId;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use tokio::sync::watch;
use tracing::warn;

use super::{
    Applied, RoomView, User,
    applied::Fact,
    load,
    traits::Traits,
    typing::Typing,
    unread::{Counter, Listing, Member, Tally, Unread},
};
use crate::{
    limits,
    upstream::{Upstream, UpstreamError},
};

/// A room. While anybody holds it, every record of the room reaches it.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) id: OwnedRoomId,
    pub(crate) partition: usize,
    /// The room has no records after this one, as far as applied. It may be too high, never too low.
    last_seq: AtomicU64,
    last_used: AtomicU64,
    /// How often it came into memory.
    generation: AtomicU64,
    /// Answers under way that read the room: while there are any, it stays in memory.
    pins: AtomicUsize,
    slot: RwLock<Slot>,
    /// Held by who loads.
    loading: tokio::sync::Mutex<()>,
    /// Members who sync here, to be woken.
    watchers: Mutex<HashMap<OwnedUserId, Weak<User>>>,
    /// Changes whenever something happened in the room, for whoever waits without being a member.
    moves: OnceLock<watch::Sender<()>>,
    /// Unread notifications of members who sync here, as far as they were counted since the room came into memory.
    counters: Mutex<HashMap<OwnedUserId, Counter>>,
    pub(crate) typing: Arc<Typing>,
    pub(crate) traits: Traits,
}

#[derive(Debug)]
enum Slot {
    Absent,
    /// Being loaded: records that arrive meanwhile.
    Loading(Vec<Arc<Applied>>),
    Loaded {
        view: Box<RoomView>,
        /// What the view reflected when it was loaded, which may be ahead of the log.
        since: u64,
    },
}

impl Room {
    pub(super) fn new(id: OwnedRoomId, typing: Arc<Typing>) -> Self {
        let partition = usize::try_from(partition_of(id.as_str())).unwrap_or_default();
        Self {
            id,
            partition,
            last_seq: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            pins: AtomicUsize::new(0),
            slot: RwLock::new(Slot::Absent),
            loading: tokio::sync::Mutex::new(()),
            watchers: Mutex::new(HashMap::new()),
            moves: OnceLock::new(),
            counters: Mutex::new(HashMap::new()),
            typing,
            traits: Traits::default(),
        }
    }

    /// Prepares to count what a member has not read at a position; `None` if the room is not loaded.
    pub(crate) fn tally(&self, member: Member, upto: u64) -> Option<Tally> {
        let known = self.counters.lock().get(&member.user).cloned();
        self.read(|view| view.tally(member, upto, known))
    }

    /// Prepares to list what a member is notified of, and tells of which events others may have made something that is
    /// told with them; `None` if the room is not loaded.
    pub(crate) fn listing(&self, member: Member) -> Option<(Listing, HashSet<OwnedEventId>)> {
        self.read(|view| {
            let related = view.related().into_iter().filter_map(|id| OwnedEventId::try_from(id).ok());
            (view.listing(member), related.collect())
        })
    }

    /// Remembers a count. It may be of an earlier time in memory: then what it rests on says so.
    pub(crate) fn counted(&self, user: &UserId, counter: Counter) {
        let slot = self.slot.read();
        if matches!(&*slot, Slot::Loaded { .. }) {
            self.counters.lock().insert(user.to_owned(), counter);
        }
    }

    /// What was unread when it was last counted.
    pub(crate) fn last_count(&self, user: &UserId) -> Option<Unread> {
        self.counters.lock().get(user).map(|counter| counter.unread().clone())
    }

    /// Whether the room may have records after this position.
    pub(crate) fn moved_since(&self, position: u64) -> bool {
        self.last_seq.load(Ordering::Acquire) > position
    }

    /// Notes that the room has a record with this `seq`.
    pub(crate) fn heard_of(&self, seq: u64) {
        self.last_seq.fetch_max(seq, Ordering::AcqRel);
    }

    pub(super) fn used(&self, at: u64) {
        self.last_used.store(at, Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    pub(super) fn is_loaded(&self) -> bool {
        matches!(&*self.slot.read(), Slot::Loaded { .. })
    }

    /// Whether it is in memory or about to be.
    pub(crate) fn is_held(&self) -> bool {
        !matches!(&*self.slot.read(), Slot::Absent)
    }

    /// Applies a record; records come in order.
    pub(crate) fn apply(&self, record: Arc<Applied>) {
        self.heard_of(record.seq);
        self.traits.apply(&record);
        if let Fact::Event(event) = &record.fact
            && self.is_loaded()
        {
            // It is to be read without the lock.
            event.relation();
        }
        let mut slot = self.slot.write();
        match &mut *slot {
            Slot::Absent => {}
            Slot::Loading(pending) if pending.len() < limits::PENDING => pending.push(record),
            Slot::Loading(_) => {
                warn!(room.id = %self.id, "too much happens in a room while it is being loaded");
                *slot = Slot::Absent;
            }
            // A snapshot may be ahead of the log.
            Slot::Loaded { view, since } if record.seq > *since => view.apply(&record),
            Slot::Loaded { .. } => {}
        }
    }

    /// Drops what is in memory, and what is being loaded: it lacks a fact.
    pub(crate) fn unload(&self) {
        self.traits.is_lacking();
        *self.slot.write() = Slot::Absent;
    }

    /// Drops what is in memory to make room, unless somebody needs it just now; returns whether it did.
    pub(super) fn evict(&self) -> bool {
        let mut slot = self.slot.write();
        let goes = matches!(&*slot, Slot::Loaded { .. }) && self.pins.load(Ordering::Acquire) == 0;
        if goes {
            *slot = Slot::Absent;
            self.counters.lock().clear();
        }
        goes
    }

    /// Bytes that the room takes, about; 0 if it is not loaded.
    pub(crate) fn weight(&self) -> usize {
        self.read(|view| view.weight).unwrap_or_default()
    }

    /// Keeps the room in memory, once it is there, until the pin is dropped.
    pub(crate) fn pin(self: &Arc<Self>) -> Pin {
        self.pins.fetch_add(1, Ordering::AcqRel);
        Pin(Arc::clone(self))
    }

    /// Reads the room; `None` if it is not loaded. Never wait while reading.
    pub(crate) fn read<T>(&self, reader: impl FnOnce(&RoomView) -> T) -> Option<T> {
        match &*self.slot.read() {
            Slot::Absent | Slot::Loading(_) => None,
            Slot::Loaded { view, .. } => Some(reader(view)),
        }
    }

    /// The position that the log must have been read to before the room can be shown; 0 if it is not loaded.
    pub(crate) fn loaded_at(&self) -> u64 {
        match &*self.slot.read() {
            Slot::Absent | Slot::Loading(_) => 0,
            Slot::Loaded { since, .. } => *since,
        }
    }

    /// Loads the room unless it is; returns whether it did. Only one caller loads, the others wait for it.
    pub(super) async fn load(&self, upstream: &Upstream) -> Result<bool, UpstreamError> {
        if self.is_loaded() {
            return Ok(false);
        }
        let _only = self.loading.lock().await;
        if self.is_loaded() {
            return Ok(false);
        }
        *self.slot.write() = Slot::Loading(Vec::new());
        // If the caller goes away meanwhile, nobody is left to take the records.
        let abandoned = Abandoned(self);
        let (mut view, seq) = load::load(upstream, &self.id).await?;
        let mut slot = self.slot.write();
        let Slot::Loading(pending) = &mut *slot else {
            // It was unloaded meanwhile. Whoever wants to read it tries again.
            return Ok(false);
        };
        for record in pending.drain(..).filter(|record| record.seq > seq) {
            view.apply(&record);
        }
        self.counters.lock().clear();
        view.generation = self.generation.fetch_add(1, Ordering::Relaxed);
        *slot = Slot::Loaded { view: Box::new(view), since: seq };
        drop(slot);
        std::mem::forget(abandoned);
        Ok(true)
    }

    /// Has the user woken by what happens in the room.
    pub(crate) fn watch(&self, user: &Arc<User>) {
        self.watchers.lock().insert(user.id.clone(), Arc::downgrade(user));
    }

    pub(crate) fn unwatch(&self, user: &User) {
        self.watchers.lock().remove(&user.id);
    }

    /// Whether the user is woken by what happens in the room: a member who is in memory is.
    pub(crate) fn is_watched_by(&self, user: &UserId) -> bool {
        self.watchers.lock().contains_key(user)
    }

    /// Tells from now on whenever something happened in the room.
    pub(crate) fn moves(&self) -> watch::Receiver<()> {
        self.moves.get_or_init(|| watch::Sender::new(())).subscribe()
    }

    /// The members who are woken by what happens in the room.
    pub(crate) fn watching(&self) -> Vec<Arc<User>> {
        self.watchers.lock().values().filter_map(std::sync::Weak::upgrade).collect()
    }

    /// Wakes whoever waits for what happens in the room. `cause`: the trace of what happened.
    pub(crate) fn wake(&self, cause: Option<TraceId>) {
        if let Some(moves) = self.moves.get() {
            moves.send_replace(());
        }
        self.watchers.lock().retain(|_, watcher| match watcher.upgrade() {
            Some(user) => {
                user.wake(cause);
                true
            }
            None => false,
        });
    }
}

/// Keeps a room in memory.
#[derive(Debug)]
pub(crate) struct Pin(Arc<Room>);

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Undoes the beginning of a load that did not end well.
struct Abandoned<'a>(&'a Room);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let mut slot = self.0.slot.write();
        if matches!(&*slot, Slot::Loading(_)) {
            *slot = Slot::Absent;
        }
    }
}
