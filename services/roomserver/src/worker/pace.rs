//! Paces batches: how many records they hold and how long they may take.
//!
//! Time alone never counts against a record. A batch that takes too long is halved; a record that takes too long on its
//! own is given more and more time, since what it may cost is bounded elsewhere.

use std::time::Duration;

use super::intake::BATCH_RECORDS;

/// How long a batch may take before the connection counts as lost: at first, and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));

/// How large the next batch is.
#[derive(Debug)]
pub(super) struct Pace {
    records: usize,
    patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { records: BATCH_RECORDS, patience: PATIENCE.0 }
    }
}

impl Pace {
    /// Most records of a batch.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// How long a batch may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// A batch of so many records was not finished in time.
    pub(super) fn was_too_slow(&mut self, records: usize) {
        self.records = (records / 2).max(1);
        if records <= 1 {
            self.patience = (self.patience * 2).min(PATIENCE.1);
        }
    }

    /// A batch was finished.
    pub(super) fn went_well(&mut self) {
        self.records = (self.records * 2).min(BATCH_RECORDS);
        if self.records == BATCH_RECORDS {
            self.patience = PATIENCE.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_batches_are_halved_and_a_single_record_gets_more_time() {
        let mut pace = Pace::default();
        let mut tries = Vec::new();
        while pace.records() > 1 {
            tries.push(pace.records());
            assert_eq!(pace.patience(), PATIENCE.0);
            pace.was_too_slow(pace.records());
        }
        assert_eq!(tries, [256, 128, 64, 32, 16, 8, 4, 2]);
        for _ in 0..20 {
            let before = pace.patience();
            pace.was_too_slow(1);
            assert_eq!(pace.records(), 1);
            assert!(pace.patience() > before || before == PATIENCE.1);
        }
        assert_eq!(pace.patience(), PATIENCE.1);
        for _ in 0..8 {
            pace.went_well();
        }
        assert_eq!((pace.records(), pace.patience()), (256, PATIENCE.0));
    }

    #[test]
    fn batch_that_is_smaller_than_it_may_be_is_halved_all_the_same() {
        let mut pace = Pace::default();
        pace.was_too_slow(3);
        assert_eq!(pace.records(), 1);
    }
}
