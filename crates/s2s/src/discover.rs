//! Resolves server names: the steps of the specification, under one deadline, with caches of what was found and of
//! what was not. [Spec](https://spec.matrix.org/v1.19/server-server-api/#server-discovery)
//!
//! A server name is delegated first ([`WellKnown`]), then the name that speaks for it is resolved. What a request says in
//! `Host` and what certificates must name is always the latter, never the target of an SRV record.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use moka::{Expiry, future::Cache};
use plexus_outbound::{Resolve, ResolveError, Service};
use rand::Rng;
use ruma::ServerName;
use tokio::time::timeout;

use crate::{
    name::{DEFAULT_PORT, Host, PeerName},
    well_known::{AskWellKnown, WellKnown},
};

/// Names of which the routes are kept.
const CACHE_SIZE: u64 = 100_000;
/// How long a route is kept: resolvers keep its parts as long as these say. How long its absence.
const FOUND: Duration = Duration::from_secs(60);
const NOT_FOUND: Duration = Duration::from_secs(60);
/// How long all look-ups of one name may take.
const RESOLVE: Duration = Duration::from_secs(4);
/// Targets of SRV records that are looked at.
const MAX_TARGETS: usize = 4;

/// Why nobody can be found by a server name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoverError {
    /// It is no server name.
    #[error("it is no server name")]
    Name,
    /// The domain says by an SRV record that there is no homeserver.
    #[error("the domain says that it has no homeserver")]
    NotOffered,
    /// The name cannot be resolved.
    #[error("{host} cannot be resolved: {source}")]
    Resolve {
        /// The host.
        host: String,
        /// Why not.
        source: ResolveError,
    },
    /// The look-ups took too long.
    #[error("the look-ups took too long")]
    TimedOut,
}

/// How an address was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The name is an address.
    Literal,
    /// The name has a port.
    Port,
    /// An SRV record names host and port.
    Srv {
        /// Name of the record.
        record: String,
        /// Its targets, in the order in which they are tried.
        targets: Vec<Service>,
    },
    /// Nothing says otherwise: port 8448.
    Default,
}

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Addresses, in the order in which to try them.
    pub addresses: Vec<SocketAddr>,
    /// How they were found.
    pub step: Step,
}

type Found = Result<Arc<Route>, DiscoverError>;

/// Finds servers. Cheap to clone.
#[derive(Clone)]
pub struct Discovery {
    well_known: Arc<WellKnown>,
    resolver: Arc<dyn Resolve>,
    routes: Cache<PeerName, Found>,
}

struct Lifetimes;

impl Expiry<PeerName, Found> for Lifetimes {
    fn expire_after_create(&self, _: &PeerName, found: &Found, _: std::time::Instant) -> Option<Duration> {
        let lifetime = if found.is_ok() { FOUND } else { NOT_FOUND };
        Some(lifetime.mul_f64(rand::random_range(0.9..1.1)))
    }
}

impl Discovery {
    /// Makes one that asks by these.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>, ask: Box<dyn AskWellKnown>) -> Self {
        let routes = Cache::builder().max_capacity(CACHE_SIZE).expire_after(Lifetimes).build();
        Self { well_known: Arc::new(WellKnown::new(ask)), resolver, routes }
    }

    /// Finds the name that speaks for a server: its own, or the one that it is delegated to.
    pub async fn delegate(&self, server: &ServerName) -> Result<PeerName, DiscoverError> {
        let name = PeerName::parse(server.as_str()).map_err(|_| DiscoverError::Name)?;
        match (&name.host, name.port) {
            (Host::Address(_), _) | (_, Some(_)) => Ok(name),
            (Host::Name(host), None) => Ok(self.well_known.find(host).await.unwrap_or(name)),
        }
    }

    /// Resolves the name that speaks for a server. Questions for one name at the same time are one.
    pub async fn resolve(&self, name: &PeerName) -> Found {
        let resolve = async {
            let route = timeout(RESOLVE, resolve(&*self.resolver, name)).await;
            route.unwrap_or(Err(DiscoverError::TimedOut)).map(Arc::new)
        };
        self.routes.get_with_by_ref(name, resolve).await
    }

    /// Forgets what is known of a server, such as when it does not answer where it should be.
    pub async fn forget(&self, server: &ServerName) {
        if let Ok(name) = PeerName::parse(server.as_str()) {
            if let Host::Name(host) = &name.host {
                self.well_known.forget(host).await;
            }
            self.routes.invalidate(&name).await;
        }
    }
}

async fn resolve(resolver: &dyn Resolve, name: &PeerName) -> Result<Route, DiscoverError> {
    let host = match (&name.host, name.port) {
        (Host::Address(address), port) => {
            let addresses = vec![SocketAddr::new(*address, port.unwrap_or(DEFAULT_PORT))];
            return Ok(Route { addresses, step: Step::Literal });
        }
        (Host::Name(host), Some(port)) => {
            return Ok(Route { addresses: addresses(resolver, host, port).await?, step: Step::Port });
        }
        (Host::Name(host), None) => host,
    };
    for service in ["_matrix-fed._tcp", "_matrix._tcp"] {
        let record = format!("{service}.{host}");
        // Servers of names that fail for SRV records often work for addresses; certificates tell whether it is the one.
        let Ok(found) = resolver.services(&record).await else { continue };
        if found.iter().all(|service| service.target.is_empty()) {
            return Err(DiscoverError::NotOffered);
        }
        let targets = order(found, &mut rand::rng());
        let (mut all, mut failure) = (Vec::new(), None);
        for target in targets.iter().take(MAX_TARGETS) {
            match addresses(resolver, &target.target, target.port).await {
                Ok(found) => all.extend(found),
                Err(error) => failure = Some(error),
            }
        }
        return match failure {
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(Route { addresses: all, step: Step::Srv { record, targets } }),
        };
    }
    Ok(Route { addresses: addresses(resolver, host, DEFAULT_PORT).await?, step: Step::Default })
}

async fn addresses(resolver: &dyn Resolve, host: &str, port: u16) -> Result<Vec<SocketAddr>, DiscoverError> {
    // An SRV record may name an address, against its specification.
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = resolver.addresses(host).await;
    let found = found.map_err(|source| DiscoverError::Resolve { host: host.to_owned(), source })?;
    Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

/// Orders SRV records: by priority, and among equals by chance, weighted. RFC 2782.
fn order(mut services: Vec<Service>, rng: &mut impl Rng) -> Vec<Service> {
    services.retain(|service| !service.target.is_empty());
    // Those without weight come first, so that they have a chance at all.
    services.sort_by_key(|service| (service.priority, service.weight));
    let mut ordered = Vec::with_capacity(services.len());
    while let Some(first) = services.first() {
        let equals = services.iter().take_while(|service| service.priority == first.priority).count();
        let total: u32 = services[..equals].iter().map(|service| u32::from(service.weight)).sum();
        let mut left = rng.random_range(0..=total);
        let chosen = services[..equals].iter().position(|service| {
            let is_it = u32::from(service.weight) >= left;
            left = left.saturating_sub(u32::from(service.weight));
            is_it
        });
        ordered.push(services.remove(chosen.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests;
