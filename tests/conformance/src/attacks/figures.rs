//! Figures: how long people waited, and how that compares with a control.

use std::{fmt, time::Duration};

/// What people wait for.
pub(super) const KINDS: [&str; 3] = ["send", "read", "sync"];

/// How long each request of some people took, by kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits {
    times: [Vec<Duration>; 3],
    /// Requests that failed, or took longer than anybody waits.
    pub(super) failed: usize,
}

impl Waits {
    pub(super) fn add(&mut self, kind: usize, time: Duration) {
        self.times[kind].push(time);
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (all, more) in self.times.iter_mut().zip(other.times) {
            all.extend(more);
        }
        self.failed += other.failed;
    }

    /// How many there are of the kind of which there are fewest.
    pub(super) fn fewest(&self) -> usize {
        self.times.iter().map(Vec::len).min().unwrap_or(0)
    }

    /// What 99 of 100 requests of a kind took at most, in milliseconds.
    fn p99(&self, kind: usize) -> f64 {
        let mut times = self.times[kind].clone();
        times.sort_unstable();
        let index = (times.len() * 99).div_ceil(100).saturating_sub(1);
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }
}

/// An attack beside its control: medians over the rounds.
#[derive(Debug)]
pub(super) struct Comparison {
    /// By kind: p99 in milliseconds without and with the attack.
    p99: [(f64, f64); 3],
    /// Requests in the round that had the fewest.
    requests: usize,
    /// Requests that failed without and with the attack.
    failed: (usize, usize),
}

impl Comparison {
    pub(super) fn of(control: &[Waits], attack: &[Waits]) -> Self {
        let p99 = |kind: usize| {
            let of = |rounds: &[Waits]| median(rounds.iter().map(|waits| waits.p99(kind)).collect());
            (of(control), of(attack))
        };
        let failed = |rounds: &[Waits]| rounds.iter().map(|waits| waits.failed).sum();
        Self {
            p99: [p99(0), p99(1), p99(2)],
            requests: control.iter().chain(attack).map(Waits::fewest).min().unwrap_or(0),
            failed: (failed(control), failed(attack)),
        }
    }

    /// Whether nobody waits so many times as long, and no more requests fail than without the attack.
    pub(super) fn holds(&self, most_ratio: f64) -> bool {
        self.ratio() < most_ratio && self.failed.1 <= self.failed.0
    }

    /// The largest ratio of all kinds.
    fn ratio(&self) -> f64 {
        self.p99.iter().map(|(control, attack)| attack / control.max(f64::MIN_POSITIVE)).fold(0.0, f64::max)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, (control, attack)) in KINDS.iter().zip(self.p99) {
            write!(formatter, "{kind} p99 {control:.0} → {attack:.0} ms (×{:.2}), ", attack / control)?;
        }
        let (control, attack) = self.failed;
        write!(formatter, "{} of each a round, failed {control} → {attack}", self.requests)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(milliseconds: std::ops::RangeInclusive<u64>) -> Waits {
        let mut waits = Waits::default();
        for time in milliseconds {
            (0..3).for_each(|kind| waits.add(kind, Duration::from_millis(time)));
        }
        waits
    }

    #[test]
    fn the_median_of_the_rounds_is_compared() {
        assert!((waits(1..=100).p99(0) - 99.0).abs() < 0.01);
        assert!((waits(1..=10).p99(0) - 10.0).abs() < 0.01);
        let control = [waits(1..=10), waits(1..=1000), waits(1..=9)];
        let attack = [waits(1..=20), waits(1..=18), waits(1..=5000)];
        let comparison = Comparison::of(&control, &attack);
        assert!((comparison.ratio() - 2.0).abs() < 0.01, "{comparison}");
    }
}
