//! Metrics of the chassis.

use metrics::{Unit, describe_counter, describe_gauge};

/// Always 1; its labels say what runs.
pub const BUILD_INFO: &str = "plexus_build_info";
/// Connections that are open, by listener.
pub const CONNECTIONS: &str = "plexus_connections";
/// Connections that were accepted, by listener.
pub const CONNECTIONS_ACCEPTED: &str = "plexus_connections_accepted_total";
/// Connections that were closed at once because their address has or opens too many, by listener.
pub const CONNECTIONS_REFUSED: &str = "plexus_connections_refused_total";
/// Panics of tasks.
pub const PANICS: &str = "plexus_panics_total";
/// Whether the process is ready for work.
pub const READY: &str = "plexus_ready";

/// Describes them to the recorder.
pub fn describe() {
    describe_gauge!(BUILD_INFO, "What runs");
    describe_gauge!(CONNECTIONS, Unit::Count, "Open connections");
    describe_counter!(CONNECTIONS_ACCEPTED, Unit::Count, "Accepted connections");
    describe_counter!(CONNECTIONS_REFUSED, Unit::Count, "Connections refused by address");
    describe_counter!(PANICS, Unit::Count, "Panics of tasks");
    describe_gauge!(READY, "Whether the process is ready for work");
}

/// Counts an accepted connection.
pub(crate) fn accepted(listener: &'static str) {
    metrics::counter!(CONNECTIONS_ACCEPTED, "listener" => listener).increment(1);
}

/// Counts a connection that was refused.
pub(crate) fn refused(listener: &'static str) {
    metrics::counter!(CONNECTIONS_REFUSED, "listener" => listener).increment(1);
}

/// Counts a connection as open for as long as it lives.
pub(crate) struct Open(metrics::Gauge);

impl Open {
    pub(crate) fn new(listener: &'static str) -> Self {
        let gauge = metrics::gauge!(CONNECTIONS, "listener" => listener);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
