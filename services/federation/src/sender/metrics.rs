//! Names of the metrics of the sender.

use std::time::Duration;

const TRANSACTIONS: &str = "plexus_federation_transactions_sent_total";
const PDUS: &str = "plexus_federation_pdus_sent_total";
const EDUS: &str = "plexus_federation_edus_sent_total";
const REFUSED_PDUS: &str = "plexus_federation_pdus_refused_total";
const SET_ASIDE: &str = "plexus_federation_pdus_set_aside_total";
const BYTES: &str = "plexus_federation_bytes_sent_total";
const PREPARE: &str = "plexus_federation_transaction_prepare_seconds";
const REMOTE: &str = "plexus_federation_transaction_remote_seconds";
const DESTINATIONS: &str = "plexus_federation_destinations";
const BEHIND_ROOMS: &str = "plexus_federation_rooms_behind";
const OLDEST: &str = "plexus_federation_oldest_unsent_seconds";

/// Describes them; a repeat changes nothing.
pub(super) fn describe() {
    metrics::describe_counter!(TRANSACTIONS, "transactions sent to other servers, by `outcome`");
    metrics::describe_counter!(PDUS, "events that other servers took");
    metrics::describe_counter!(EDUS, "ephemeral data that other servers took");
    metrics::describe_counter!(REFUSED_PDUS, "events that other servers took and did not accept");
    metrics::describe_counter!(
        SET_ASIDE,
        "events that were given up because another server cannot take them"
    );
    metrics::describe_counter!(BYTES, metrics::Unit::Bytes, "bodies of transactions");
    metrics::describe_histogram!(PREPARE, metrics::Unit::Seconds, "time to put a transaction together");
    metrics::describe_histogram!(REMOTE, metrics::Unit::Seconds, "time until the answer to a transaction");
    metrics::describe_gauge!(DESTINATIONS, "servers that something is kept for, by `state`");
    metrics::describe_gauge!(BEHIND_ROOMS, "rooms in which servers are behind, summed over the servers");
    metrics::describe_gauge!(OLDEST, metrics::Unit::Seconds, "age of the longest failure to deliver");
}

/// Counts an attempt.
pub(super) fn attempted(outcome: &'static str, pdus: usize, edus: usize) {
    metrics::counter!(TRANSACTIONS, "outcome" => outcome).increment(1);
    if outcome == "delivered" {
        metrics::counter!(PDUS).increment(pdus as u64);
        metrics::counter!(EDUS).increment(edus as u64);
    }
}

/// Counts what an attempt took.
pub(super) fn took(prepare: Duration, remote: Duration, bytes: usize) {
    metrics::histogram!(PREPARE).record(prepare.as_secs_f64());
    metrics::histogram!(REMOTE).record(remote.as_secs_f64());
    metrics::counter!(BYTES).increment(bytes as u64);
}

/// Counts events that a server took and did not accept.
pub(super) fn refused(pdus: usize) {
    metrics::counter!(REFUSED_PDUS).increment(pdus as u64);
}

/// Counts an event that was given up.
pub(super) fn set_aside() {
    metrics::counter!(SET_ASIDE).increment(1);
}

/// Tells how the servers are.
pub(super) fn gauges(failing: usize, behind: usize, waiting: usize, rooms: usize, oldest_ms: i64) {
    for (state, count) in [("failing", failing), ("behind", behind), ("waiting", waiting)] {
        metrics::gauge!(DESTINATIONS, "state" => state).set(count as f64);
    }
    metrics::gauge!(BEHIND_ROOMS).set(rooms as f64);
    metrics::gauge!(OLDEST).set(oldest_ms as f64 / 1000.0);
}
