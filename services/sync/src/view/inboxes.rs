//! Tracks the inboxes of a user's devices: the last message, and what was acknowledged.
//!
//! An inbox that is not here is empty, so a device without messages costs nothing.

use std::collections::HashMap;

/// The inboxes of a user in which something may wait.
#[derive(Debug, Default)]
pub(crate) struct Inboxes(HashMap<String, Inbox>);

#[derive(Debug)]
struct Inbox {
    /// `seq` of the last message.
    last: u64,
    /// Up to where this process has acknowledged.
    acknowledged: u64,
}

impl Inboxes {
    /// Notes a message.
    pub(super) fn hear(&mut self, device_id: String, seq: u64) {
        let inbox = self.0.entry(device_id).or_insert(Inbox { last: seq, acknowledged: 0 });
        inbox.last = inbox.last.max(seq);
    }

    /// Notes that a device went, with all messages before this.
    pub(super) fn remove(&mut self, device_id: &str, seq: u64) {
        if self.0.get(device_id).is_some_and(|inbox| inbox.last < seq) {
            self.0.remove(device_id);
        }
    }

    /// Where the last message lies, if it is after this.
    pub(crate) fn last_after(&self, device_id: &str, after: u64) -> Option<u64> {
        self.0.get(device_id).map(|inbox| inbox.last).filter(|last| *last > after)
    }

    /// Notes that the database has no message after this up to where the last was thought to lie.
    pub(crate) fn found_end(&mut self, device_id: &str, thought: u64, end: u64) {
        if let Some(inbox) = self.0.get_mut(device_id)
            && inbox.last == thought
        {
            inbox.last = end;
        }
    }

    /// Notes that a device has got messages up to this; returns whether that is to be acknowledged: there were some, and
    /// this process has not done so.
    pub(crate) fn got(&mut self, device_id: &str, upto: u64) -> bool {
        let Some(inbox) = self.0.get_mut(device_id) else { return false };
        let is_news = upto > inbox.acknowledged;
        inbox.acknowledged = inbox.acknowledged.max(upto);
        if upto >= inbox.last {
            self.0.remove(device_id);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_there_is_acknowledged_and_once() {
        let mut inboxes = Inboxes::default();
        assert!(!inboxes.got("A", 7), "nothing was there");
        inboxes.hear("A".to_owned(), 5);
        inboxes.hear("A".to_owned(), 9);
        assert_eq!((inboxes.last_after("A", 8), inboxes.last_after("A", 9)), (Some(9), None));
        assert!(inboxes.got("A", 5));
        assert!(!inboxes.got("A", 5) && !inboxes.got("A", 4));
        assert!(inboxes.got("A", 9));
        assert!(inboxes.0.is_empty());
    }

    #[test]
    fn a_device_that_came_again_keeps_what_came_since() {
        let mut inboxes = Inboxes::default();
        inboxes.hear("A".to_owned(), 5);
        inboxes.hear("B".to_owned(), 8);
        for device in ["A", "B"] {
            inboxes.remove(device, 7);
        }
        assert_eq!((inboxes.last_after("A", 0), inboxes.last_after("B", 0)), (None, Some(8)));
    }

    #[test]
    fn an_end_that_was_found_holds_until_more_comes() {
        let mut inboxes = Inboxes::default();
        inboxes.hear("A".to_owned(), 5);
        inboxes.found_end("A", 5, 3);
        assert_eq!((inboxes.last_after("A", 3), inboxes.last_after("A", 2)), (None, Some(3)));
        inboxes.hear("A".to_owned(), 9);
        inboxes.found_end("A", 3, 3);
        assert_eq!(inboxes.last_after("A", 3), Some(9));
    }
}
