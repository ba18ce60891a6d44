//! Limits on what one client may ask.

mod failures;

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota,
    clock::{Clock as _, DefaultClock},
};
use plexus_service::config::{RateLimit, RateLimitsConfig};
use ruma::UserId;

use crate::MatrixError;

/// After so many checks, keys whose bucket is full again are dropped.
const CHECKS_BETWEEN_PRUNES: u32 = 4096;

/// The limits of the configuration, each with a bucket per user or address. Cheap to clone.
#[derive(Clone)]
pub struct RateLimiter {
    /// `None` if there are no limits.
    limits: Option<Arc<Limits>>,
}

struct Limits {
    message: Buckets,
    registration: Buckets,
    login: Buckets,
    failed_login: failures::Failures,
    join: Buckets,
    invite: Buckets,
    room_creation: Buckets,
    other: Buckets,
}

impl RateLimiter {
    /// Makes the buckets, all full.
    #[must_use]
    pub fn new(config: &RateLimitsConfig) -> Self {
        let limits = config.enabled.then(|| {
            Arc::new(Limits {
                message: Buckets::new(config.message),
                registration: Buckets::new(config.registration),
                login: Buckets::new(config.login),
                failed_login: failures::Failures::new(config.failed_login),
                join: Buckets::new(config.join),
                invite: Buckets::new(config.invite),
                room_creation: Buckets::new(config.room_creation),
                other: Buckets::new(config.other),
            })
        });
        Self { limits }
    }

    /// Counts an event sent.
    pub fn check_message(&self, user: &UserId) -> Result<(), MatrixError> {
        self.check(|limits| &limits.message, user.as_str())
    }

    /// Counts a registration, or a question about one.
    pub fn check_registration(&self, address: IpAddr) -> Result<(), MatrixError> {
        self.check(|limits| &limits.registration, &subnet(address))
    }

    /// Counts a login.
    pub fn check_login(&self, address: IpAddr) -> Result<(), MatrixError> {
        self.check(|limits| &limits.login, &subnet(address))
    }

    /// Refuses while too many passwords for the account were wrong; counts nothing.
    pub fn check_failed_logins(&self, user: &UserId) -> Result<(), MatrixError> {
        match &self.limits {
            Some(limits) => limits.failed_login.check(user.as_str()),
            None => Ok(()),
        }
    }

    /// Counts a wrong password for an account, whether it exists or not.
    pub fn count_failed_login(&self, user: &UserId) {
        if let Some(limits) = &self.limits {
            limits.failed_login.count(user.as_str());
        }
    }

    /// Counts a join or a knock.
    pub fn check_join(&self, user: &UserId) -> Result<(), MatrixError> {
        self.check(|limits| &limits.join, user.as_str())
    }

    /// Counts an invite.
    pub fn check_invite(&self, user: &UserId) -> Result<(), MatrixError> {
        self.check(|limits| &limits.invite, user.as_str())
    }

    /// Counts a room created.
    pub fn check_room_creation(&self, user: &UserId) -> Result<(), MatrixError> {
        self.check(|limits| &limits.room_creation, user.as_str())
    }

    /// Counts any other change.
    pub fn check_other(&self, user: &UserId) -> Result<(), MatrixError> {
        self.check(|limits| &limits.other, user.as_str())
    }

    fn check(&self, which: impl FnOnce(&Limits) -> &Buckets, key: &str) -> Result<(), MatrixError> {
        match &self.limits {
            Some(limits) => which(limits).check(key),
            None => Ok(()),
        }
    }
}

/// A token bucket for each key.
struct Buckets {
    limiter: governor::DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
    checks: AtomicU32,
}

impl Buckets {
    fn new(limit: RateLimit) -> Self {
        let clock = DefaultClock::default();
        Self {
            limiter: governor::DefaultKeyedRateLimiter::keyed(quota(limit)),
            clock,
            checks: AtomicU32::new(0),
        }
    }

    fn check(&self, key: &str) -> Result<(), MatrixError> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CHECKS_BETWEEN_PRUNES == CHECKS_BETWEEN_PRUNES - 1 {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(&key.to_owned())
            .map_err(|until| MatrixError::limit_exceeded(until.wait_time_from(self.clock.now())))
    }
}

fn quota(limit: RateLimit) -> Quota {
    let burst = NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(refill_period(limit))
        .unwrap_or_else(|| Quota::per_second(NonZeroU32::MAX))
        .allow_burst(burst)
}

/// Time in which a bucket gains one token: from a nanosecond to a day, whatever the configuration says, and such that
/// an empty bucket is full within a year, because governor counts in nanoseconds.
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

/// Whoever has one IPv6 address has a /64 of them.
fn subnet(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    fn limiter(enabled: bool) -> RateLimiter {
        let limit = RateLimit { per_second: 0.5, burst: 2 };
        RateLimiter::new(&RateLimitsConfig {
            enabled,
            message: limit,
            failed_login: limit,
            ..RateLimitsConfig::default()
        })
    }

    #[test]
    fn more_than_the_burst_is_refused_by_user() {
        let limiter = limiter(true);
        let (alice, bob) = (user_id!("@alice:test"), user_id!("@bob:test"));
        limiter.check_message(alice).unwrap();
        limiter.check_message(alice).unwrap();
        let error = limiter.check_message(alice).unwrap_err();
        assert!(error.is("M_LIMIT_EXCEEDED"));
        let millis = error.extra["retry_after_ms"].as_u64().unwrap();
        assert!((1..=2000).contains(&millis), "{millis}");
        limiter.check_message(bob).unwrap();
    }

    #[test]
    fn nothing_is_refused_when_limits_are_off() {
        let limiter = limiter(false);
        let alice = user_id!("@alice:test");
        for _ in 0..100 {
            limiter.check_message(alice).unwrap();
            limiter.count_failed_login(alice);
            limiter.check_failed_logins(alice).unwrap();
        }
    }

    #[test]
    fn only_failures_count_against_an_account() {
        let limiter = limiter(true);
        let alice = user_id!("@alice:test");
        for _ in 0..10 {
            limiter.check_failed_logins(alice).unwrap();
        }
        limiter.count_failed_login(alice);
        limiter.count_failed_login(alice);
        assert!(limiter.check_failed_logins(alice).unwrap_err().is("M_LIMIT_EXCEEDED"));
    }

    #[test]
    fn odd_limits_do_not_panic() {
        for per_second in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 1e300] {
            for burst in [0, 1, u32::MAX] {
                drop(Buckets::new(RateLimit { per_second, burst }).check("key"));
            }
        }
    }
}
