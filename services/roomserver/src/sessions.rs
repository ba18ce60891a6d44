//! Sessions by access token, held in memory: every client request asks for one.
//!
//! Only users of partitions that this instance owns are held, because only their owner learns at once when one of their
//! sessions ends. The worker says so by [`SessionCache::own_partition`] when it takes a partition, by
//! [`SessionCache::evict_user`] after each commit that touched a user (before it releases the verdicts, so that nobody
//! is told of a logout while the old session still answers), and by [`SessionCache::evict_partition`] when it lets the
//! partition go or does not know whether a commit happened.
//!
//! A stale owner does not hear that it has been replaced, so entries also end by themselves after a few seconds.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use plexus_log::{PARTITIONS, partition_of};
use ruma::UserId;

const CAPACITY: u64 = 100_000;
const TIME_TO_LIVE: Duration = Duration::from_secs(10);
/// Users share generations: an eviction also drops the one user in a thousand that has the same one.
const STRIPES: usize = 1024;

/// SHA-256 of an access token.
pub(crate) type TokenHash = [u8; 32];

/// What an access token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// User ID.
    pub(crate) user_id: String,
    /// Device ID.
    pub(crate) device_id: String,
    /// Whether the account is a guest.
    pub(crate) guest: bool,
    /// Whether the account is a server administrator.
    pub(crate) admin: bool,
    /// When the token expires, in milliseconds since the Unix epoch; 0 for never.
    pub(crate) expires_ts: i64,
}

/// Sessions by access token; cheap to clone.
#[derive(Clone)]
pub(crate) struct SessionCache {
    shared: Arc<Shared>,
}

struct Shared {
    entries: moka::sync::Cache<TokenHash, Entry, RandomState>,
    hasher: RandomState,
    owned: Vec<AtomicBool>,
    partitions: Vec<AtomicU64>,
    stripes: Vec<AtomicU64>,
    /// Counts all evictions. A lookup does not know its user before it has read the row, so this is what tells it that
    /// something was evicted meanwhile.
    evictions: AtomicU64,
}

/// An entry holds while the generations of its user and partition are those it was made under.
#[derive(Clone)]
struct Entry {
    session: Arc<Session>,
    place: Place,
    generations: (u64, u64),
}

#[derive(Clone, Copy)]
struct Place {
    partition: usize,
    stripe: usize,
}

/// Taken before a session is read from the database, so that what was read is not kept if it may be out of date.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    evictions: u64,
}

impl Default for SessionCache {
    fn default() -> Self {
        Self::new()
    }
}

impl SessionCache {
    /// Makes an empty one that owns no partition.
    pub(crate) fn new() -> Self {
        let partitions = usize::try_from(PARTITIONS).unwrap_or(usize::MAX);
        let counters = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            shared: Arc::new(Shared {
                entries: moka::sync::Cache::builder()
                    .max_capacity(CAPACITY)
                    .time_to_live(TIME_TO_LIVE)
                    .build_with_hasher(RandomState::new()),
                hasher: RandomState::new(),
                owned: (0..partitions).map(|_| AtomicBool::new(false)).collect(),
                partitions: counters(partitions),
                stripes: counters(STRIPES),
                evictions: AtomicU64::new(0),
            }),
        }
    }

    /// Begins to hold users of a partition. To be called once the partition's epoch is ours.
    pub(crate) fn own_partition(&self, partition: u32) {
        if let Some(owned) = index(partition).and_then(|index| self.shared.owned.get(index)) {
            owned.store(true, Ordering::SeqCst);
        }
    }

    /// Drops the sessions of a user. To be called after a commit that touched the user, before its verdict is told.
    pub(crate) fn evict_user(&self, user: &UserId) {
        // The order matters: see `insert`.
        self.shared.evictions.fetch_add(1, Ordering::SeqCst);
        let place = self.place(user.as_str());
        if let Some(generation) = self.shared.stripes.get(place.stripe) {
            generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Drops the sessions of all users of a partition and holds none of them from now on.
    pub(crate) fn evict_partition(&self, partition: u32) {
        let Some(index) = index(partition) else { return };
        self.shared.evictions.fetch_add(1, Ordering::SeqCst);
        if let Some(owned) = self.shared.owned.get(index) {
            owned.store(false, Ordering::SeqCst);
        }
        if let Some(generation) = self.shared.partitions.get(index) {
            generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Finds a session.
    pub(crate) fn find(&self, token: &TokenHash) -> Option<Arc<Session>> {
        let entry = self.shared.entries.get(token)?;
        (self.generations(entry.place)? == entry.generations).then_some(entry.session)
    }

    /// To be called before a session is read from the database.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket { evictions: self.shared.evictions.load(Ordering::SeqCst) }
    }

    /// Holds what was read, unless it may be out of date by now or the user's partition is not owned here.
    pub(crate) fn insert(&self, ticket: Ticket, token: TokenHash, session: Arc<Session>) {
        let place = self.place(&session.user_id);
        // Generations first, then the count of evictions; an eviction goes the other way round. So an eviction that
        // the count does not show raises a generation after it was read here, and the entry does not hold.
        let Some(generations) = self.generations(place) else { return };
        let owned = self.shared.owned.get(place.partition).is_some_and(|owned| owned.load(Ordering::SeqCst));
        if owned && self.shared.evictions.load(Ordering::SeqCst) == ticket.evictions {
            self.shared.entries.insert(token, Entry { session, place, generations });
        }
    }

    fn place(&self, user: &str) -> Place {
        let hash = usize::try_from(self.shared.hasher.hash_one(user) % STRIPES as u64).unwrap_or(0);
        Place { partition: index(partition_of(user)).unwrap_or(usize::MAX), stripe: hash }
    }

    fn generations(&self, place: Place) -> Option<(u64, u64)> {
        let partition = self.shared.partitions.get(place.partition)?.load(Ordering::SeqCst);
        let stripe = self.shared.stripes.get(place.stripe)?.load(Ordering::SeqCst);
        Some((partition, stripe))
    }
}

fn index(partition: u32) -> Option<usize> {
    usize::try_from(partition).ok()
}

#[cfg(test)]
mod tests {
    use ruma::{UserId, user_id};

    use super::*;

    const TOKEN: TokenHash = [7; 32];

    fn session(user: &UserId) -> Arc<Session> {
        Arc::new(Session {
            user_id: user.as_str().to_owned(),
            device_id: "D".to_owned(),
            guest: false,
            admin: false,
            expires_ts: 0,
        })
    }

    fn owner_of(user: &UserId) -> SessionCache {
        let cache = SessionCache::new();
        cache.own_partition(partition_of(user.as_str()));
        cache
    }

    #[test]
    fn session_is_found_until_its_user_is_evicted() {
        let alice = user_id!("@alice:example.org");
        let cache = owner_of(alice);
        cache.insert(cache.ticket(), TOKEN, session(alice));
        assert_eq!(cache.find(&TOKEN), Some(session(alice)));
        cache.evict_user(alice);
        assert_eq!(cache.find(&TOKEN), None);
        cache.insert(cache.ticket(), TOKEN, session(alice));
        assert_eq!(cache.find(&TOKEN), Some(session(alice)));
    }

    #[test]
    fn read_that_raced_with_an_eviction_is_not_held() {
        let alice = user_id!("@alice:example.org");
        let cache = owner_of(alice);
        let ticket = cache.ticket();
        cache.evict_user(alice);
        cache.insert(ticket, TOKEN, session(alice));
        assert_eq!(cache.find(&TOKEN), None);
    }

    #[test]
    fn users_of_partitions_of_others_are_not_held() {
        let alice = user_id!("@alice:example.org");
        let partition = partition_of(alice.as_str());
        let cache = SessionCache::new();
        cache.insert(cache.ticket(), TOKEN, session(alice));
        assert_eq!(cache.find(&TOKEN), None);
        cache.own_partition(partition);
        cache.insert(cache.ticket(), TOKEN, session(alice));
        assert!(cache.find(&TOKEN).is_some());
        cache.evict_partition(partition);
        assert_eq!(cache.find(&TOKEN), None);
    }

    #[test]
    fn partitions_that_do_not_exist_are_ignored() {
        let cache = SessionCache::new();
        cache.own_partition(PARTITIONS);
        cache.evict_partition(u32::MAX);
        assert_eq!(cache.find(&TOKEN), None);
    }
}
