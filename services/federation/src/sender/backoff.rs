//! Backs off from a server that fails.

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// The first pause, which covers a restart; the longest one; and the longest one of a server that has failed for a month.
const FIRST: i64 = 10 * SECOND;
const MAX: i64 = HOUR;
const MAX_OF_DEAD: i64 = DAY;
const DEAD_AFTER: i64 = 30 * DAY;
/// The first pause after a server said that it does not want to talk with us.
const FIRST_OF_UNWILLING: i64 = 600 * SECOND;

/// How long to wait after failures, in milliseconds. `jitter` is between 0.8 and 1.4.
pub(super) fn pause(failures: u32, failing_for: i64, is_unwilling: bool, jitter: f64) -> i64 {
    let first = if is_unwilling { FIRST_OF_UNWILLING } else { FIRST };
    let max = if failing_for >= DEAD_AFTER { MAX_OF_DEAD } else { MAX };
    let doublings = failures.saturating_sub(1).min(20);
    let pause = first.saturating_mul(1 << doublings).min(max);
    // A day in milliseconds is far below what a float holds exactly.
    (pause as f64 * jitter) as i64
}

/// How long to leave a room alone at which a server breaks.
pub(super) fn room_pause(crashes: u32) -> i64 {
    (2 * SECOND).saturating_mul(1 << crashes.saturating_sub(1).min(20)).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_an_hour_and_for_the_dead_up_to_a_day() {
        let pauses: Vec<i64> = (1..12).map(|failures| pause(failures, 0, false, 1.0) / SECOND).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(pause(1, 0, true, 1.0), 600 * SECOND);
        assert_eq!(pause(100, 29 * DAY, false, 1.4), HOUR * 14 / 10);
        assert_eq!(pause(100, 31 * DAY, false, 1.0), DAY);
        assert_eq!(room_pause(1), 2 * SECOND);
        assert_eq!(room_pause(u32::MAX), HOUR);
    }
}
