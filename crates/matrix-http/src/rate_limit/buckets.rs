//! Token buckets, one for each key, as the time at which each is full again.
//!
//! A request may take more than a bucket holds: it needs a full one and leaves a debt, so that the rate in the long run
//! is kept whatever a request counts.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plexus_service::config::RateLimit;
use tokio::time::Instant;

/// Parts of the map, each with a lock of its own.
const SHARDS: usize = 64;
/// Checks in a part after which buckets that are full again are dropped.
const CHECKS_BETWEEN_PRUNES: u32 = 512;

/// The buckets of one limit.
#[derive(Debug)]
pub struct Buckets {
    /// Nanoseconds in which a bucket gains one token.
    period: u64,
    burst: u64,
    epoch: Instant,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    /// By a hash of the key: nanoseconds after the epoch at which the bucket is full.
    full_at: HashMap<u64, u64>,
    checks: u32,
}

impl Buckets {
    /// Makes them, all full.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        Self {
            period: nanos(refill_period(limit)),
            burst: u64::from(limit.burst.max(1)),
            epoch: Instant::now(),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Takes tokens; otherwise returns after which time there would be enough.
    pub fn take(&self, key: impl Hash, tokens: u32) -> Result<(), Duration> {
        let (hash, now) = (self.hasher.hash_one(key), self.now());
        let mut shard = self.shard(hash, now);
        let full_at = shard.full_at.get(&hash).copied().unwrap_or(0).max(now);
        let tokens = u64::from(tokens);
        self.fits(full_at, now, tokens)?;
        shard.full_at.insert(hash, full_at.saturating_add(tokens.saturating_mul(self.period)));
        Ok(())
    }

    /// Refuses as [`Buckets::take`] of one token would, and takes none.
    pub fn peek(&self, key: impl Hash) -> Result<(), Duration> {
        let (hash, now) = (self.hasher.hash_one(key), self.now());
        let full_at = self.shard(hash, now).full_at.get(&hash).copied().unwrap_or(0).max(now);
        self.fits(full_at, now, 1)
    }

    /// Takes tokens whether or not there are so many; the debt is at most one bucket.
    pub fn charge(&self, key: impl Hash, tokens: u32) {
        if tokens == 0 {
            return;
        }
        let (hash, now) = (self.hasher.hash_one(key), self.now());
        let mut shard = self.shard(hash, now);
        let full_at = shard.full_at.get(&hash).copied().unwrap_or(0).max(now);
        let most = now.saturating_add(self.burst.saturating_mul(self.period).saturating_mul(2));
        let charged = full_at.saturating_add(u64::from(tokens).saturating_mul(self.period));
        shard.full_at.insert(hash, charged.min(most.max(full_at)));
    }

    /// Takes a token whether or not there is one. Nobody gets deeper into debt by it.
    pub fn force(&self, key: impl Hash) {
        let (hash, now) = (self.hasher.hash_one(key), self.now());
        let mut shard = self.shard(hash, now);
        let full_at = shard.full_at.get(&hash).copied().unwrap_or(0).max(now);
        let most = now.saturating_add(self.burst.saturating_mul(self.period));
        shard.full_at.insert(hash, full_at.saturating_add(self.period).min(most.max(full_at)));
    }

    fn fits(&self, full_at: u64, now: u64, tokens: u64) -> Result<(), Duration> {
        let needed = tokens.min(self.burst).saturating_mul(self.period);
        let capacity = self.burst.saturating_mul(self.period);
        let too_much = full_at.saturating_add(needed).saturating_sub(now.saturating_add(capacity));
        if too_much == 0 { Ok(()) } else { Err(Duration::from_nanos(too_much)) }
    }

    fn now(&self) -> u64 {
        nanos(self.epoch.elapsed())
    }

    fn shard(&self, hash: u64, now: u64) -> MutexGuard<'_, Shard> {
        let [lowest, ..] = hash.to_le_bytes();
        let shard = &self.shards[usize::from(lowest) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.checks += 1;
        if shard.checks >= CHECKS_BETWEEN_PRUNES {
            shard.checks = 0;
            shard.full_at.retain(|_, full_at| *full_at > now);
        }
        shard
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Time in which a bucket gains one token: from a nanosecond to a day, whatever the configuration says, and such that
/// an empty bucket is full within a year, because nanoseconds are counted.
fn refill_period(limit: RateLimit) -> Duration {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let longest = DAY.min(YEAR / limit.burst.max(1));
    if limit.per_second.is_nan() || limit.per_second <= 0.0 {
        return longest;
    }
    Duration::try_from_secs_f64(limit.per_second.recip())
        .unwrap_or(longest)
        .clamp(Duration::from_nanos(1), longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn buckets_fill_with_time() {
        let buckets = Buckets::new(RateLimit { per_second: 0.5, burst: 2 });
        buckets.take("a", 1).unwrap();
        buckets.take("a", 1).unwrap();
        assert_eq!(buckets.take("a", 1).unwrap_err(), Duration::from_secs(2));
        assert_eq!(buckets.peek("a").unwrap_err(), Duration::from_secs(2));
        buckets.take("b", 1).unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        buckets.peek("a").unwrap();
        buckets.take("a", 1).unwrap();
        buckets.take("a", 1).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_more_than_a_bucket_holds_pays_later() {
        let buckets = Buckets::new(RateLimit { per_second: 1.0, burst: 20 });
        buckets.take("a", 1).unwrap();
        assert_eq!(buckets.take("a", 989).unwrap_err(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        buckets.take("a", 989).unwrap();
        assert_eq!(buckets.take("a", 1).unwrap_err(), Duration::from_secs(970));
    }

    #[tokio::test(start_paused = true)]
    async fn debts_of_failures_end() {
        let buckets = Buckets::new(RateLimit { per_second: 1.0, burst: 5 });
        for _ in 0..100 {
            buckets.force("a");
        }
        assert_eq!(buckets.peek("a").unwrap_err(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn full_buckets_are_dropped() {
        let buckets = Buckets::new(RateLimit { per_second: 1e9, burst: 1 });
        for key in 0..200_000 {
            buckets.take(key, 1).unwrap();
            tokio::time::advance(Duration::from_nanos(10)).await;
        }
        let known: usize = buckets.shards.iter().map(|shard| shard.lock().unwrap().full_at.len()).sum();
        assert!(known <= SHARDS * CHECKS_BETWEEN_PRUNES as usize, "{known}");
    }

    /// A rate that makes no sense is the slowest there is, one without end is the fastest; a burst is at least one.
    #[tokio::test(start_paused = true)]
    async fn odd_limits_are_the_nearest_that_make_sense() {
        let day = Duration::from_secs(24 * 60 * 60);
        let slow = [0.0, -1.0, f64::NAN, f64::NEG_INFINITY, f64::MIN_POSITIVE].map(|rate| (rate, day));
        let fast = [f64::INFINITY, 1e300].map(|rate| (rate, Duration::from_nanos(1)));
        for (per_second, period) in slow.into_iter().chain(fast) {
            for burst in [0, 1] {
                let buckets = Buckets::new(RateLimit { per_second, burst });
                buckets.take("key", 1).unwrap();
                assert_eq!(buckets.take("key", 1).unwrap_err(), period, "{per_second} {burst}");
                buckets.force("key");
                assert_eq!(buckets.peek("key").unwrap_err(), period, "{per_second} {burst}");
            }
            let limit = RateLimit { per_second, burst: u32::MAX };
            let buckets = Buckets::new(limit);
            buckets.take("key", u32::MAX).unwrap();
            assert_eq!(buckets.take("key", 1).unwrap_err(), refill_period(limit), "{per_second}");
            assert!(refill_period(limit) <= Duration::from_millis(10));
        }
    }
}
