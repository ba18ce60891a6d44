//! The configuration: one TOML file for all services, environment variables over it.
//!
//! `PLEXUS_` and the path of a key with `__` between its parts, in capitals, overrides the file:
//! `PLEXUS_POSTGRES__URL=…` is `url` in `[postgres]`. Unknown keys are errors.
//! `deploy/plexus.toml` shows every key with its default; a test holds the two together.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Env, Format as _, Toml},
};
use serde::{Deserialize, Serialize};

pub use self::{
    federation::{DENIED, FederationConfig, OldSigningKey, OutboundConfig},
    media::{MediaConfig, MediaS3Config},
    retention::RetentionConfig,
};

/// The whole configuration.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who we are.
    pub server: ServerConfig,
    /// Where the event logs are.
    #[serde(default)]
    pub log: LogConfig,
    /// Calls between services.
    #[serde(default)]
    pub rpc: CallConfig,
    /// Calls of operators.
    #[serde(default)]
    pub operator: CallConfig,
    /// The database of the room server.
    #[serde(default)]
    pub postgres: PostgresConfig,
    /// How long the room server keeps what is needed for a while only.
    #[serde(default)]
    pub retention: RetentionConfig,
    /// The room server.
    #[serde(default)]
    pub roomserver: RoomserverConfig,
    /// The client-server API.
    #[serde(default)]
    pub clientapi: ClientapiConfig,
    /// Client sync.
    #[serde(default)]
    pub sync: SyncConfig,
    /// Connections to addresses that strangers choose.
    #[serde(default)]
    pub outbound: OutboundConfig,
    /// Other homeservers.
    #[serde(default)]
    pub federation: FederationConfig,
    /// Media.
    #[serde(default)]
    pub media: MediaConfig,
    /// `standalone`: everything in one process.
    #[serde(default)]
    pub standalone: StandaloneConfig,
    /// What clients may hold of a process.
    #[serde(default)]
    pub http: HttpConfig,
    /// Who may register, and how.
    #[serde(default)]
    pub registration: RegistrationConfig,
    /// Passwords, tokens and sessions.
    #[serde(default)]
    pub auth: AuthConfig,
    /// Limits on what one client may ask.
    #[serde(default)]
    pub rate_limits: RateLimitsConfig,
    /// Logging and metrics.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// Who we are.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Server name: the part after the colon in user IDs. It can never be changed.
    pub name: String,
    /// File with the signing key, `ed25519 <version> <base64 seed>`; made on the first start if it does not exist.
    #[serde(default = "defaults::signing_key")]
    pub signing_key: PathBuf,
    /// Room version of new rooms when the client names none.
    #[serde(default = "defaults::room_version")]
    pub default_room_version: String,
    /// Base URL that `/.well-known/matrix/client` names for clients; empty: no such answer is served.
    #[serde(default)]
    pub public_base_url: String,
    /// Page that `/.well-known/matrix/support` names for who needs help; empty: none.
    #[serde(default)]
    pub support_page: String,
    /// Mail address of who runs the server, told there; empty: none.
    #[serde(default)]
    pub support_email: String,
    /// Matrix ID of who runs the server, told there; empty: none.
    #[serde(default)]
    pub support_matrix_id: String,
}

/// Where the event logs are.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Bootstrap brokers of Redpanda or Kafka, `host:port`, separated by commas. `standalone` uses the in-process log
    /// if it is empty; the single services need it.
    pub brokers: String,
    /// Put before every topic and group name.
    pub topic_prefix: String,
    /// Replicas of topics that are created at start; 0 for the broker's default.
    pub replication: i32,
    /// Whether brokers are reached by TLS.
    pub tls: bool,
    /// Authorities by which to verify brokers, PEM; those of the system if it is unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// Certificate chain to show brokers, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// How to log in to brokers: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; empty: not at all.
    pub sasl_mechanism: String,
    /// Name to log in with.
    pub sasl_username: String,
    /// Password to log in with; empty: it is in the file.
    pub sasl_password: String,
    /// File whose first line is the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_password_file: Option<PathBuf>,
}

impl LogConfig {
    /// The brokers, for a service that cannot do without.
    pub fn required_brokers(&self) -> Result<&str, NoBrokers> {
        if self.brokers.trim().is_empty() { Err(NoBrokers) } else { Ok(&self.brokers) }
    }
}

/// There are no brokers.
#[derive(Debug, thiserror::Error)]
#[error(
    "`brokers` in [log] is empty: services of their own need Redpanda or Kafka; plexus-standalone does not"
)]
pub struct NoBrokers;

/// What callers show to those whom they call.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallConfig {
    /// The token; empty: it is in the file.
    pub token: String,
    /// File with the token; who listens makes it if it does not exist. `rpc.token` or `operator.token` by default.
    pub token_file: PathBuf,
    /// Authorities, PEM, by which to verify those who are called at `https://` addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// Certificate chain to show them, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
}

/// The database of the room server.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// Connection URL, such as `postgres:///plexus?host=/var/run/postgresql`.
    pub url: String,
    /// Connections for ordinary reads; writing takes one more for each worker.
    pub max_connections: u32,
    /// Connections for authentication alone.
    pub login_connections: u32,
    /// Connections for searches and other reads that may have to look at much.
    pub search_connections: u32,
    /// Searches that may wait for a connection; further ones are refused at once.
    pub search_waiting: u32,
    /// How long a search may wait, and how long each of its statements may take, in milliseconds.
    pub search_timeout_ms: u64,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: "postgres:///plexus?host=/var/run/postgresql".to_owned(),
            max_connections: 8,
            login_connections: 2,
            search_connections: 2,
            search_waiting: 32,
            search_timeout_ms: 2_000,
        }
    }
}

/// A listener.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// Certificate chain, PEM; with it the listener speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// Authorities, PEM: whoever connects must have a certificate of one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_ca: Option<PathBuf>,
    /// Connections at a time; further ones wait.
    #[serde(default = "defaults::max_connections")]
    pub max_connections: usize,
    /// Whether the last address in `X-Forwarded-For` is the client's. Only for a listener that nobody but the reverse
    /// proxy can reach.
    #[serde(default)]
    pub trust_forwarded_for: bool,
}

impl Listener {
    /// A listener without TLS.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
            max_connections: defaults::max_connections(),
            trust_forwarded_for: false,
        }
    }

    fn plain(address: &str) -> Self {
        Self::at(address.parse().expect("a default address parses"))
    }
}

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

/// Who may register, and how.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrationConfig {
    /// Whether anybody may register (`m.login.dummy`).
    pub open: bool,
    /// Whether guests may register.
    pub guests: bool,
    /// Tokens with which one may register (`m.login.registration_token`).
    pub tokens: Vec<String>,
    /// Secret for `/_synapse/admin/v1/register` and `plexus-admin user create`; empty turns them off.
    pub shared_secret: String,
}

/// Passwords, tokens and sessions.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Memory that hashing a password takes, in KiB (argon2id).
    pub argon2_memory_kib: u32,
    /// Passes over that memory.
    pub argon2_iterations: u32,
    /// How long an access token lives if the client can refresh it, in seconds.
    pub refreshable_token_lifetime_s: u64,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { argon2_memory_kib: 19_456, argon2_iterations: 2, refreshable_token_lifetime_s: 300 }
    }
}

/// One limit: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests a second in the long run.
    pub per_second: f64,
    /// Requests at once.
    pub burst: u32,
}

impl RateLimit {
    const fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// Limits on what one client may ask.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitsConfig {
    /// Whether there are limits at all.
    pub enabled: bool,
    /// Events sent, by user.
    pub message: RateLimit,
    /// Registrations, by address.
    pub registration: RateLimit,
    /// Logins, by address.
    pub login: RateLimit,
    /// Failed logins, by account and address, or by account and device where somebody is logged in.
    pub failed_login: RateLimit,
    /// Failed logins, by account. Addresses from which the account has logged in pass.
    pub failed_login_account: RateLimit,
    /// Joins and knocks, by user.
    pub join: RateLimit,
    /// Invites, by who sends them; each invitee counts.
    pub invite: RateLimit,
    /// Invites, by whom they are for.
    pub invitee: RateLimit,
    /// Rooms created, by user.
    pub room_creation: RateLimit,
    /// Requests that send messages to devices, by user; every 25 recipients beyond the first count as one more.
    pub to_device: RateLimit,
    /// One-time keys claimed, by who claims and whose they are.
    pub claim: RateLimit,
    /// All other requests that change something, by user.
    pub other: RateLimit,
    /// Kilobytes written, by user: the bodies of all requests that change something, and one more for each.
    pub written: RateLimit,
    /// Kilobytes of answers, by user, and by address where nobody is known: further reads wait until what was answered is
    /// made up for.
    pub served: RateLimit,
    /// Reads, by user: each counts by its cost, from 1 for what is looked up to 10 for searches.
    pub read: RateLimit,
    /// Reads without a token, by address, likewise.
    pub open_read: RateLimit,
}

impl Default for RateLimitsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            message: RateLimit::new(5.0, 50),
            registration: RateLimit::new(0.2, 5),
            login: RateLimit::new(0.5, 10),
            failed_login: RateLimit::new(0.2, 5),
            failed_login_account: RateLimit::new(1.0, 50),
            join: RateLimit::new(0.5, 20),
            invite: RateLimit::new(0.5, 100),
            invitee: RateLimit::new(0.05, 50),
            room_creation: RateLimit::new(0.2, 10),
            to_device: RateLimit::new(20.0, 100),
            claim: RateLimit::new(0.2, 200),
            other: RateLimit::new(10.0, 100),
            written: RateLimit::new(6.0, 32_768),
            served: RateLimit::new(4_096.0, 262_144),
            read: RateLimit::new(100.0, 3_000),
            open_read: RateLimit::new(20.0, 500),
        }
    }
}

/// Logging and metrics.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// What to log: a level, or directives such as `info,plexus_roomserver=debug`.
    pub level: String,
    /// Format of log lines.
    pub format: LogFormat,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

mod defaults {
    use std::path::PathBuf;

    pub(super) fn signing_key() -> PathBuf {
        PathBuf::from("signing.key")
    }
    pub(super) fn max_connections() -> usize {
        10_000
    }
    pub(super) fn room_version() -> String {
        "12".to_owned()
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not exist.
    #[error("there is no configuration file {}; start from deploy/plexus.toml", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A key is missing, unknown or has a wrong value.
    #[error("the configuration {} does not hold; deploy/plexus.toml shows every key", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<figment::Error>,
    },
    /// Keys do not go together.
    #[error("the configuration {} does not hold: {message}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },
}

impl Config {
    /// Reads the file and the environment. Relative paths in it are relative to the file's folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        if !path.is_file() {
            return Err(ConfigError::Missing { path: path.to_owned() });
        }
        // Every key lies in a table, so other variables of ours (`PLEXUS_COMMIT`) are told by the lack of `__`.
        let environment = Env::prefixed("PLEXUS_").filter(|key| key.as_str().contains("__")).split("__");
        let mut config: Self = Figment::new()
            .merge(Toml::file_exact(path))
            .merge(environment)
            .extract()
            .map_err(|error| ConfigError::Invalid { path: path.to_owned(), source: Box::new(error) })?;
        config.resolve_paths(path.parent().unwrap_or(Path::new("")));
        check::check(&config)
            .map_err(|message| ConfigError::Contradiction { path: path.to_owned(), message })?;
        Ok(config)
    }

    fn resolve_paths(&mut self, folder: &Path) {
        let tls = self.listeners_mut().into_iter().flat_map(|listener| {
            [&mut listener.tls_certificate, &mut listener.tls_key, &mut listener.tls_client_ca]
                .into_iter()
                .flatten()
        });
        for path in tls {
            *path = folder.join(&*path);
        }
        self.server.signing_key = folder.join(&self.server.signing_key);
        federation::resolve_paths(&mut self.outbound, &mut self.federation, folder);
        media::resolve_paths(&mut self.media, folder);
        let log = &mut self.log;
        let files =
            [&mut log.tls_ca, &mut log.tls_certificate, &mut log.tls_key, &mut log.sasl_password_file];
        for path in files.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        for (secret, name) in [(&mut self.rpc, "rpc.token"), (&mut self.operator, "operator.token")] {
            let named = secret.token_file.as_os_str().is_empty();
            secret.token_file = folder.join(if named { Path::new(name) } else { &secret.token_file });
            let files = [&mut secret.tls_ca, &mut secret.tls_certificate, &mut secret.tls_key];
            for path in files.into_iter().flatten() {
                *path = folder.join(&*path);
            }
        }
    }

    fn listeners_mut(&mut self) -> [&mut Listener; 15] {
        [
            &mut self.roomserver.listen,
            &mut self.roomserver.operator_listen,
            &mut self.roomserver.admin_http,
            &mut self.clientapi.listen,
            &mut self.clientapi.admin_http,
            &mut self.sync.listen,
            &mut self.sync.admin_http,
            &mut self.federation.listen,
            &mut self.federation.rpc_listen,
            &mut self.federation.admin_http,
            &mut self.media.listen,
            &mut self.media.rpc_listen,
            &mut self.media.admin_http,
            &mut self.standalone.listen,
            &mut self.standalone.admin_http,
        ]
    }
}

mod check;
mod federation;
#[cfg(test)]
mod limits_tests;
mod media;
mod retention;
mod shown;
#[cfg(test)]
mod tests;
