//! Tracks who types in a room. It comes by the ephemeral log and may be lost; it ends by itself.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use ruma::{OwnedUserId, UserId};

use crate::limits;

/// Who types in a room.
#[derive(Debug, Default)]
pub(crate) struct Typing {
    /// Until when each types, in milliseconds since the Unix epoch. Those whose time is over stay for a while: clients
    /// that were told of them are told of their end.
    until: Mutex<BTreeMap<OwnedUserId, i64>>,
    /// The offset after the last record about the room.
    position: AtomicU64,
    /// When the last of them stops, or stopped, by itself.
    end: AtomicI64,
    /// When somebody was last made to stop.
    stopped: AtomicI64,
}

/// How long an end is remembered, in milliseconds. A client that comes back later is told anyway, as the last end stays.
const REMEMBERED: i64 = 10 * 60 * 1_000;

impl Typing {
    /// Applies a record: the user types until then, or no longer. `position` is the offset after the record.
    pub(crate) fn apply(&self, user: &UserId, until: Option<i64>, position: u64, now: i64) {
        let mut typists = self.until.lock();
        typists.retain(|_, until| *until > now - REMEMBERED);
        match until {
            Some(until) if typists.len() < limits::TYPISTS || typists.contains_key(user) => {
                typists.insert(user.to_owned(), until);
            }
            Some(_) => {}
            None => drop(typists.remove(user)),
        }
        let last = typists.values().max().copied().unwrap_or_default();
        let before = self.end.load(Ordering::Acquire);
        // An end that has passed happened, whoever typed since.
        self.end.store(if before <= now { last.max(before) } else { last }, Ordering::Release);
        self.position.fetch_max(position, Ordering::AcqRel);
    }

    /// Ends a user's typing before its time; tells whether they typed.
    pub(crate) fn stop(&self, user: &UserId, now: i64) -> bool {
        if self.end.load(Ordering::Acquire) <= now {
            return false;
        }
        let mut typists = self.until.lock();
        if typists.get(user).is_none_or(|until| *until <= now) {
            return false;
        }
        typists.remove(user);
        self.end.store(typists.values().max().copied().unwrap_or_default().max(now), Ordering::Release);
        self.stopped.fetch_max(now, Ordering::AcqRel);
        true
    }

    /// Begins anew where offsets do: in a new log.
    pub(crate) fn forget(&self) {
        self.until.lock().clear();
        self.position.store(0, Ordering::Release);
        self.end.store(0, Ordering::Release);
        self.stopped.store(0, Ordering::Release);
    }

    /// Whether something changed for a client that was told how it was at this position and time.
    pub(crate) fn changed_since(&self, position: u64, then: i64, now: i64) -> bool {
        if self.position.load(Ordering::Acquire) > position {
            return true;
        }
        // A client may have been told of them in the same millisecond.
        let stopped = self.stopped.load(Ordering::Acquire);
        if stopped > 0 && (then..=now).contains(&stopped) {
            return true;
        }
        let end = self.end.load(Ordering::Acquire);
        if end <= then {
            return false;
        }
        end <= now || self.until.lock().values().any(|until| *until > then && *until <= now)
    }

    /// Whoever types now.
    pub(crate) fn users(&self, now: i64) -> Vec<OwnedUserId> {
        if self.end.load(Ordering::Acquire) <= now {
            return Vec::new();
        }
        let typists = self.until.lock();
        typists.iter().filter(|(_, until)| **until > now).map(|(user, _)| user.clone()).collect()
    }

    /// Whether nobody has typed for so long that it need not be kept for a room that nobody has to do with.
    pub(crate) fn is_over(&self, now: i64) -> bool {
        self.end.load(Ordering::Acquire) <= now - REMEMBERED
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn ends_are_told_once() {
        let typing = Typing::default();
        let alice = user_id!("@a:b");
        assert!(!typing.changed_since(0, 0, 1_000));
        typing.apply(alice, Some(2_000), 5, 1_000);
        assert!(typing.changed_since(4, 900, 1_000));
        assert!(!typing.changed_since(5, 1_000, 1_500));
        assert_eq!(typing.users(1_500), [alice]);
        assert!(typing.changed_since(5, 1_500, 2_000));
        assert!(typing.users(2_000).is_empty());
        assert!(!typing.changed_since(5, 2_000, 3_000));
        // Somebody else types; who was away meanwhile is still told.
        typing.apply(user_id!("@b:b"), Some(9_000), 6, 3_000);
        assert!(typing.changed_since(6, 1_500, 3_000));
        assert!(!typing.changed_since(6, 3_000, 4_000));
    }

    #[test]
    fn who_is_stopped_types_no_longer_and_that_is_told() {
        let typing = Typing::default();
        let (alice, bob) = (user_id!("@a:b"), user_id!("@b:b"));
        assert!(!typing.stop(alice, 500));
        typing.apply(alice, Some(9_000), 1, 1_000);
        typing.apply(bob, Some(8_000), 2, 1_000);
        assert!(typing.stop(alice, 1_100) && !typing.stop(alice, 1_100));
        assert_eq!(typing.users(1_100), [bob]);
        assert!(typing.changed_since(2, 1_000, 1_100));
        assert!(typing.changed_since(2, 1_100, 1_100), "in the same millisecond, too");
        assert!(!typing.changed_since(2, 1_101, 1_200));
        assert!(typing.stop(bob, 1_300));
        assert!(typing.users(1_300).is_empty() && typing.changed_since(2, 1_200, 1_300));
    }

    #[test]
    fn whoever_stops_is_not_told_to_end() {
        let typing = Typing::default();
        let alice = user_id!("@a:b");
        typing.apply(alice, Some(2_000), 1, 1_000);
        typing.apply(alice, None, 2, 1_100);
        assert!(typing.users(1_200).is_empty());
        assert!(typing.changed_since(1, 1_050, 1_200));
        assert!(!typing.changed_since(2, 1_200, 2_500));
    }
}
