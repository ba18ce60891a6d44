//! Names of the room server's metrics.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Records in a batch.
pub(crate) const BATCH_SIZE: &str = "plexus_roomserver_batch_records";
/// Time to look up and apply a batch.
pub(crate) const APPLY_DURATION: &str = "plexus_roomserver_apply_duration_seconds";
/// Time to commit a batch.
pub(crate) const COMMIT_DURATION: &str = "plexus_roomserver_commit_duration_seconds";
/// Time from when a record was produced until it was committed.
pub(crate) const INPUT_LAG: &str = "plexus_roomserver_input_lag_seconds";
/// Inputs by outcome.
pub(crate) const INPUTS: &str = "plexus_roomserver_inputs_total";
/// Records that went to `dead_letters`.
pub(crate) const DEAD_LETTERS: &str = "plexus_roomserver_dead_letters_total";
/// Records that have cost more than their budget, by lane: those of live traffic are deferred, those of the low-priority
/// lane go to `dead_letters`.
pub(crate) const OVERRUNS: &str = "plexus_roomserver_overruns_total";
/// Partitions owned by this instance.
pub(crate) const OWNED_PARTITIONS: &str = "plexus_roomserver_owned_partitions";
/// Output records that wait to be published.
pub(crate) const PUBLISH_QUEUE: &str = "plexus_roomserver_publish_queue_records";
/// Output records published.
pub(crate) const PUBLISHED: &str = "plexus_roomserver_published_total";
/// Output records deleted because nobody needs them any more, by topic.
pub(crate) const TRIMMED: &str = "plexus_roomserver_trimmed_records_total";
/// Batches that had to be given up: the database was away, or another instance had taken over.
pub(crate) const ABORTED_BATCHES: &str = "plexus_roomserver_aborted_batches_total";

/// Entries of room states that were lost although no event says so.
pub(crate) const STATE_RESETS: &str = "plexus_roomserver_state_resets_total";

/// Services that hold sessions of our users in memory.
pub(crate) const SESSION_HOLDERS: &str = "plexus_roomserver_session_holders";

/// Queries that failed through our own fault, by name.
pub(crate) const FAILED_QUERIES: &str = "plexus_roomserver_failed_queries_total";

/// Messages to devices dropped because too many waited.
pub(crate) const DROPPED_MESSAGES: &str = "plexus_roomserver_dropped_to_device_messages_total";

/// Rows of media deleted because it had expired, or all of its uploader was.
pub(crate) const COLLECTED_MEDIA: &str = "plexus_roomserver_collected_media_total";

/// Describes the metrics once, for those who scrape them.
pub(crate) fn describe() {
    describe_histogram!(BATCH_SIZE, Unit::Count, "Records in a batch");
    describe_histogram!(APPLY_DURATION, Unit::Seconds, "Time to look up and apply a batch");
    describe_histogram!(COMMIT_DURATION, Unit::Seconds, "Time to commit a batch");
    describe_histogram!(INPUT_LAG, Unit::Seconds, "Time from writing an input to its commit");
    describe_counter!(INPUTS, Unit::Count, "Inputs by outcome");
    describe_counter!(DEAD_LETTERS, Unit::Count, "Records set aside because they can never be processed");
    describe_counter!(OVERRUNS, Unit::Count, "Records that have cost more than their budget");
    describe_gauge!(OWNED_PARTITIONS, Unit::Count, "Partitions owned by this instance");
    describe_gauge!(PUBLISH_QUEUE, Unit::Count, "Output records that wait to be published");
    describe_counter!(PUBLISHED, Unit::Count, "Output records published");
    describe_counter!(TRIMMED, Unit::Count, "Output records deleted because nobody needs them any more");
    describe_counter!(STATE_RESETS, Unit::Count, "State entries lost although no event says so");
    describe_gauge!(
        SESSION_HOLDERS,
        Unit::Count,
        "Services that hold sessions of this instance's users in memory"
    );
    describe_counter!(
        FAILED_QUERIES,
        Unit::Count,
        "Queries that Postgres refused or whose rows make no sense"
    );
    describe_counter!(DROPPED_MESSAGES, Unit::Count, "Messages to devices dropped because too many waited");
    describe_counter!(COLLECTED_MEDIA, Unit::Count, "Rows of media deleted because it had gone or expired");
    describe_counter!(ABORTED_BATCHES, Unit::Count, "Batches given up and started again");
}
