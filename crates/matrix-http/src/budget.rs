//! Budgets of bytes under way: what all requests, and those of one holder, keep in memory at a time.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Parts of the map, each with a lock of its own.
const SHARDS: usize = 64;

/// A budget in all, and one for each holder, who is named by a hash.
#[derive(Debug)]
pub(crate) struct Budget {
    most: usize,
    most_of_one: usize,
    total: AtomicUsize,
    holders: [Mutex<HashMap<u64, usize>>; SHARDS],
}

/// Which budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spent {
    InAll,
    OfHolder,
}

impl Budget {
    pub(crate) fn new(most: usize, most_of_one: usize) -> Self {
        Self {
            most,
            most_of_one,
            total: AtomicUsize::new(0),
            holders: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Counts bytes in all. What one request holds alone may exceed the budget: `own` are those that it holds already.
    pub(crate) fn add(&self, bytes: usize, own: usize) -> Result<(), Spent> {
        let add = |total: usize| sum(total, bytes, own, self.most);
        self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map(drop).map_err(|_| Spent::InAll)
    }

    /// Counts bytes of a holder, which [`Budget::add`] has counted in all.
    pub(crate) fn add_to(&self, holder: u64, bytes: usize, own: usize) -> Result<(), Spent> {
        let mut holders = self.shard(holder).lock().unwrap_or_else(PoisonError::into_inner);
        let held = holders.get(&holder).copied().unwrap_or(0);
        let sum = sum(held, bytes, own, self.most_of_one).ok_or(Spent::OfHolder)?;
        holders.insert(holder, sum);
        Ok(())
    }

    /// Forgets bytes that were counted in all.
    pub(crate) fn remove(&self, bytes: usize) {
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Forgets bytes that were counted for a holder.
    pub(crate) fn remove_from(&self, holder: u64, bytes: usize) {
        let mut holders = self.shard(holder).lock().unwrap_or_else(PoisonError::into_inner);
        let left = holders.get(&holder).map_or(0, |held| held.saturating_sub(bytes));
        if left == 0 {
            holders.remove(&holder);
        } else {
            holders.insert(holder, left);
        }
    }

    /// Whether nothing more fits in all.
    pub(crate) fn is_spent(&self) -> bool {
        self.total() >= self.most
    }

    /// Bytes that are counted now.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    fn shard(&self, holder: u64) -> &Mutex<HashMap<u64, usize>> {
        let [lowest, ..] = holder.to_le_bytes();
        &self.holders[usize::from(lowest) % SHARDS]
    }
}

fn sum(held: usize, bytes: usize, own: usize, most: usize) -> Option<usize> {
    let sum = held.checked_add(bytes)?;
    (sum <= most || held <= own).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_end_in_all_and_for_each_holder() {
        let budget = Budget::new(100, 60);
        budget.add(50, 0).unwrap();
        budget.add_to(1, 50, 0).unwrap();
        assert_eq!(budget.add_to(1, 20, 0), Err(Spent::OfHolder));
        budget.add_to(2, 20, 0).unwrap();
        assert_eq!(budget.add(51, 0), Err(Spent::InAll));
        budget.add(50, 0).unwrap();
        assert!(budget.is_spent());
        budget.remove(100);
        budget.remove_from(1, 50);
        budget.remove_from(2, 20);
        assert_eq!(budget.total(), 0);
        assert!(budget.holders.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn one_alone_may_be_larger() {
        let budget = Budget::new(100, 60);
        budget.add(1_000, 0).unwrap();
        budget.add(1_000, 1_000).unwrap();
        assert_eq!(budget.add(1, 0), Err(Spent::InAll));
        budget.add_to(1, 70, 0).unwrap();
        budget.add_to(1, 70, 70).unwrap();
        assert_eq!(budget.add_to(1, 1, 0), Err(Spent::OfHolder));
    }
}
