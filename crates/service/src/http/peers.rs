//! Counts what each address holds of a listener: connections, requests under way, bytes of their bodies.
//!
//! An address stands for all of its IPv6 /64, because whoever has one of those has them all.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::config::HttpConfig;

/// Parts of the map, each with a lock of its own. A power of two.
const SHARDS: usize = 64;
/// Lookups in a part after which addresses that hold nothing are forgotten.
const LOOKUPS_BETWEEN_PRUNES: u32 = 256;

/// Where a request comes from. Requests that a listener takes have it as an extension.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client's address: the peer's, or what a trusted reverse proxy says.
    pub address: SocketAddr,
    /// What the address holds; `None` if it is exempt from limits by address.
    pub held: Option<Arc<Held>>,
}

/// What one address holds of a listener.
#[derive(Debug)]
pub struct Held {
    limits: Limits,
    connections: AtomicUsize,
    requests: AtomicUsize,
    body_bytes: AtomicUsize,
    /// When the bucket of new connections is full again.
    full_at: Mutex<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    connections: usize,
    requests: usize,
    body_bytes: usize,
    /// Time in which the bucket of new connections gains one.
    period: Duration,
}

/// A request under way, counted until it is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<Held>);

/// A connection, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Connected(Arc<Held>);

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    TooMany,
    TooFast,
}

impl Held {
    fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            body_bytes: AtomicUsize::new(0),
            full_at: Mutex::new(now),
        }
    }

    /// Counts a request; `None` if the address has too many under way.
    pub fn begin_request(self: &Arc<Self>) -> Option<UnderWay> {
        increment(&self.requests, self.limits.requests).then(|| UnderWay(Arc::clone(self)))
    }

    /// Counts bytes of a body; false if they are too many, and then they are not counted.
    pub fn add_body(&self, bytes: usize) -> bool {
        let added = self.body_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(bytes).filter(|sum| *sum <= self.limits.body_bytes)
        });
        added.is_ok()
    }

    /// Forgets bytes of a body that were counted.
    pub fn remove_body(&self, bytes: usize) {
        self.body_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of bodies that are counted now.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body_bytes.load(Ordering::Relaxed)
    }

    fn connect(self: &Arc<Self>, now: Instant) -> Result<Connected, Refused> {
        if !increment(&self.connections, self.limits.connections) {
            return Err(Refused::TooMany);
        }
        let connected = Connected(Arc::clone(self));
        let mut full_at = lock(&self.full_at);
        let next = (*full_at).max(now) + self.limits.period;
        let burst = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        if next.saturating_duration_since(now) > self.limits.period.saturating_mul(burst) {
            return Err(Refused::TooFast);
        }
        *full_at = next;
        drop(full_at);
        Ok(connected)
    }

    fn is_idle(&self, now: Instant) -> bool {
        *lock(&self.full_at) <= now
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn increment(counter: &AtomicUsize, most: usize) -> bool {
    let add = |count: usize| (count < most).then_some(count + 1);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

/// The addresses that hold something.
#[derive(Debug)]
pub(super) struct Peers {
    limits: Limits,
    limit_loopback: bool,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    held: HashMap<IpAddr, Arc<Held>>,
    lookups: u32,
}

impl Peers {
    pub(super) fn new(config: &HttpConfig) -> Self {
        let limits = Limits {
            connections: config.connections_per_address,
            requests: config.requests_per_address,
            body_bytes: config.body_bytes_per_address,
            period: Duration::from_secs(1) / config.new_connections_per_second.max(1),
        };
        Self {
            limits,
            limit_loopback: config.limit_loopback,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Finds what an address holds; `None` if it is exempt.
    pub(super) fn find(&self, address: IpAddr) -> Option<Arc<Held>> {
        let address = network(address);
        if address.is_loopback() && !self.limit_loopback {
            return None;
        }
        // The lowest bits of the hash choose the part.
        let hash = self.hasher.hash_one(address).to_le_bytes();
        let mut shard = lock(&self.shards[usize::from(hash[0]) % SHARDS]);
        let now = Instant::now();
        shard.lookups += 1;
        if shard.lookups >= LOOKUPS_BETWEEN_PRUNES {
            shard.lookups = 0;
            shard.held.retain(|_, held| Arc::strong_count(held) > 1 || !held.is_idle(now));
        }
        Some(Arc::clone(shard.held.entry(address).or_insert_with(|| Arc::new(Held::new(self.limits, now)))))
    }

    /// Counts a connection of an address.
    pub(super) fn connect(held: &Arc<Held>) -> Result<Connected, Refused> {
        held.connect(Instant::now())
    }
}

/// The address of IPv4, and the /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(config: HttpConfig) -> Peers {
        Peers::new(&HttpConfig { limit_loopback: false, ..config })
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_so_many_connections_and_opens_so_many_a_second() {
        let peers = peers(HttpConfig {
            connections_per_address: 3,
            new_connections_per_second: 2,
            ..HttpConfig::default()
        });
        let held = peers.find("192.0.2.1".parse().unwrap()).unwrap();
        let mut open: Vec<_> = (0..3).map(|_| Peers::connect(&held).unwrap()).collect();
        assert_eq!(Peers::connect(&held).unwrap_err(), Refused::TooMany);
        // Somebody else is not concerned.
        let other = peers.find("192.0.2.2".parse().unwrap()).unwrap();
        drop(Peers::connect(&other).unwrap());
        open.clear();
        assert_eq!(Peers::connect(&held).unwrap_err(), Refused::TooFast);
        tokio::time::advance(Duration::from_millis(500)).await;
        drop(Peers::connect(&held).unwrap());
        assert_eq!(Peers::connect(&held).unwrap_err(), Refused::TooFast);
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let peers = peers(HttpConfig::default());
        let find = |address: &str| peers.find(address.parse().unwrap()).unwrap();
        let same = find("2001:db8:0:1::1");
        assert!(Arc::ptr_eq(&same, &find("2001:db8:0:1:ffff::2")));
        assert!(!Arc::ptr_eq(&same, &find("2001:db8:0:2::1")));
        assert!(Arc::ptr_eq(&find("::ffff:192.0.2.1"), &find("192.0.2.1")));
        assert!(peers.find("127.0.0.1".parse().unwrap()).is_none());
        assert!(peers.find("::1".parse().unwrap()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_hold_nothing_are_forgotten() {
        let peers = peers(HttpConfig::default());
        for number in 0..100_000_u32 {
            drop(peers.find(IpAddr::V4(number.into())));
        }
        let known: usize = peers.shards.iter().map(|shard| lock(shard).held.len()).sum();
        assert!(known <= SHARDS * LOOKUPS_BETWEEN_PRUNES as usize, "{known}");
    }

    #[test]
    fn requests_and_bodies_are_counted_until_they_end() {
        let config =
            HttpConfig { requests_per_address: 1, body_bytes_per_address: 10, ..HttpConfig::default() };
        let held = peers(config).find("192.0.2.1".parse().unwrap()).unwrap();
        let first = held.begin_request().unwrap();
        assert!(held.begin_request().is_none());
        drop(first);
        assert!(held.begin_request().is_some());
        assert!(held.add_body(10));
        assert!(!held.add_body(1));
        held.remove_body(10);
        assert_eq!(held.body_bytes(), 0);
    }
}
