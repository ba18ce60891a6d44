//! `[outbound]` and `[federation]`: connections to strangers, and other homeservers.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Listener, RateLimit};

/// Connections to addresses that strangers choose.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundConfig {
    /// Ranges that are never connected to, whatever a name resolves to.
    pub denied_ranges: Vec<String>,
    /// Ranges that are connected to although they are denied.
    pub allowed_ranges: Vec<String>,
    /// Servers that resolve names, `address:port`; empty: those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// Authorities that are believed beside those of the system, PEM.
    pub ca_files: Vec<PathBuf>,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            denied_ranges: DENIED.iter().map(|range| (*range).to_owned()).collect(),
            allowed_ranges: Vec::new(),
            dns_servers: Vec::new(),
            ca_files: Vec::new(),
        }
    }
}

/// The same as `plexus_outbound::DEFAULT_DENIED`; a test of the federation service holds the two together.
pub const DENIED: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001:10::/28",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// Other homeservers.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FederationConfig {
    /// Whether this server talks with others.
    pub enabled: bool,
    /// Where other servers connect.
    pub listen: Listener,
    /// gRPC: what other services ask of other servers. `standalone` does not open it.
    pub rpc_listen: Listener,
    /// Processes of the federation service, `http://host:port`, for those who call them: `clientapi`.
    pub endpoints: Vec<String>,
    /// Health and metrics.
    pub admin_http: Listener,
    /// What `/.well-known/matrix/server` says: the host and port where other servers find this one; empty: no such
    /// answer is served.
    pub well_known: String,
    /// Whether other servers are told the directory of this one.
    pub public_rooms: bool,
    /// Whether other servers are told the names that users have given their devices.
    pub device_names: bool,
    /// Servers that are asked for the keys of those that do not answer.
    pub notaries: Vec<String>,
    /// Our keys that sign nothing any more.
    pub old_signing_keys: Vec<OldSigningKey>,
    /// File with a key that other servers are to know before it signs anything: it is published beside `signing_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_signing_key: Option<PathBuf>,
    /// Keys that are known to be in wrong hands: public keys in base64, or a server name and a key ID with a space
    /// between.
    pub banned_keys: Vec<String>,
    /// Connections to other servers at a time.
    pub connections: usize,
    /// Requests of one server.
    pub origin_rate: RateLimit,
}

/// A key of ours that signs nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OldSigningKey {
    /// Its ID, such as `ed25519:a_b1c2`.
    pub id: String,
    /// The public key in base64.
    pub key: String,
    /// When it was taken out of use, in milliseconds since the Unix epoch.
    pub expired_ts: i64,
}

impl Default for FederationConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: Listener::plain("127.0.0.1:8448"),
            rpc_listen: Listener::plain("127.0.0.1:8730"),
            endpoints: vec!["http://127.0.0.1:8730".to_owned()],
            admin_http: Listener::plain("127.0.0.1:8732"),
            well_known: String::new(),
            public_rooms: false,
            device_names: false,
            notaries: Vec::new(),
            old_signing_keys: Vec::new(),
            next_signing_key: None,
            banned_keys: Vec::new(),
            connections: 2_000,
            origin_rate: RateLimit::new(50.0, 1_000),
        }
    }
}

/// Makes relative paths relative to the folder of the configuration.
pub(super) fn resolve_paths(outbound: &mut OutboundConfig, federation: &mut FederationConfig, folder: &Path) {
    for path in outbound.ca_files.iter_mut().chain(&mut federation.next_signing_key) {
        *path = folder.join(&*path);
    }
}

/// Finds contradictions.
pub(super) fn check(federation: &FederationConfig) -> Result<(), String> {
    if federation.connections == 0 {
        return Err("`connections` in [federation] must be at least 1".to_owned());
    }
    let rate = &federation.origin_rate;
    if !rate.per_second.is_finite() || rate.per_second <= 0.0 || rate.burst == 0 {
        return Err("`origin_rate` in [federation] needs `per_second` and `burst` greater than 0".to_owned());
    }
    Ok(())
}
