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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::net::UdpSocket;

    use super::*;

    const A: u16 = 1;
    const AAAA: u16 = 28;
    const SRV: u16 = 33;

    /// The name of a question, and where its type lies.
    fn question(packet: &[u8]) -> (String, usize) {
        let (mut labels, mut at) = (Vec::new(), 12);
        while packet[at] > 0 {
            let end = at + 1 + usize::from(packet[at]);
            labels.push(String::from_utf8_lossy(&packet[at + 1..end]).to_lowercase());
            at = end;
        }
        (labels.join("."), at + 1)
    }

    fn labels(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for label in name.split('.').filter(|label| !label.is_empty()) {
            out.push(u8::try_from(label.len()).unwrap());
            out.extend_from_slice(label.as_bytes());
        }
        out.push(0);
        out
    }

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Vec<u8> {
        let numbers = [priority, weight, port].into_iter().flat_map(u16::to_be_bytes);
        numbers.chain(labels(target)).collect()
    }

    fn records(name: &str, kind: u16) -> Vec<Vec<u8>> {
        match (name, kind) {
            ("a.test", A) => vec![vec![192, 0, 2, 1], vec![192, 0, 2, 2]],
            ("a.test", AAAA) => vec!["2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec()],
            ("_matrix-fed._tcp.a.test", SRV) => {
                vec![srv(10, 5, 443, "B.test"), srv(1, 0, 8448, "c.test")]
            }
            ("_matrix-fed._tcp.none.test", SRV) => vec![srv(0, 0, 0, "")],
            _ => Vec::new(),
        }
    }

    /// Starts a server of names that counts what it is asked.
    async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut packet = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
                count.fetch_add(1, Ordering::Relaxed);
                let (name, at) = question(&packet[..length]);
                let kind = u16::from_be_bytes([packet[at], packet[at + 1]]);
                let found = records(&name, kind);
                let is_known = name.ends_with("a.test") || !found.is_empty();
                let mut answer = packet[..2].to_vec();
                answer.extend_from_slice(&[0x81, if is_known { 0x80 } else { 0x83 }, 0, 1, 0]);
                answer.push(u8::try_from(found.len()).unwrap());
                answer.extend_from_slice(&[0; 4]);
                answer.extend_from_slice(&packet[12..at + 4]);
                for data in found {
                    answer.extend_from_slice(&[0xc0, 12]);
                    answer.extend_from_slice(&kind.to_be_bytes());
                    answer.extend_from_slice(&[0, 1, 0, 0, 1, 0]);
                    answer.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
                    answer.extend_from_slice(&data);
                }
                socket.send_to(&answer, peer).await.unwrap();
            }
        });
        (address, asked)
    }

    #[tokio::test]
    async fn addresses_and_services_are_found_and_remembered() {
        let (address, asked) = server().await;
        let dns = Dns::new(&[address]).unwrap();
        let mut found = dns.addresses("A.test").await.unwrap();
        found.sort();
        let expected = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(found, expected);
        let services = dns.services("_matrix-fed._tcp.a.test").await.unwrap();
        assert!(services.contains(&Service {
            priority: 1,
            weight: 0,
            port: 8448,
            target: "c.test".to_owned()
        }));
        assert!(services.iter().any(|service| service.target.eq_ignore_ascii_case("b.test")), "{services:?}");
        let refused = dns.services("_matrix-fed._tcp.none.test").await.unwrap();
        assert_eq!(refused[0].target, "");
        let before = asked.load(Ordering::Relaxed);
        dns.addresses("a.test").await.unwrap();
        dns.services("_matrix-fed._tcp.a.test").await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), before);
    }

    /// Whether there is no such name, or no such record, is the same.
    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        let (address, _) = server().await;
        let dns = Dns::new(&[address]).unwrap();
        assert_eq!(dns.addresses("unknown.test").await, Err(ResolveError::NotFound));
        assert_eq!(dns.services("_matrix._tcp.unknown.test").await, Err(ResolveError::NotFound));
        assert_eq!(dns.services("_matrix._tcp.a.test").await, Err(ResolveError::NotFound));
        assert!(matches!(dns.addresses(&"a".repeat(64)).await, Err(ResolveError::Failed(_))));
    }

    #[tokio::test]
    async fn the_hosts_file_is_read() {
        let (address, asked) = server().await;
        let dns = Dns::new(&[address]).unwrap();
        assert!(dns.addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }
}
