//! Requests to other servers.

mod connector;
mod error;
mod stream;

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use moka::sync::Cache;
use parking_lot::RwLock;
use plexus_events::SigningKey;
use plexus_outbound::{Dialer, Fetcher};
use ruma::{OwnedServerName, ServerName};
use tokio::{sync::Semaphore, time::timeout};
use tracing::{info, warn};

pub use error::{CallError, Fault, Refusal, chain};
pub use stream::{Opened, Pieces};

use crate::{Discovery, Health, authorization::Signed, pool::Slots};
use connector::PeerConnector;

/// How long connections are kept for the next request.
const IDLE: Duration = Duration::from_secs(25);
/// Idle connections of HTTP/1 to one host.
const IDLE_PER_HOST: usize = 4;
/// When to ask a server again that is blocked.
const DENIED: Duration = Duration::from_secs(60 * 60);
/// Time for the head of an answer.
const HEAD: Duration = Duration::from_secs(10);
/// Most bytes of an error that are read.
const MAX_ERROR: usize = 64 * 1024;
/// Requests to one server at a time, and servers of which that is counted.
const AT_ONCE: usize = 32;
const COUNTED: u64 = 100_000;

/// What a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// Name, for metrics.
    pub name: &'static str,
    /// Time for everything.
    pub deadline: Duration,
    /// Time for the head of an answer that is read piece by piece.
    pub head: Duration,
    /// Most bytes of the answer.
    pub max_body: usize,
    /// Whether servers that did not answer lately are asked all the same.
    pub ignores_health: bool,
}

impl Class {
    /// Keys of servers. Whoever asks for them has reasons to, and remembers failures by itself.
    pub const KEYS: Self = Self {
        name: "keys",
        deadline: Duration::from_secs(10),
        head: HEAD,
        max_body: 4 << 20,
        ignores_health: true,
    };
    /// Small questions that somebody waits for.
    pub const QUERY: Self = Self {
        name: "query",
        deadline: Duration::from_secs(10),
        head: HEAD,
        max_body: 4 << 20,
        ignores_health: false,
    };
    /// Transactions, whose sender decides by itself when to try again.
    pub const TRANSACTION: Self = Self {
        name: "transaction",
        deadline: Duration::from_secs(60),
        head: HEAD,
        max_body: 1 << 20,
        ignores_health: true,
    };
    /// Joins, invites, leaves.
    pub const MEMBERSHIP: Self = Self {
        name: "membership",
        deadline: Duration::from_secs(120),
        head: HEAD,
        max_body: 256 << 20,
        ignores_health: false,
    };
    /// Events that are missing.
    pub const EVENTS: Self = Self {
        name: "events",
        deadline: Duration::from_secs(60),
        head: HEAD,
        max_body: 32 << 20,
        ignores_health: false,
    };
    /// States of rooms.
    pub const STATE: Self = Self {
        name: "state",
        deadline: Duration::from_secs(600),
        head: HEAD,
        max_body: 256 << 20,
        ignores_health: false,
    };
    /// Media. Who asks bounds its body, and the other server may wait for it to be uploaded.
    pub const MEDIA: Self = Self {
        name: "media",
        deadline: Duration::from_secs(600),
        head: Duration::from_secs(75),
        max_body: usize::MAX,
        ignores_health: false,
    };
}

/// A request.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The server that is asked.
    pub destination: &'a ServerName,
    /// Method.
    pub method: Method,
    /// Path and query, encoded.
    pub path: &'a str,
    /// Body: a JSON object.
    pub body: Option<Bytes>,
    /// What it may take.
    pub class: Class,
    /// Whether it is signed.
    pub is_signed: bool,
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status, one of success.
    pub status: StatusCode,
    /// Body.
    pub body: Bytes,
}

/// Who we are, toward others.
pub struct Identity {
    /// Our server name.
    pub name: OwnedServerName,
    /// The key that signs requests.
    pub key: Arc<SigningKey>,
    /// What we call our software.
    pub agent: HeaderValue,
}

/// Makes requests. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    identity: Identity,
    client: Client<PeerConnector, Full<Bytes>>,
    discovery: Discovery,
    health: Health,
    slots: Slots,
    turns: Cache<OwnedServerName, Arc<Semaphore>>,
    denied: RwLock<HashSet<OwnedServerName>>,
}

impl Peers {
    /// Makes requests of this server, by at most so many connections.
    #[must_use]
    pub fn new(
        identity: Identity,
        dialer: Dialer,
        discovery: Discovery,
        health: Health,
        connections: usize,
    ) -> Self {
        let slots = Slots::new(connections);
        let connector = PeerConnector { dialer, discovery: discovery.clone(), slots: slots.clone() };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(connector);
        let turns = Cache::builder().max_capacity(COUNTED).time_to_idle(Duration::from_secs(600)).build();
        Self(Arc::new(Inner { identity, client, discovery, health, slots, turns, denied: RwLock::default() }))
    }

    /// Makes requests of this server, and finds others by itself.
    #[must_use]
    pub fn dialing(identity: Identity, dialer: Dialer, connections: usize) -> Self {
        let fetcher = Fetcher::new(dialer.clone(), identity.agent.clone());
        let discovery = Discovery::new(Arc::clone(dialer.resolver()), Box::new(fetcher));
        Self::new(identity, dialer, discovery, Health::default(), connections)
    }

    /// How servers have answered.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.slots.len()
    }

    /// Where servers are.
    #[must_use]
    pub fn discovery(&self) -> &Discovery {
        &self.0.discovery
    }

    /// Says which servers are asked for nothing but keys from here on.
    pub fn deny(&self, servers: HashSet<OwnedServerName>) {
        *self.0.denied.write() = servers;
    }

    /// Makes a request and reads the answer. Redirects are not followed.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, CallError> {
        self.check_health(&call)?;
        let answered = timeout(call.class.deadline, self.attempt(&call)).await;
        let answered = answered.unwrap_or(Err(CallError::TimedOut));
        self.note(&call, answered.as_ref().err()).await;
        answered
    }

    /// Leaves servers alone that are blocked, or did not answer lately.
    fn check_health(&self, call: &Call<'_>) -> Result<(), CallError> {
        // What they have signed before may come through others.
        if call.class.name != Class::KEYS.name && self.0.denied.read().contains(call.destination) {
            return Err(CallError::BackOff {
                pause: DENIED,
                why: "an operator has blocked the server".into(),
            });
        }
        match self.0.health.pause(call.destination) {
            Some((pause, why)) if !call.class.ignores_health => Err(CallError::BackOff { pause, why }),
            Some(_) | None => Ok(()),
        }
    }

    /// Notes how a server has answered.
    async fn note(&self, call: &Call<'_>, error: Option<&CallError>) {
        let inner = &self.0;
        let server = call.destination;
        match error {
            Some(error) if error.counts_against_server() => {
                // Once for each time that a server goes, not for each request.
                if inner.health.fail(server, error.to_string()) {
                    warn!(%server, error = error.chain(), "server does not answer");
                }
                // What leads nowhere is looked up anew.
                if matches!(error, CallError::Connect(_)) {
                    inner.discovery.forget(server).await;
                }
            }
            None | Some(CallError::Refused(_)) => {
                if inner.health.succeed(server) {
                    info!(%server, "server answers again");
                }
            }
            Some(_) => {}
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        let inner = &self.0;
        let turns = inner.turns.get_with(call.destination.to_owned(), || Arc::new(Semaphore::new(AT_ONCE)));
        let _turn = turns.acquire().await.map_err(|_| CallError::Busy)?;
        let host = inner.discovery.delegate(call.destination).await.map_err(CallError::Discover)?.to_string();
        let _busy = inner.slots.begin(&host);
        let request = self.request(call, &host)?;
        let response = inner.client.request(request).await.map_err(CallError::from_client)?;
        let (parts, body) = response.into_parts();
        let is_success = parts.status.is_success();
        let max = if is_success { call.class.max_body } else { MAX_ERROR };
        let body = Limited::new(body, max).collect().await.map_err(CallError::from_body);
        if is_success {
            return Ok(Answer { status: parts.status, body: body?.to_bytes() });
        }
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(CallError::Refused(Refusal::read(parts.status, &parts.headers, &body)))
    }

    fn request(&self, call: &Call<'_>, host: &str) -> Result<Request<Full<Bytes>>, CallError> {
        let identity = &self.0.identity;
        let malformed = |_| CallError::Request("the path is malformed");
        let uri = Uri::builder().scheme("https").authority(host).path_and_query(call.path).build();
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(uri.map_err(malformed)?)
            .header(header::USER_AGENT, identity.agent.clone());
        if call.is_signed {
            let signed = Signed {
                method: call.method.as_str(),
                uri: call.path,
                origin: &identity.name,
                destination: call.destination,
                content: call.body.as_deref(),
            };
            let authorization =
                signed.sign(&identity.key).map_err(|_| CallError::Request("the body is no JSON object"))?;
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(call.body.clone().unwrap_or_default())).map_err(malformed)
    }
}
