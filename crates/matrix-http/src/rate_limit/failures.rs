//! A limit on failures, which are known only after the attempt: asking and counting are two steps.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use moka::sync::Cache;
use plexus_service::config::RateLimit;

use super::refill_period;
use crate::MatrixError;

/// Accounts that are remembered at once. Beyond it those seen longest ago are forgotten.
const MAX_ACCOUNTS: u64 = 100_000;

/// For each account, when all of its failures will have been forgiven.
pub(super) struct Failures {
    forgiven_at: Cache<String, Arc<Mutex<Instant>>>,
    period: Duration,
    burst: u32,
}

impl Failures {
    pub(super) fn new(limit: RateLimit) -> Self {
        let period = refill_period(limit);
        let burst = limit.burst.max(1);
        let full = period.saturating_mul(burst).min(Duration::from_secs(7 * 24 * 60 * 60));
        let forgiven_at = Cache::builder().max_capacity(MAX_ACCOUNTS).time_to_idle(full).build();
        Self { forgiven_at, period, burst }
    }

    /// Refuses while the failures not yet forgiven fill the bucket.
    pub(super) fn check(&self, key: &str) -> Result<(), MatrixError> {
        let Some(forgiven_at) = self.forgiven_at.get(key) else {
            return Ok(());
        };
        let debt = forgiven_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .saturating_duration_since(Instant::now());
        // One more failure must fit.
        match debt.checked_sub(self.period.saturating_mul(self.burst - 1)) {
            Some(wait) if !wait.is_zero() => Err(MatrixError::limit_exceeded(wait)),
            _ => Ok(()),
        }
    }

    /// Counts a failure.
    pub(super) fn count(&self, key: &str) {
        let now = Instant::now();
        let entry = self.forgiven_at.get_with_by_ref(key, || Arc::new(Mutex::new(now)));
        let mut forgiven_at = entry.lock().unwrap_or_else(PoisonError::into_inner);
        let most = now + self.period.saturating_mul(self.burst);
        *forgiven_at = ((*forgiven_at).max(now) + self.period).min(most);
    }
}
