//! Names of this crate's metrics.

use metrics::{Unit, describe_counter, describe_histogram};

/// Time from an append to its acknowledgement, by topic. Not recorded by the in-process log, which acknowledges at once.
pub const APPEND_DURATION: &str = "plexus_log_append_duration_seconds";
/// Appends that failed, by topic and reason (`timed_out`, `broker`).
pub const APPEND_FAILURES: &str = "plexus_log_append_failures_total";
/// Appends that found the log full and had to wait, by topic.
pub const APPENDS_WAITED: &str = "plexus_log_appends_waited_total";
/// Appends that were acknowledged without a place in the log and had to be made again, by topic.
pub const APPENDS_UNPLACED: &str = "plexus_log_appends_unplaced_total";
/// Errors that readers met and got over, by topic.
pub const READ_ERRORS: &str = "plexus_log_read_errors_total";
/// Readers that found their position gone and went on at the oldest record, by topic.
pub const POSITIONS_LOST: &str = "plexus_log_positions_lost_total";
/// Times that partitions were gained or lost, by topic and change (`gained`, `lost`, `expired`).
pub const REBALANCES: &str = "plexus_log_rebalances_total";

/// Describes the metrics to the recorder; call it once, after installing it.
pub fn describe() {
    describe_histogram!(APPEND_DURATION, Unit::Seconds, "Time from an append to its acknowledgement");
    describe_counter!(APPEND_FAILURES, Unit::Count, "Appends that failed");
    describe_counter!(APPENDS_WAITED, Unit::Count, "Appends that found the log full and had to wait");
    describe_counter!(
        APPENDS_UNPLACED,
        Unit::Count,
        "Appends that were acknowledged without a place in the log"
    );
    describe_counter!(READ_ERRORS, Unit::Count, "Errors that readers met and got over");
    describe_counter!(POSITIONS_LOST, Unit::Count, "Readers whose position was gone");
    describe_counter!(REBALANCES, Unit::Count, "Times that partitions were gained or lost");
}
