//! Leases by which services hold sessions of our users in memory (`plexus_sessions`).
//!
//! The worker tells by [`SessionLeases::end`] whose sessions a commit has ended, before it releases the verdicts. A verdict goes
//! out when all holders have dropped what has ended, or their leases have run out: see [`SessionLeases::dropped()`]. So nobody is
//! told of a logout while the old session still answers anywhere.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;
use plexus_log::PARTITIONS;
use tokio::{sync::Notify, time::Instant};

use crate::metrics as names;

/// How long sessions may be held after they were asked for.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// How long a renewal waits for something to tell.
const WAIT: Duration = Duration::from_secs(2);
/// What has ended and is remembered; who is further behind drops everything.
const REMEMBERED: usize = 1024;
/// Most holders.
const MAX_HOLDERS: usize = 1000;

/// ID of a holder.
pub(crate) type LeaseHolderId = [u8; 16];

/// Who holds sessions, and what has ended.
#[derive(Default)]
pub(crate) struct SessionLeases {
    known: Mutex<Known>,
    /// Something has ended.
    ended: Notify,
    /// A holder has dropped what ended, or has left.
    dropped: Notify,
}

#[derive(Default)]
struct Known {
    /// Counts what has ended.
    number: u64,
    /// The users whose sessions ended last; the newest one is `number`. Whoever has not dropped what is before them
    /// drops everything.
    users: VecDeque<String>,
    /// The last number of each partition.
    last: HashMap<u32, u64>,
    holders: HashMap<LeaseHolderId, Holder>,
}

struct Holder {
    /// When its lease runs out.
    until: Instant,
    /// The number up to which it has dropped what ended.
    dropped: u64,
}

/// What to tell a holder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) number: u64,
    /// Whose sessions to drop; `None`: everybody's.
    pub(crate) users: Option<Vec<String>>,
}

/// There are too many holders.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl SessionLeases {
    /// Notes that a session of a user has ended. To be called after the commit, before its verdict is told.
    pub(crate) fn end(&self, partition: u32, user_id: &str) {
        let mut known = self.known.lock();
        if known.holders.is_empty() || partition >= PARTITIONS {
            return;
        }
        known.number += 1;
        let number = known.number;
        known.last.insert(partition, number);
        if known.users.len() >= REMEMBERED {
            known.users.pop_front();
        }
        known.users.push_back(user_id.to_owned());
        drop(known);
        self.ended.notify_waiters();
    }

    /// Notes that any session of some partitions may have ended, or that we would not hear of it any more.
    pub(crate) fn end_all(&self, partitions: impl IntoIterator<Item = u32>) {
        let mut known = self.known.lock();
        if known.holders.is_empty() {
            return;
        }
        known.number += 1;
        let number = known.number;
        known.users.clear();
        known.last.extend(partitions.into_iter().map(|partition| (partition, number)));
        drop(known);
        self.ended.notify_waiters();
    }

    /// Waits until all that has ended in a partition so far is held nowhere.
    pub(crate) async fn dropped(&self, partition: u32) {
        let Some(number) = self.known.lock().last.get(&partition).copied() else { return };
        loop {
            let dropped = self.dropped.notified();
            tokio::pin!(dropped);
            dropped.as_mut().enable();
            let Some(until) = self.known.lock().behind(number) else { return };
            tokio::select! {
                () = dropped => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Renews a lease: notes what the holder has dropped, and waits a moment for something to tell it.
    pub(crate) async fn renew(&self, id: LeaseHolderId, dropped: u64) -> Result<Ended, TooMany> {
        if let Some(anew) = self.known.lock().note(id, dropped)? {
            return Ok(anew);
        }
        self.dropped.notify_waiters();
        let end = Instant::now() + WAIT;
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let late = Instant::now() >= end;
            if let Some(ended) = self.known.lock().tell(id, dropped, late) {
                return Ok(ended);
            }
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }

    /// Ends a lease.
    pub(crate) fn leave(&self, id: LeaseHolderId) {
        let mut known = self.known.lock();
        known.holders.remove(&id);
        known.count();
        drop(known);
        self.dropped.notify_waiters();
    }
}

impl Known {
    /// Notes what a holder has dropped. If its lease has to begin anew, it does; returns what to tell the holder then.
    fn note(&mut self, id: LeaseHolderId, dropped: u64) -> Result<Option<Ended>, TooMany> {
        let now = Instant::now();
        let number = self.number;
        if let Some(holder) =
            self.holders.get_mut(&id).filter(|holder| holder.until > now && dropped <= number)
        {
            holder.dropped = holder.dropped.max(dropped);
            return Ok(None);
        }
        self.holders.retain(|_, holder| holder.until > now);
        if self.holders.len() >= MAX_HOLDERS {
            return Err(TooMany);
        }
        self.holders.insert(id, Holder { until: now + LEASE, dropped: number });
        self.count();
        Ok(Some(Ended { number, users: None }))
    }

    /// What has ended since a number, with a lease from now on; `None` if there is nothing to tell yet.
    fn tell(&mut self, id: LeaseHolderId, since: u64, late: bool) -> Option<Ended> {
        let number = self.number;
        if number == since && !late {
            return None;
        }
        let until = Instant::now() + LEASE;
        let Some(holder) = self.holders.get_mut(&id) else {
            // Its lease ran out while it waited.
            self.holders.insert(id, Holder { until, dropped: number });
            return Some(Ended { number, users: None });
        };
        holder.until = until;
        let count = usize::try_from(number - since).unwrap_or(usize::MAX);
        let users =
            self.users.len().checked_sub(count).map(|from| self.users.range(from..).cloned().collect());
        Some(Ended { number, users })
    }

    /// When the first lease runs out of those who have not dropped what ended up to a number; `None` if all have.
    fn behind(&self, number: u64) -> Option<Instant> {
        let now = Instant::now();
        let behind = self.holders.values().filter(|holder| holder.dropped < number && holder.until > now);
        behind.map(|holder| holder.until).min()
    }

    fn count(&self) {
        let count = u32::try_from(self.holders.len()).unwrap_or(u32::MAX);
        metrics::gauge!(names::SESSION_HOLDERS).set(f64::from(count));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const ONE: LeaseHolderId = [1; 16];
    const TWO: LeaseHolderId = [2; 16];

    /// Whether what has ended in a partition is held nowhere by now.
    async fn is_dropped(holders: &SessionLeases, partition: u32) -> bool {
        tokio::time::timeout(Duration::from_millis(1), holders.dropped(partition)).await.is_ok()
    }

    fn users(number: u64, users: &[&str]) -> Result<Ended, TooMany> {
        Ok(Ended { number, users: Some(users.iter().map(|user| (*user).to_owned()).collect()) })
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_dropped_before_all_have_said_so() {
        let holders = SessionLeases::default();
        holders.end(3, "@before:a");
        assert!(is_dropped(&holders, 3).await, "there is nobody to wait for");
        for holder in [ONE, TWO] {
            assert_eq!(holders.renew(holder, 0).await, Ok(Ended { number: 0, users: None }));
        }
        holders.end(3, "@alice:a");
        holders.end(3, "@bob:a");
        assert!(is_dropped(&holders, 4).await, "another partition");
        assert!(!is_dropped(&holders, 3).await);
        for holder in [ONE, TWO] {
            assert_eq!(holders.renew(holder, 0).await, users(2, &["@alice:a", "@bob:a"]));
            assert!(!is_dropped(&holders, 3).await);
        }
        let began = Instant::now();
        assert_eq!(holders.renew(ONE, 2).await, users(2, &[]));
        assert_eq!(began.elapsed(), WAIT);
        assert!(!is_dropped(&holders, 3).await, "the other one has said nothing");
        assert_eq!(holders.renew(TWO, 2).await, users(2, &[]));
        assert!(is_dropped(&holders, 3).await);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_told_at_once() {
        let holders = Arc::new(SessionLeases::default());
        holders.renew(ONE, 0).await.unwrap();
        let began = Instant::now();
        let renewal = tokio::spawn({
            let holders = Arc::clone(&holders);
            async move { holders.renew(ONE, 0).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        holders.end(3, "@alice:a");
        let waits = tokio::spawn({
            let holders = Arc::clone(&holders);
            async move { holders.dropped(3).await }
        });
        assert_eq!(renewal.await.unwrap(), users(1, &["@alice:a"]));
        assert!(!waits.is_finished());
        let renewal = tokio::spawn({
            let holders = Arc::clone(&holders);
            async move { holders.renew(ONE, 1).await }
        });
        waits.await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_millis(100));
        renewal.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_waited_for_no_longer_than_the_lease() {
        let holders = SessionLeases::default();
        holders.renew(ONE, 0).await.unwrap();
        holders.renew(TWO, 0).await.unwrap();
        holders.leave(TWO);
        holders.end(3, "@alice:a");
        let began = Instant::now();
        holders.dropped(3).await;
        assert_eq!(began.elapsed(), LEASE);
        // Whoever comes back after that begins anew, as does one who speaks of what was never told.
        assert_eq!(holders.renew(ONE, 0).await, Ok(Ended { number: 1, users: None }));
        assert_eq!(holders.renew(ONE, 9).await, Ok(Ended { number: 1, users: None }));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_far_behind_drops_everything() {
        let holders = SessionLeases::default();
        holders.renew(ONE, 0).await.unwrap();
        for _ in 0..=REMEMBERED {
            holders.end(3, "@alice:a");
        }
        let number = u64::try_from(REMEMBERED).unwrap() + 1;
        assert_eq!(holders.renew(ONE, 0).await, Ok(Ended { number, users: None }));
        assert_eq!(holders.renew(ONE, 2).await.unwrap().users.unwrap().len(), REMEMBERED - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn everything_may_have_ended() {
        let holders = SessionLeases::default();
        holders.renew(ONE, 0).await.unwrap();
        holders.end(3, "@alice:a");
        holders.end_all([3, 4]);
        holders.end(3, "@bob:a");
        assert!(!is_dropped(&holders, 4).await);
        assert_eq!(holders.renew(ONE, 1).await, Ok(Ended { number: 3, users: None }));
        assert_eq!(holders.renew(ONE, 2).await, users(3, &["@bob:a"]));
        assert!(is_dropped(&holders, 4).await);
        assert!(!is_dropped(&holders, 3).await);
    }

    #[tokio::test(start_paused = true)]
    async fn holders_are_few() {
        let holders = SessionLeases::default();
        let id = |number: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            id
        };
        for number in 0..MAX_HOLDERS {
            holders.renew(id(number), 0).await.unwrap();
        }
        assert_eq!(holders.renew(ONE, 0).await, Err(TooMany));
        tokio::time::sleep(LEASE).await;
        holders.renew(ONE, 0).await.unwrap();
    }
}
