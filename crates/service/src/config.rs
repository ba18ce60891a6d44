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
    accounts::{AuthConfig, RegistrationConfig},
    federation::{DENIED, FederationConfig, OldSigningKey, OutboundConfig},
    http::HttpConfig,
    media::{MediaConfig, MediaS3Config},
    rate_limits::{RateLimit, RateLimitsConfig},
    retention::RetentionConfig,
    services::{ClientapiConfig, RoomserverConfig, StandaloneConfig, SyncConfig},
    telemetry::{LogFormat, TelemetryConfig},
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

mod accounts;
mod check;
mod federation;
mod http;
#[cfg(test)]
mod limits_tests;
mod media;
mod rate_limits;
mod retention;
mod services;
mod shown;
mod telemetry;
#[cfg(test)]
mod tests;
