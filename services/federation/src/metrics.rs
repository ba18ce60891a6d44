//! Names of the metrics of this service.

/// Requests of other servers that were not let in, by `reason`.
const REFUSED: &str = "plexus_federation_requests_refused_total";

/// Describes the metrics; a repeat changes nothing.
pub(crate) fn describe() {
    metrics::describe_counter!(REFUSED, "requests of other servers that were not let in, by reason");
}

/// Counts a request that was not let in.
pub(crate) fn refused(reason: &'static str) {
    metrics::counter!(REFUSED, "reason" => reason).increment(1);
}
