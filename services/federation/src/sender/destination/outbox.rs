//! Outbox of a server: messages to devices, and changes of devices and keys. The room server keeps what is in it; here is
//! only whether there is something.
//!
//! A server that cannot take a transaction is sent these apart from events, then fewer at a time. What it refuses by itself
//! is given up.

use crate::sender::transaction::OUTBOX_EDUS;

/// How often one of them is refused by itself before it is given up.
const MAX_REFUSALS: u32 = 3;
/// The pause after a refusal, in milliseconds.
const AFTER_REFUSAL: i64 = 1_000;

/// What is read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sender) struct Take {
    /// At most so many.
    pub(in crate::sender) limit: usize,
    /// The first one is given up, and nothing is sent.
    pub(in crate::sender) is_discarded: bool,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waits: bool,
    is_under_way: bool,
    /// How many are sent at a time, if not as many as there may be.
    limit: Option<usize>,
    refusals: u32,
    not_before: i64,
}

impl Outbox {
    /// Something waits.
    pub(super) fn wait(&mut self) {
        self.waits = true;
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Option<i64> {
        self.waits.then_some(self.not_before)
    }

    /// Whether it does not go together with anything else.
    pub(super) fn goes_alone(&self) -> bool {
        self.waits && self.limit.is_some()
    }

    /// Takes what goes out now.
    pub(super) fn take(&mut self, now: i64) -> Option<Take> {
        if !self.waits || self.not_before > now {
            return None;
        }
        (self.waits, self.is_under_way) = (false, true);
        let is_discarded = self.limit == Some(1) && self.refusals >= MAX_REFUSALS;
        Some(Take { limit: self.limit.unwrap_or(OUTBOX_EDUS), is_discarded })
    }

    /// The server has what was under way.
    pub(super) fn delivered(&mut self, has_more: bool) {
        if std::mem::take(&mut self.is_under_way) {
            self.waits |= has_more;
            self.refusals = 0;
            self.limit = self.limit.map(|limit| limit * 2).filter(|limit| *limit < OUTBOX_EDUS);
        }
    }

    /// What was under way waits again.
    pub(super) fn put_back(&mut self) {
        self.waits |= std::mem::take(&mut self.is_under_way);
    }

    /// The server refused a transaction with what was under way, or broke at it. `was_alone`: nothing else was in it.
    pub(super) fn refused(&mut self, was_alone: bool, now: i64) {
        if !std::mem::take(&mut self.is_under_way) {
            return;
        }
        self.waits = true;
        self.not_before = now + AFTER_REFUSAL;
        let limit = self.limit.unwrap_or(OUTBOX_EDUS);
        self.limit = Some(if was_alone { (limit / 2).max(1) } else { limit });
        if was_alone && limit == 1 {
            self.refusals += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_taken_once_and_again_until_it_is_delivered() {
        let mut outbox = Outbox::default();
        assert_eq!((outbox.due(), outbox.take(0)), (None, None));
        outbox.wait();
        assert_eq!(outbox.take(0).unwrap().limit, OUTBOX_EDUS);
        assert_eq!(outbox.take(0), None);
        outbox.put_back();
        assert!(outbox.take(0).is_some());
        // Something came meanwhile.
        outbox.wait();
        outbox.delivered(false);
        assert!(outbox.take(0).is_some());
        outbox.delivered(true);
        assert!(outbox.take(0).is_some());
        outbox.delivered(false);
        assert_eq!(outbox.due(), None);
    }

    #[test]
    fn what_is_refused_by_itself_is_given_up_in_the_end() {
        let mut outbox = Outbox::default();
        outbox.wait();
        outbox.take(0);
        outbox.refused(false, 0);
        assert!(outbox.goes_alone() && outbox.take(0).is_none());
        let mut now = 0;
        let mut tries = 0;
        loop {
            now += AFTER_REFUSAL;
            let take = outbox.take(now).unwrap();
            if take.is_discarded {
                break;
            }
            tries += 1;
            outbox.refused(true, now);
        }
        assert_eq!((tries, outbox.limit), (8, Some(1)));
        outbox.delivered(true);
        assert_eq!(outbox.take(now).unwrap(), Take { limit: 2, is_discarded: false });
    }
}
