//! Names of the metrics of this service.

/// Records applied, by topic.
pub(crate) const RECORDS: &str = "plexus_sync_records_total";
/// Records dropped because they had been applied before, by topic.
pub(crate) const DUPLICATES: &str = "plexus_sync_duplicate_records_total";
/// Records that could not be decoded or applied, by topic.
pub(crate) const POISONED: &str = "plexus_sync_poisoned_records_total";
/// Records read from the room server because the log lacked them, by topic.
pub(crate) const FILLED: &str = "plexus_sync_filled_records_total";
/// Times that a partition's rooms or users were dropped because records of it are gone, by topic.
pub(crate) const RELOADED: &str = "plexus_sync_reloaded_partitions_total";
/// Rooms in memory.
pub(crate) const ROOMS: &str = "plexus_sync_cached_rooms";
/// Bytes that these take.
pub(crate) const BYTES: &str = "plexus_sync_cached_bytes";
/// Users in memory.
pub(crate) const USERS: &str = "plexus_sync_cached_users";
/// Requests that wait for news.
pub(crate) const WAITING: &str = "plexus_sync_waiting_requests";
/// Time that making an answer took, without waiting, in seconds.
pub(crate) const ANSWER: &str = "plexus_sync_answer_duration_seconds";

/// Records that could not be completed, so that what they concern was unloaded.
pub(crate) const UNLOADED: &str = "plexus_sync_incomplete_records_total";
/// Times that push rules were too much work to be applied at once.
pub(crate) const DEAR: &str = "plexus_sync_dear_push_rules_total";
/// Times that the work on push rules was given up.
pub(crate) const SPENT: &str = "plexus_sync_spent_push_rules_total";

/// Acknowledgements of messages to devices that were written.
pub(crate) const ACKS: &str = "plexus_sync_to_device_acks_total";
/// Messages to devices that answers told.
pub(crate) const DELIVERED: &str = "plexus_sync_to_device_messages_total";

/// Describes them.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(RECORDS, "records applied");
    describe_counter!(DUPLICATES, "records dropped because they had been applied before");
    describe_counter!(POISONED, "records that could not be decoded or applied");
    describe_counter!(FILLED, "records read from the room server because the log lacked them");
    describe_counter!(RELOADED, "partitions whose view was dropped because records are gone");
    describe_gauge!(ROOMS, "rooms in memory");
    describe_gauge!(BYTES, Unit::Bytes, "bytes that rooms in memory take, about");
    describe_gauge!(USERS, "users in memory");
    describe_gauge!(WAITING, "requests that wait for news");
    describe_counter!(
        UNLOADED,
        "records that could not be completed, so that what they concern was unloaded"
    );
    describe_counter!(ACKS, "acknowledgements of messages to devices that were written");
    describe_counter!(DELIVERED, "messages to devices that answers told");
    describe_counter!(DEAR, "times that push rules were too much work to be applied at once");
    describe_counter!(SPENT, "times that the work on push rules was given up");
    describe_histogram!(ANSWER, Unit::Seconds, "time that making an answer took");
}
