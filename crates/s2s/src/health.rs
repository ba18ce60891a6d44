//! Tracks how servers have answered lately: one that does not answer is left alone for a while.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::time::Instant;

/// Servers that are remembered, and for how long after the last word about them.
const CACHE_SIZE: u64 = 100_000;
const REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);
/// The first pause, which covers a restart, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// How one server has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Failures since the last success.
    pub failures: u32,
    /// Until when it is not asked.
    pub until: Option<Instant>,
    /// What went wrong last.
    pub why: Option<String>,
    /// When it answered last, or asked us something.
    pub contact: Option<Instant>,
}

impl Record {
    /// After a failure. `jitter` is between 0.8 and 1.4.
    pub fn fail(&mut self, why: String, now: Instant, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        let doublings = (self.failures - 1).min(16);
        let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(MAX_PAUSE);
        self.until = Some(now + pause.mul_f64(jitter));
        self.why = Some(why);
    }

    /// After a success, or a request of its own.
    pub fn succeed(&mut self, now: Instant) {
        *self = Self { contact: Some(now), ..Self::default() };
    }

    /// For how long it is still left alone.
    #[must_use]
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        self.until.and_then(|until| until.checked_duration_since(now)).filter(|pause| !pause.is_zero())
    }
}

/// How servers have answered. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    records: Cache<OwnedServerName, Arc<Mutex<Record>>>,
}

impl Default for Health {
    fn default() -> Self {
        let records = Cache::builder().max_capacity(CACHE_SIZE).time_to_idle(REMEMBER).build();
        Self { records }
    }
}

impl Health {
    /// What is known of a server.
    #[must_use]
    pub fn of(&self, server: &ServerName) -> Record {
        self.records.get(server).map(|record| record.lock().clone()).unwrap_or_default()
    }

    /// For how long a server is still left alone, and why.
    #[must_use]
    pub fn pause(&self, server: &ServerName) -> Option<(Duration, String)> {
        let record = self.records.get(server)?;
        let record = record.lock();
        record.pause(Instant::now()).map(|pause| (pause, record.why.clone().unwrap_or_default()))
    }

    /// Notes that a server did not answer, or failed. True if it had answered before.
    pub fn fail(&self, server: &ServerName, why: String) -> bool {
        let record = self.records.get_with(server.to_owned(), Arc::default);
        let mut record = record.lock();
        record.fail(why, Instant::now(), rand::random_range(0.8..1.4));
        record.failures == 1
    }

    /// Notes that a server answered, or asked us something. True if it had failed before.
    pub fn succeed(&self, server: &ServerName) -> bool {
        let record = self.records.get_with(server.to_owned(), Arc::default);
        let mut record = record.lock();
        let had_failed = record.failures > 0;
        record.succeed(Instant::now());
        had_failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_with_contact() {
        let now = Instant::now();
        let mut record = Record::default();
        assert_eq!(record.pause(now), None);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            record.fail("no answer".to_owned(), now, 1.0);
            pauses.push(record.pause(now).unwrap().as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]);
        assert_eq!(record.pause(now + Duration::from_secs(3600)), None);
        record.succeed(now);
        assert_eq!((record.pause(now), record.failures, record.contact), (None, 0, Some(now)));
        for _ in 0..100 {
            record.fail(String::new(), now, 1.4);
        }
        assert_eq!(record.pause(now).unwrap().as_secs(), 5040);
    }

    #[test]
    fn changes_are_told_once() {
        let health = Health::default();
        let server: &ServerName = "example.org".try_into().unwrap();
        assert!(!health.succeed(server));
        assert!(health.fail(server, "down".to_owned()));
        assert!(!health.fail(server, "still down".to_owned()));
        assert_eq!(health.pause(server).unwrap().1, "still down");
        assert!(health.succeed(server));
        assert_eq!(health.pause(server), None);
    }
}
