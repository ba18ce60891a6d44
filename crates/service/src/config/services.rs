//! Listeners and bounds of the services.

use serde::{Deserialize, Serialize};

use super::Listener;

/// The room server.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoomserverConfig {
    /// gRPC: queries and verdicts, for the other services. `standalone` opens it only if it has brokers.
    pub listen: Listener,
    /// gRPC for operators, and `/metrics`, `/health/live` and `/health/ready` over HTTP on the port of `admin_http`.
    pub operator_listen: Listener,
    /// Health and metrics.
    pub admin_http: Listener,
    /// Address under which the other services reach `listen`; empty: the address of `listen`. No two
    /// room servers may have the same one.
    pub advertise: String,
    /// Room servers, `http://host:port`, for those who call them: `clientapi` and `sync`.
    pub endpoints: Vec<String>,
    /// Most members of a room without encryption who are told of each other's devices.
    pub plain_room_device_lists: u32,
    /// Workers among which the partitions of a process are shared, at most 8; 0: one for each processor.
    pub shards: u32,
}

impl Default for RoomserverConfig {
    fn default() -> Self {
        Self {
            listen: Listener::plain("127.0.0.1:8700"),
            operator_listen: Listener::plain("127.0.0.1:8701"),
            admin_http: Listener::plain("127.0.0.1:8702"),
            advertise: String::new(),
            endpoints: vec!["http://127.0.0.1:8700".to_owned()],
            plain_room_device_lists: 1000,
            shards: 0,
        }
    }
}

/// The client-server API.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientapiConfig {
    /// Where it listens when it is a process of its own.
    pub listen: Listener,
    /// Health and metrics.
    pub admin_http: Listener,
    /// Largest body of a request in bytes; where nobody is anybody yet (logins, registrations), it is 16 KiB.
    pub max_body_bytes: usize,
    /// Whether `access_token` in the query is taken. The specification demands it of servers, deprecates it, and tells
    /// clients not to use it: it ends up in the logs of proxies.
    pub query_access_token: bool,
}

impl Default for ClientapiConfig {
    fn default() -> Self {
        Self {
            listen: Listener::plain("127.0.0.1:8710"),
            admin_http: Listener::plain("127.0.0.1:8712"),
            max_body_bytes: 512 * 1024,
            query_access_token: true,
        }
    }
}

/// Client sync.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyncConfig {
    /// Where it listens when it is a process of its own.
    pub listen: Listener,
    /// Health and metrics.
    pub admin_http: Listener,
    /// Rooms whose state and recent timeline are kept in memory.
    pub max_cached_rooms: u64,
    /// Bytes that these may take.
    pub max_cached_bytes: u64,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            listen: Listener::plain("127.0.0.1:8720"),
            admin_http: Listener::plain("127.0.0.1:8722"),
            max_cached_rooms: 10_000,
            max_cached_bytes: 1024 * 1024 * 1024,
        }
    }
}

/// `standalone`: everything in one process.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StandaloneConfig {
    /// Where clients connect.
    pub listen: Listener,
    /// Health and metrics.
    pub admin_http: Listener,
}

impl Default for StandaloneConfig {
    fn default() -> Self {
        Self { listen: Listener::plain("127.0.0.1:8008"), admin_http: Listener::plain("127.0.0.1:8009") }
    }
}
