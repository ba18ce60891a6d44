//! Meters what it takes to decide on a record, and remembers the states that were resolved for it.
//!
//! What is counted is work, never time: an honest record is not to be lost because the disk is slow.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use super::entry_changes::EntryChanges;

/// What a record may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Rounds of loading.
    pub(crate) loads: u64,
    /// Steps: events looked at by a resolution, entries that change, things loaded.
    pub(crate) steps: u64,
}

impl Budget {
    /// Of a record in turn with all others: about a second of work at most.
    pub(crate) const LIVE: Self = Self { loads: 1024, steps: 50_000 };
    /// Of a record in the low-priority lane.
    pub(crate) const LOW_PRIORITY: Self = Self { loads: 102_400, steps: 5_000_000 };
}

/// The states that were resolved, by the entries of each of them, and what came of them.
type Resolved = HashMap<Vec<(Option<u128>, Option<u128>)>, Arc<EntryChanges>>;

/// What the decisions on one record after the other have cost, and what they need not work out again.
///
/// Numeric IDs are given again if a record is refused, so what was resolved is only remembered for the decision that did:
/// for all calls of [`super::apply()`] that it takes, and for the same decision if it is repeated as a whole.
#[derive(Debug)]
pub(crate) struct Effort {
    budget: Budget,
    loads: AtomicU64,
    steps: AtomicU64,
    /// Steps of all records.
    total: AtomicU64,
    cancelled: Arc<AtomicBool>,
    decision: AtomicUsize,
    resolved: Mutex<Vec<Resolved>>,
}

impl Default for Effort {
    fn default() -> Self {
        Self::new(Budget::LIVE, Arc::default())
    }
}

impl Effort {
    /// Begins at nothing. `cancelled` ends whatever is metered, as if it had cost too much.
    pub(crate) fn new(budget: Budget, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            budget,
            loads: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            total: AtomicU64::new(0),
            cancelled,
            decision: AtomicUsize::new(0),
            resolved: Mutex::default(),
        }
    }

    /// The same decisions from their beginning, with all that was resolved for them.
    pub(crate) fn repeated(&self) -> Self {
        let repeated = Self::new(self.budget, Arc::default());
        repeated.resolved.lock().clone_from(&self.resolved.lock());
        repeated
    }

    /// Begins a record, which has the whole budget.
    pub(crate) fn begin_record(&self) {
        self.loads.store(0, Ordering::Relaxed);
        self.steps.store(0, Ordering::Relaxed);
    }

    /// Begins a decision: on a record, on an event of its batch, or on a parked event that it sets free.
    pub(crate) fn begin_decision(&self) {
        self.decision.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts steps; `false` if the record has cost too much.
    pub(crate) fn charge(&self, steps: u64) -> bool {
        self.total.fetch_add(steps, Ordering::Relaxed);
        let before = self.steps.fetch_add(steps, Ordering::Relaxed);
        before.saturating_add(steps) <= self.budget.steps && !self.cancelled.load(Ordering::Relaxed)
    }

    /// Counts a round of loading so many things; `false` if the record has cost too much.
    pub(crate) fn charge_load(&self, things: usize) -> bool {
        let before = self.loads.fetch_add(1, Ordering::Relaxed);
        self.charge(u64::try_from(things).unwrap_or(u64::MAX)) && before < self.budget.loads
    }

    /// Steps of all records so far.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// What became of these states in this decision.
    pub(super) fn resolved(&self, states: &[(Option<u128>, Option<u128>)]) -> Option<Arc<EntryChanges>> {
        let decision = self.decision.load(Ordering::Relaxed);
        self.resolved.lock().get(decision)?.get(states).map(Arc::clone)
    }

    /// Remembers what became of states in this decision.
    pub(super) fn remember(&self, states: Vec<(Option<u128>, Option<u128>)>, changes: Arc<EntryChanges>) {
        let decision = self.decision.load(Ordering::Relaxed);
        let mut resolved = self.resolved.lock();
        if resolved.len() <= decision {
            resolved.resize_with(decision + 1, Resolved::default);
        }
        if let Some(resolved) = resolved.get_mut(decision) {
            resolved.insert(states, changes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_the_whole_budget() {
        let effort = Effort::new(Budget { loads: 2, steps: 100 }, Arc::default());
        for _ in 0..3 {
            effort.begin_record();
            assert!(effort.charge(90));
            assert!(effort.charge(10));
            assert!(!effort.charge(1));
        }
        assert_eq!(effort.total(), 303);
        effort.begin_record();
        assert!(effort.charge_load(0) && effort.charge_load(0));
        assert!(!effort.charge_load(0));
        effort.begin_record();
        assert!(!effort.charge_load(101));
    }

    #[test]
    fn whatever_is_cancelled_goes_no_further() {
        let cancelled = Arc::new(AtomicBool::new(false));
        let effort = Effort::new(Budget::LOW_PRIORITY, Arc::clone(&cancelled));
        assert!(effort.charge(1));
        cancelled.store(true, Ordering::Relaxed);
        assert!(!effort.charge(1));
    }

    #[test]
    fn what_was_resolved_is_known_to_the_same_decision_alone() {
        let effort = Effort::default();
        let states = vec![(Some(1), None), (Some(2), None)];
        effort.begin_decision();
        effort.remember(states.clone(), Arc::default());
        assert!(effort.resolved(&states).is_some());
        effort.begin_decision();
        assert!(effort.resolved(&states).is_none());
        let repeated = effort.repeated();
        repeated.begin_decision();
        assert!(repeated.resolved(&states).is_some());
        repeated.begin_decision();
        assert!(repeated.resolved(&states).is_none());
    }
}
