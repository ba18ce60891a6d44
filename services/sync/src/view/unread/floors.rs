//! Read positions of a member.

use std::collections::HashMap;

use super::Member;
use crate::view::{RoomView, receipts::Scope};

/// Up to where a member has read.
#[derive(Debug, Default)]
pub(super) struct Floors {
    pub(super) everywhere: u64,
    main: u64,
    threads: HashMap<String, u64>,
}

impl Floors {
    /// Reads the receipts of a member up to a position; returns the `seq` of the newest, too.
    pub(super) fn of(view: &RoomView, member: &Member, upto: u64) -> (Self, u64) {
        let mut floors = Self { everywhere: member.joined_since, ..Self::default() };
        let mut newest = 0;
        for receipt in view.receipts.of(&member.user, upto) {
            newest = newest.max(receipt.seq);
            let floor = match &receipt.scope {
                Scope::Unthreaded => &mut floors.everywhere,
                Scope::Main => &mut floors.main,
                Scope::Thread(root) => floors.threads.entry(root.clone()).or_default(),
            };
            *floor = (*floor).max(receipt.event_seq);
        }
        (floors, newest)
    }

    pub(super) fn covers(&self, seq: u64, thread: Option<&str>) -> bool {
        let of_thread = match thread {
            None => self.main,
            Some(root) => self.threads.get(root).copied().unwrap_or_default(),
        };
        seq <= self.everywhere.max(of_thread)
    }
}
