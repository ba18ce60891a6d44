//! Connecting, by TCP and TLS: the one place where a connection to a stranger begins.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use moka::sync::Cache;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{AddressPolicy, Dns, DnsConfigError, RangeError, Resolve, ResolveError, TrustError, tls};

/// How long the next address waits for the one before it.
const HEAD_START: Duration = Duration::from_millis(250);
/// How long connecting may take, by all addresses, and how long the handshake of TLS.
const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Addresses that are tried for one connection.
const MAX_ADDRESSES: usize = 8;
/// How long an address that failed is tried last, and how many of those are remembered.
const DISTRUST: Duration = Duration::from_secs(60);
const MAX_DISTRUSTED: u64 = 16_384;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The name.
        host: String,
        /// Why not.
        #[source]
        source: ResolveError,
    },
    /// The address is one that nobody may make us connect to.
    #[error("{0} is an address that must not be connected to")]
    Refused(IpAddr),
    /// There was nothing to try.
    #[error("there is no address to connect to")]
    NoAddress,
    /// Nobody answered in time.
    #[error("connecting took too long")]
    TimedOut,
    /// The connection failed.
    #[error("cannot connect to {address}")]
    Failed {
        /// The last address that was tried.
        address: SocketAddr,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The server did not prove who it is, or speaks no TLS.
    #[error("TLS failed")]
    Tls(#[source] io::Error),
    /// The handshake of TLS took too long.
    #[error("TLS took too long")]
    TlsTimedOut,
    /// What certificates are compared with is no name.
    #[error("`{0}` is no name of a server of TLS")]
    Name(String),
}

/// Makes connections. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    policy: Arc<AddressPolicy>,
    resolver: Arc<dyn Resolve>,
    tls: Arc<ClientConfig>,
    distrusted: Cache<SocketAddr, ()>,
}

/// Why a dialer cannot be made of what operators have configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A range cannot be read.
    #[error("the ranges in [outbound]")]
    Ranges(#[from] RangeError),
    /// Names cannot be resolved.
    #[error("`dns_servers` in [outbound]")]
    Dns(#[from] DnsConfigError),
    /// There is nobody to believe.
    #[error("`ca_files` in [outbound]")]
    Trust(#[from] TrustError),
}

impl Dialer {
    /// Makes one as `[outbound]` says: ranges that are denied, and those that are allowed nevertheless, servers that
    /// resolve names, and authorities beside those of the system.
    pub fn configured(
        denied: &[String],
        allowed: &[String],
        dns_servers: &[SocketAddr],
        ca_files: &[PathBuf],
    ) -> Result<Self, SetupError> {
        let policy = AddressPolicy::new(denied, allowed)?;
        let resolver = Arc::new(Dns::new(dns_servers)?);
        Ok(Self::new(policy, resolver, tls::client(ca_files)?))
    }

    /// Makes one of what it needs.
    #[must_use]
    pub fn new(policy: AddressPolicy, resolver: Arc<dyn Resolve>, tls: Arc<ClientConfig>) -> Self {
        let distrusted = Cache::builder().max_capacity(MAX_DISTRUSTED).time_to_live(DISTRUST).build();
        Self { policy: Arc::new(policy), resolver, tls, distrusted }
    }

    /// What resolves names.
    #[must_use]
    pub fn resolver(&self) -> &Arc<dyn Resolve> {
        &self.resolver
    }

    /// True if the address may be connected to.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.policy.allows(address)
    }

    /// Finds the addresses of a host: its own if it is one.
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![address]);
        }
        let found = timeout(CONNECT, self.resolver.addresses(host)).await;
        let found = found.unwrap_or_else(|_| Err(ResolveError::Failed("it took too long".to_owned())));
        found.map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })
    }

    /// Connects to one of the addresses: in their order, but for families, which take turns; the next one is tried when
    /// one fails or lets us wait. Those that failed lately come last. Each is checked when its turn comes.
    pub async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
        let mut addresses = take_turns(addresses);
        addresses.sort_by_key(|address| self.distrusted.contains_key(address));
        let connected = timeout(CONNECT, self.race(&addresses)).await;
        if connected.is_err() {
            addresses.iter().take(MAX_ADDRESSES).for_each(|address| self.distrusted.insert(*address, ()));
        }
        connected.unwrap_or(Err(ConnectError::TimedOut))
    }

    async fn race(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
        let mut waiting = addresses.iter().copied().take(MAX_ADDRESSES);
        let mut running = FuturesUnordered::new();
        let mut failure = ConnectError::NoAddress;
        loop {
            match waiting.next() {
                Some(address) if !self.policy.allows(address.ip()) => {
                    failure = ConnectError::Refused(address.ip());
                    continue;
                }
                Some(address) => running.push(async move {
                    TcpStream::connect(address).await.map_err(|source| (address, source))
                }),
                None if running.is_empty() => return Err(failure),
                None => {}
            }
            let ended = if waiting.len() == 0 {
                running.next().await
            } else {
                // Not in time: the next one is tried beside it.
                timeout(HEAD_START, running.next()).await.unwrap_or(None)
            };
            match ended {
                Some(Ok(stream)) => {
                    stream.set_nodelay(true).ok();
                    return Ok(stream);
                }
                Some(Err((address, source))) => {
                    self.distrusted.insert(address, ());
                    failure = ConnectError::Failed { address, source };
                }
                None => {}
            }
        }
    }

    /// Does the handshake of TLS with the server of a name or an address. True if HTTP/2 was agreed on.
    pub async fn secure(
        &self,
        stream: TcpStream,
        name: &str,
    ) -> Result<(TlsStream<TcpStream>, bool), ConnectError> {
        let host = name.trim_start_matches('[').trim_end_matches(']');
        let server =
            ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::Name(name.to_owned()))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = timeout(HANDSHAKE, connector.connect(server, stream)).await;
        let stream = stream.map_err(|_| ConnectError::TlsTimedOut)?.map_err(ConnectError::Tls)?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((stream, is_h2))
    }
}

/// IPv6 first, then each family in turn.
fn take_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let (sixes, fours): (Vec<SocketAddr>, Vec<_>) = addresses.iter().partition(|address| address.is_ipv6());
    let (mut sixes, mut fours) = (sixes.into_iter(), fours.into_iter());
    let mut turns = Vec::with_capacity(addresses.len());
    while turns.len() < addresses.len() {
        turns.extend(sixes.next());
        turns.extend(fours.next());
    }
    turns
}
