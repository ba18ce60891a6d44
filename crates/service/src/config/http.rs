//! Bounds on what clients may hold of a process.

use serde::{Deserialize, Serialize};

/// What clients may hold of a process, whoever they are. It bounds memory and time, and holds whether or not there are
/// rate limits.
///
/// What counts by address does not count for loopback, nor for the connections of reverse proxies at listeners that
/// trust them: there the address is the one that the proxy tells.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Connections of one address at a time (for IPv6: of one /64). As many may be opened at once.
    pub connections_per_address: usize,
    /// New connections of one address a second, in the long run.
    pub new_connections_per_second: u32,
    /// Requests of one address under way.
    pub requests_per_address: usize,
    /// Whether loopback is an address like others.
    pub limit_loopback: bool,
    /// Requests at a time on one HTTP/2 connection.
    pub streams_per_connection: u32,
    /// Seconds until a new connection has said which protocol it speaks.
    pub first_byte_timeout_s: u64,
    /// Seconds that the head of a request may take.
    pub head_timeout_s: u64,
    /// Seconds that the body of a request may take, and one more for each 8 KiB that have come.
    pub body_timeout_s: u64,
    /// Seconds in which a client must take 16 KiB of its answer.
    pub write_timeout_s: u64,
    /// Seconds that a connection may be without requests. Longer than the minute for which reverse proxies keep theirs.
    pub idle_timeout_s: u64,
    /// Bytes of requests' bodies under way, in all.
    pub body_bytes: usize,
    /// Bytes of requests' bodies under way, by address.
    pub body_bytes_per_address: usize,
    /// Bytes of requests' bodies under way, by user.
    pub body_bytes_per_user: usize,
    /// Bytes of answers under way, in all. One alone may be larger.
    pub answer_bytes: usize,
    /// Bytes of answers under way, by user. One alone may be larger.
    pub answer_bytes_per_user: usize,
    /// Expensive reads of one user at a time.
    pub expensive_reads_per_user: usize,
    /// Expensive reads of one user that may wait for their turn.
    pub waiting_reads_per_user: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connections_per_address: 100,
            new_connections_per_second: 20,
            requests_per_address: 2_000,
            limit_loopback: false,
            streams_per_connection: 100,
            first_byte_timeout_s: 10,
            head_timeout_s: 30,
            body_timeout_s: 30,
            write_timeout_s: 30,
            idle_timeout_s: 90,
            body_bytes: 256 * 1024 * 1024,
            body_bytes_per_address: 32 * 1024 * 1024,
            body_bytes_per_user: 8 * 1024 * 1024,
            answer_bytes: 512 * 1024 * 1024,
            answer_bytes_per_user: 128 * 1024 * 1024,
            expensive_reads_per_user: 4,
            waiting_reads_per_user: 100,
        }
    }
}
