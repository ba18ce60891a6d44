//! The sessions that a process holds.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use plexus_log::{PARTITIONS, partition_of};
use ruma::UserId;

const CAPACITY: u64 = 100_000;
/// Users share generations: an eviction also drops the one user in a thousand that has the same one.
const STRIPES: usize = 1024;

/// SHA-256 of an access token.
pub type TokenHash = [u8; 32];

/// What an access token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// User ID.
    pub user_id: String,
    /// Device ID.
    pub device_id: String,
    /// Whether the account is a guest.
    pub guest: bool,
    /// Whether the account is a server administrator.
    pub admin: bool,
    /// When the token expires, in milliseconds since the Unix epoch; 0 for never.
    pub expires_ts: i64,
}

impl Session {
    /// Whether the token has expired.
    #[must_use]
    pub fn has_expired(&self) -> bool {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        self.expires_ts != 0 && self.expires_ts <= now
    }
}

/// Sessions by access token; cheap to clone.
///
/// It holds users of those partitions alone of which [`SessionCache::hold_partition`] says that we hear of the sessions
/// that end there, by [`SessionCache::evict_user`], before anybody else does.
#[derive(Clone)]
pub struct SessionCache {
    shared: Arc<Shared>,
}

struct Shared {
    entries: moka::sync::Cache<TokenHash, Entry, RandomState>,
    hasher: RandomState,
    /// Until when users of each partition are held, in milliseconds after `began`.
    held_until: Vec<AtomicU64>,
    began: Instant,
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

/// Taken before a session is read, so that what was read is not kept if it may be out of date.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    evictions: u64,
}

/// [`Shared::held_until`] of what is held until further notice.
const ENDLESS: u64 = u64::MAX;

impl std::fmt::Debug for SessionCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SessionCache").finish_non_exhaustive()
    }
}

impl SessionCache {
    /// Makes an empty one that holds no partition. Entries end by themselves after `time_to_live`.
    #[must_use]
    pub fn new(time_to_live: Option<Duration>) -> Self {
        let partitions = usize::try_from(PARTITIONS).unwrap_or(usize::MAX);
        let counters = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let mut entries = moka::sync::Cache::builder().max_capacity(CAPACITY);
        if let Some(time_to_live) = time_to_live {
            entries = entries.time_to_live(time_to_live);
        }
        Self {
            shared: Arc::new(Shared {
                entries: entries.build_with_hasher(RandomState::new()),
                hasher: RandomState::new(),
                held_until: counters(partitions),
                began: Instant::now(),
                partitions: counters(partitions),
                stripes: counters(STRIPES),
                evictions: AtomicU64::new(0),
            }),
        }
    }

    /// Holds users of a partition, until a time or until further notice.
    pub fn hold_partition(&self, partition: u32, until: Option<Instant>) {
        let Some((held_until, generation)) = index(partition)
            .and_then(|index| Some((self.shared.held_until.get(index)?, self.shared.partitions.get(index)?)))
        else {
            return;
        };
        if held_until.load(Ordering::SeqCst) <= self.now() {
            // Whatever was read or held before may have ended while nobody told us.
            self.shared.evictions.fetch_add(1, Ordering::SeqCst);
            generation.fetch_add(1, Ordering::SeqCst);
        }
        let until = until.map_or(ENDLESS, |until| self.millis(until));
        held_until.store(until, Ordering::SeqCst);
    }

    /// Whether users of any partition are held.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        let now = self.now();
        self.shared.held_until.iter().any(|until| until.load(Ordering::SeqCst) > now)
    }

    /// Drops the sessions of a user, because one of them has ended.
    pub fn evict_user(&self, user: &UserId) {
        // The order matters: see `insert`.
        self.shared.evictions.fetch_add(1, Ordering::SeqCst);
        let place = self.place(user.as_str());
        if let Some(generation) = self.shared.stripes.get(place.stripe) {
            generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Drops the sessions of all users of a partition and holds none of them from now on.
    pub fn evict_partition(&self, partition: u32) {
        let Some(index) = index(partition) else { return };
        self.shared.evictions.fetch_add(1, Ordering::SeqCst);
        if let Some(held_until) = self.shared.held_until.get(index) {
            held_until.store(0, Ordering::SeqCst);
        }
        if let Some(generation) = self.shared.partitions.get(index) {
            generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Finds a session.
    #[must_use]
    pub fn find(&self, token: &TokenHash) -> Option<Arc<Session>> {
        let entry = self.shared.entries.get(token)?;
        let holds = self.holds(entry.place) && self.generations(entry.place)? == entry.generations;
        holds.then_some(entry.session)
    }

    /// To be called before a session is read, or asked for.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket { evictions: self.shared.evictions.load(Ordering::SeqCst) }
    }

    /// Holds what was read, unless it may be out of date by now or the user's partition is not held.
    pub fn insert(&self, ticket: Ticket, token: TokenHash, session: Arc<Session>) {
        let place = self.place(&session.user_id);
        // Generations first, then the count of evictions; an eviction goes the other way round. So an eviction that
        // the count does not show raises a generation after it was read here, and the entry does not hold.
        let Some(generations) = self.generations(place) else { return };
        if self.holds(place) && self.shared.evictions.load(Ordering::SeqCst) == ticket.evictions {
            self.shared.entries.insert(token, Entry { session, place, generations });
        }
    }

    fn place(&self, user: &str) -> Place {
        let hash = usize::try_from(self.shared.hasher.hash_one(user) % STRIPES as u64).unwrap_or(0);
        Place { partition: index(partition_of(user)).unwrap_or(usize::MAX), stripe: hash }
    }

    fn holds(&self, place: Place) -> bool {
        let until = self.shared.held_until.get(place.partition).map(|until| until.load(Ordering::SeqCst));
        until.is_some_and(|until| until > self.now())
    }

    fn now(&self) -> u64 {
        self.millis(Instant::now())
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.shared.began).as_millis()).unwrap_or(ENDLESS)
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
        let cache = SessionCache::new(None);
        cache.hold_partition(partition_of(user.as_str()), None);
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
        let cache = SessionCache::new(None);
        cache.insert(cache.ticket(), TOKEN, session(alice));
        assert_eq!(cache.find(&TOKEN), None);
        cache.hold_partition(partition, None);
        cache.insert(cache.ticket(), TOKEN, session(alice));
        assert!(cache.find(&TOKEN).is_some());
        cache.evict_partition(partition);
        assert_eq!(cache.find(&TOKEN), None);
    }

    #[test]
    fn partitions_that_do_not_exist_are_ignored() {
        let cache = SessionCache::new(None);
        cache.hold_partition(PARTITIONS, None);
        cache.evict_partition(u32::MAX);
        assert_eq!(cache.find(&TOKEN), None);
    }

    #[test]
    fn what_was_held_before_a_lapse_does_not_come_back() {
        let alice = user_id!("@alice:example.org");
        let partition = partition_of(alice.as_str());
        let cache = SessionCache::new(None);
        let long = Duration::from_secs(100);
        cache.hold_partition(partition, Some(Instant::now() + long));
        assert!(cache.holds_any());
        cache.insert(cache.ticket(), TOKEN, session(alice));
        cache.hold_partition(partition, Some(Instant::now() + long));
        assert!(cache.find(&TOKEN).is_some(), "it is renewed in time");
        let asked = cache.ticket();
        cache.hold_partition(partition, Some(cache.shared.began));
        assert_eq!(cache.find(&TOKEN), None);
        assert!(!cache.holds_any());
        cache.hold_partition(partition, Some(Instant::now() + long));
        assert_eq!(cache.find(&TOKEN), None);
        cache.insert(asked, TOKEN, session(alice));
        assert_eq!(cache.find(&TOKEN), None, "it was asked for before");
        cache.insert(cache.ticket(), TOKEN, session(alice));
        assert!(cache.find(&TOKEN).is_some());
    }
}
