//! Name resolution: addresses and SRV records, with deadlines, and with caches of what is there and what is not.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use hickory_resolver::{
    Resolver, ResolverBuilder, TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, RecordType},
};
use tracing::warn;

/// Answers that are kept.
const CACHE_SIZE: u64 = 16_384;
/// How long one question to one server of names may take, and how often it is asked.
const TIMEOUT: Duration = Duration::from_millis(1_500);
const ATTEMPTS: usize = 2;
/// How long answers are kept at most, whatever they say.
const MAX_POSITIVE: Duration = Duration::from_secs(60 * 60);
const MAX_NEGATIVE: Duration = Duration::from_secs(5 * 60);
/// Addresses and SRV records of one name that are looked at.
const MAX_RECORDS: usize = 16;

/// Why a name could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no such record.
    #[error("the name has no such record")]
    NotFound,
    /// The servers of names gave no usable answer in time.
    #[error("the name could not be resolved: {0}")]
    Failed(String),
}

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Lower ones come first.
    pub priority: u16,
    /// Share among those of the same priority.
    pub weight: u16,
    /// Port.
    pub port: u16,
    /// Name of the host, without a dot at its end; empty if the service is expressly not offered.
    pub target: String,
}

/// Resolves names.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// Looks up the addresses of a host; there is at least one.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError>;
    /// Looks up SRV records; there is at least one.
    async fn services(&self, name: &str) -> Result<Vec<Service>, ResolveError>;
}

/// Why there is no resolution of names.
#[derive(Debug, thiserror::Error)]
#[error("names cannot be resolved: {0}")]
pub struct DnsConfigError(String);

/// DNS, and the hosts file for addresses.
pub struct Dns {
    resolver: TokioResolver,
}

impl Dns {
    /// Asks these servers of names, or those of the system if there are none.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, DnsConfigError> {
        let failed = |error: NetError| DnsConfigError(error.to_string());
        let mut builder = match (servers, Resolver::builder_tokio()) {
            ([], Ok(system)) => system,
            // As the C library does. A machine without a network is no reason not to start.
            ([], Err(error)) => {
                warn!(%error, "the system names no servers that resolve names, so this machine is asked");
                of_servers(&[SocketAddr::from(([127, 0, 0, 1], 53))])
            }
            (servers, _) => of_servers(servers),
        };
        set(builder.options_mut());
        Ok(Self { resolver: builder.build().map_err(failed)? })
    }
}

fn of_servers(servers: &[SocketAddr]) -> ResolverBuilder<TokioRuntimeProvider> {
    let server = |address: &SocketAddr| {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = address.port();
        }
        NameServerConfig::new(address.ip(), true, connections)
    };
    let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
    Resolver::builder_with_config(config, TokioRuntimeProvider::default())
}

fn set(options: &mut ResolverOpts) {
    options.timeout = TIMEOUT;
    options.attempts = ATTEMPTS;
    options.cache_size = CACHE_SIZE;
    options.positive_max_ttl = Some(MAX_POSITIVE);
    options.negative_max_ttl = Some(MAX_NEGATIVE);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
}

/// A name as it is asked for: never below the domains that the system searches.
fn absolute(name: &str) -> Result<Name, ResolveError> {
    let mut parsed = Name::from_ascii(name).map_err(|error| ResolveError::Failed(error.to_string()))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

fn failure(error: &NetError) -> ResolveError {
    if error.is_nx_domain() || error.is_no_records_found() {
        ResolveError::NotFound
    } else {
        ResolveError::Failed(error.to_string())
    }
}

#[async_trait]
impl Resolve for Dns {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let found = self.resolver.lookup_ip(absolute(host)?).await.map_err(|error| failure(&error))?;
        let addresses: Vec<IpAddr> = found.iter().take(MAX_RECORDS).collect();
        if addresses.is_empty() { Err(ResolveError::NotFound) } else { Ok(addresses) }
    }

    async fn services(&self, name: &str) -> Result<Vec<Service>, ResolveError> {
        let found = self.resolver.lookup(absolute(name)?, RecordType::SRV).await;
        let found = found.map_err(|error| failure(&error))?;
        let service = |data: &RData| match data {
            RData::SRV(record) => Some(Service {
                priority: record.priority,
                weight: record.weight,
                port: record.port,
                target: record.target.to_ascii().trim_end_matches('.').to_owned(),
            }),
            _ => None,
        };
        let services: Vec<Service> =
            found.answers().iter().filter_map(|record| service(&record.data)).take(MAX_RECORDS).collect();
        if services.is_empty() { Err(ResolveError::NotFound) } else { Ok(services) }
    }
}
