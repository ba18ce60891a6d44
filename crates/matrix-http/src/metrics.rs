//! Names of the metrics of this crate.

/// Requests answered, by `route`, `method` and `status` class.
pub(crate) const REQUESTS: &str = "plexus_http_requests_total";
/// Time from the head of a request to the head of its response, in seconds, by `route` and `method`.
pub(crate) const DURATION: &str = "plexus_http_request_duration_seconds";

/// Describes the metrics; a repeat changes nothing.
pub(crate) fn describe() {
    metrics::describe_counter!(REQUESTS, "requests answered, by route, method and class of status");
    metrics::describe_histogram!(
        DURATION,
        metrics::Unit::Seconds,
        "time from the head of a request to the head of its response"
    );
}
