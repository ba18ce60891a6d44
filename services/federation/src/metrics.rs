//! Names of the metrics of this service.

/// Requests of other servers that were not let in, by `reason`.
const REFUSED: &str = "plexus_federation_requests_refused_total";

/// Events that came in transactions, by `outcome`.
const PDUS: &str = "plexus_federation_pdus_received_total";
/// EDUs that came in transactions, by `outcome`.
const EDUS: &str = "plexus_federation_edus_received_total";
/// Transactions that were worked on.
const TRANSACTIONS: &str = "plexus_federation_transactions_received_total";
/// Ends of attempts to fetch what parked events lack, by `outcome`.
const FETCHES: &str = "plexus_federation_fetches_total";

/// Describes the metrics; a repeat changes nothing.
pub(crate) fn describe() {
    metrics::describe_counter!(REFUSED, "requests of other servers that were not let in, by reason");
    metrics::describe_counter!(PDUS, "events that came in transactions of other servers, by outcome");
    metrics::describe_counter!(EDUS, "EDUs that came in transactions of other servers, by outcome");
    metrics::describe_counter!(TRANSACTIONS, "transactions of other servers that were worked on");
    metrics::describe_counter!(FETCHES, "ends of attempts to fetch what parked events lack, by outcome");
}

/// Counts a request that was not let in.
pub(crate) fn refused(reason: &'static str) {
    metrics::counter!(REFUSED, "reason" => reason).increment(1);
}

/// Counts a transaction.
pub(crate) fn transaction() {
    metrics::counter!(TRANSACTIONS).increment(1);
}

/// Counts an event of a transaction.
pub(crate) fn pdu(outcome: &'static str) {
    metrics::counter!(PDUS, "outcome" => outcome).increment(1);
}

/// Counts an EDU of a transaction.
pub(crate) fn edu(outcome: &'static str) {
    metrics::counter!(EDUS, "outcome" => outcome).increment(1);
}

/// Counts the end of an attempt to fetch what a parked event lacks.
pub(crate) fn fetch(outcome: &'static str) {
    metrics::counter!(FETCHES, "outcome" => outcome).increment(1);
}
