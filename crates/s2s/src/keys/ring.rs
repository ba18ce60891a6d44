//! Finding a key: in memory, in the store, at its server, at notaries, in this order.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use moka::future::Cache;
use plexus_events::{Value, canonical};
use ruma::{OwnedServerName, ServerName};
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tracing::{debug, error, warn};

use super::{
    BannedKeys, Key, KeyStore, Purpose, ServerKeys, response,
    source::{KeySource, MAX_SERVERS, SourceError, Wanted},
};

/// Servers whose keys are in memory.
const CACHE_SIZE: u64 = 20_000;
/// How long keys that are in memory are believed to be all that the store has.
const REMEMBER: Duration = Duration::from_secs(60 * 60);
/// A server whose keys were fetched is not asked again before this, whoever claims to have signed with another key.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long a server that gave no keys is not asked again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// Servers that are asked at the same time, and how long one more waits for its turn.
const AT_ONCE: usize = 32;
const WAIT: Duration = Duration::from_secs(2);

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The server has no such key, or it may not have signed that.
    #[error("the server has no such key, or it is not valid")]
    NotValid,
    /// The key is known to be in wrong hands.
    #[error("the key is banned")]
    Banned,
    /// Neither the server nor a notary told its keys.
    #[error("the keys of the server cannot be had: {0}")]
    Unavailable(String),
    /// Too many servers are asked already.
    #[error("too many servers are being asked for their keys")]
    Busy,
    /// The store failed.
    #[error("the store of keys failed: {0}")]
    Store(String),
}

/// What a key ring is made of.
pub struct KeyRingDeps {
    /// Keeps keys.
    pub store: Arc<dyn KeyStore>,
    /// Fetches keys.
    pub source: Arc<dyn KeySource>,
    /// Servers that are asked about others, in this order.
    pub notaries: Vec<OwnedServerName>,
    /// Keys that verify nothing.
    pub banned: BannedKeys,
    /// Our own keys, which nobody has to be asked for.
    pub own: ServerKeys,
    /// Tells the time, in milliseconds since the Unix epoch.
    pub clock: fn() -> i64,
}

/// The keys of all servers. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing(Arc<Inner>);

struct Inner {
    deps: KeyRingDeps,
    known: Cache<OwnedServerName, Known>,
    failures: Cache<OwnedServerName, Failure>,
    flights: Cache<OwnedServerName, Arc<Mutex<()>>>,
    turns: Semaphore,
    /// Held while the keys of a notary are fetched.
    notary_flight: Mutex<()>,
}

#[derive(Clone)]
struct Known {
    keys: Arc<ServerKeys>,
    /// When they were fetched by this process.
    asked: Option<Instant>,
}

#[derive(Clone)]
struct Failure {
    count: u32,
    until: Instant,
    why: String,
}

impl KeyRing {
    /// Makes a ring with nothing in memory.
    #[must_use]
    pub fn new(deps: KeyRingDeps) -> Self {
        let known = Cache::builder().max_capacity(CACHE_SIZE).time_to_live(REMEMBER).build();
        let failures = Cache::builder().max_capacity(CACHE_SIZE * 5).time_to_idle(2 * MAX_PAUSE).build();
        let flights = Cache::builder().max_capacity(CACHE_SIZE).time_to_idle(MAX_PAUSE).build();
        let (turns, notary_flight) = (Semaphore::new(AT_ONCE), Mutex::new(()));
        Self(Arc::new(Inner { deps, known, failures, flights, turns, notary_flight }))
    }

    /// Finds a key that may have signed something.
    pub async fn find(
        &self,
        server: &ServerName,
        key_id: &str,
        purpose: Purpose,
    ) -> Result<[u8; 32], KeyError> {
        let inner = &self.0;
        let own = &inner.deps.own;
        if server == own.server {
            return inner.choose(own, key_id, purpose).unwrap_or(Err(KeyError::NotValid));
        }
        let known = inner.known(server).await?;
        if let Some(found) = inner.choose(&known.keys, key_id, purpose) {
            return found;
        }
        let wanted = Wanted {
            server: server.to_owned(),
            key_id: Some(key_id.to_owned()),
            minimum_valid_until_ts: purpose.minimum_valid_until((inner.deps.clock)()),
        };
        let keys = inner.ask(wanted).await?;
        inner.choose(&keys, key_id, purpose).unwrap_or(Err(KeyError::NotValid))
    }

    /// The keys of a server, fetched unless they are valid up to a time: for notaries.
    pub async fn get(
        &self,
        server: &ServerName,
        minimum_valid_until_ts: i64,
    ) -> Result<Arc<ServerKeys>, KeyError> {
        let known = self.0.known(server).await?;
        if known.keys.valid_until_ts >= minimum_valid_until_ts {
            return Ok(known.keys);
        }
        match self.0.ask(Wanted { server: server.to_owned(), key_id: None, minimum_valid_until_ts }).await {
            // Better old keys than none: the server may be gone.
            Err(_) if !known.keys.response.is_empty() => Ok(known.keys),
            asked => asked,
        }
    }

    /// What is known of a server without asking anybody.
    pub async fn known(&self, server: &ServerName) -> Result<Arc<ServerKeys>, KeyError> {
        self.0.known(server).await.map(|known| known.keys)
    }

    /// Fetches keys of many servers that are not known to be valid at a time each, as far as that is done by the
    /// deadline: from notaries first, for many of the servers of a room are gone.
    pub async fn prefetch(&self, wanted: Vec<Wanted>, deadline: Instant) {
        let inner = &self.0;
        let wanted = inner.missing(wanted).await;
        let mut by_server: HashMap<OwnedServerName, Wanted> = HashMap::new();
        for wanted in wanted {
            by_server.entry(wanted.server.clone()).or_insert(wanted);
        }
        let all: Vec<Wanted> = by_server.values().cloned().collect();
        let notaries = async {
            for notary in &inner.deps.notaries {
                let missing: Vec<Wanted> =
                    all.iter().filter(|wanted| by_server.contains_key(&wanted.server)).cloned().collect();
                let answers = stream::iter(missing.chunks(MAX_SERVERS).map(<[Wanted]>::to_vec))
                    .map(|chunk| async move { inner.ask_notary(notary, &chunk).await.unwrap_or_default() })
                    .buffer_unordered(4);
                for keys in answers.collect::<Vec<_>>().await.into_iter().flatten() {
                    by_server.remove(&keys.server);
                    inner.keep(keys).await;
                }
            }
            let rest: Vec<Wanted> = by_server.into_values().collect();
            stream::iter(rest)
                .for_each_concurrent(AT_ONCE, async |wanted| {
                    let server = wanted.server.clone();
                    if let Err(error) = inner.ask(wanted).await {
                        debug!(%server, %error, "no keys");
                    }
                })
                .await;
        };
        if timeout_at(deadline, notaries).await.is_err() {
            debug!("some keys did not come in time");
        }
    }
}

impl Inner {
    /// The key, if it is known and may have signed that.
    fn choose(
        &self,
        keys: &ServerKeys,
        key_id: &str,
        purpose: Purpose,
    ) -> Option<Result<[u8; 32], KeyError>> {
        let key = keys.keys.get(key_id)?;
        if self.deps.banned.contains(keys.server.as_str(), key_id, key) {
            return Some(Err(KeyError::Banned));
        }
        key.may_sign(purpose, (self.deps.clock)()).then_some(Ok(key.public))
    }

    async fn known(&self, server: &ServerName) -> Result<Known, KeyError> {
        let load = async {
            let owned = server.to_owned();
            let loaded = self.deps.store.load(std::slice::from_ref(&owned)).await;
            let loaded = loaded.map_err(|error| KeyError::Store(error.0))?;
            let keys = loaded.into_iter().find(|keys| keys.server == owned);
            Ok(Known { keys: Arc::new(keys.unwrap_or_else(|| ServerKeys::none(owned))), asked: None })
        };
        let loaded = self.known.try_get_with(server.to_owned(), load).await;
        loaded.map_err(|error: Arc<KeyError>| (*error).clone())
    }

    /// Asks the server, and then notaries. Once at a time for each server, and few servers at a time.
    async fn ask(&self, wanted: Wanted) -> Result<Arc<ServerKeys>, KeyError> {
        let server = wanted.server.clone();
        let flight = self.flights.get_with(server.clone(), async { Arc::default() }).await;
        let _flight = flight.lock().await;
        let known = self.known(&server).await?;
        if known.asked.is_some_and(|asked| asked.elapsed() < ASK_AGAIN) {
            return Ok(known.keys);
        }
        self.check_failure(&server).await.map_err(|error| KeyError::Unavailable(error.0))?;
        let turn = timeout(WAIT, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(KeyError::Busy) };
        let why = match self.ask_server(&server).await {
            Ok(keys) => return Ok(self.keep(keys).await),
            Err(error) => error,
        };
        for notary in self.deps.notaries.iter().filter(|notary| **notary != server) {
            match self.ask_notary(notary, std::slice::from_ref(&wanted)).await {
                Ok(answers) => {
                    let mut merged = None;
                    for keys in answers.into_iter().filter(|keys| keys.server == server) {
                        merged = Some(self.keep(keys).await);
                    }
                    if let Some(keys) = merged {
                        return Ok(keys);
                    }
                }
                Err(error) => debug!(%notary, %error, "notary gave no keys"),
            }
        }
        Err(KeyError::Unavailable(why.0))
    }

    /// Asks a server, and remembers when it gave no keys.
    async fn ask_server(&self, server: &ServerName) -> Result<ServerKeys, SourceError> {
        let read = |body: bytes::Bytes| {
            let read = response::read(&body, server, (self.deps.clock)(), true);
            read.map_err(|error| SourceError(error.to_string()))
        };
        let asked = self.deps.source.ask(server).await.and_then(read);
        match &asked {
            Ok(_) => self.failures.invalidate(server).await,
            Err(error) => {
                let count = self.failures.get(server).await.map_or(0, |failure| failure.count);
                let pause = (FIRST_PAUSE * 2_u32.pow(count.min(8))).min(MAX_PAUSE);
                let until = Instant::now() + pause.mul_f64(rand::random_range(0.9..1.1));
                let failure = Failure { count: count.saturating_add(1), until, why: error.0.clone() };
                self.failures.insert(server.to_owned(), failure).await;
            }
        }
        asked
    }

    /// Fails while a server that gave no keys is not to be asked again.
    async fn check_failure(&self, server: &ServerName) -> Result<(), SourceError> {
        match self.failures.get(server).await {
            Some(failure) if Instant::now() < failure.until => Err(SourceError(failure.why)),
            _ => Ok(()),
        }
    }

    /// Asks a notary, whose signature must be on each answer beside that of the server it is about.
    async fn ask_notary(
        &self,
        notary: &ServerName,
        wanted: &[Wanted],
    ) -> Result<Vec<ServerKeys>, SourceError> {
        let notary_keys = self.keys_of_notary(notary).await?;
        let answers = self.deps.source.ask_notary(notary, wanted).await?;
        let servers: BTreeSet<&ServerName> = wanted.iter().map(|wanted| &*wanted.server).collect();
        let now = (self.deps.clock)();
        let read = |body: bytes::Bytes| {
            let object = canonical::parse_object(&body).ok()?;
            let name = object.get("server_name").and_then(Value::as_str)?;
            let server = *servers.iter().find(|server| server.as_str() == name)?;
            if !response::is_signed(&object, notary, &notary_keys) {
                warn!(%notary, %server, "notary did not sign what it passed on");
                return None;
            }
            response::read(&body, server, now, false).ok()
        };
        Ok(answers.into_iter().filter_map(read).collect())
    }

    async fn keys_of_notary(&self, notary: &ServerName) -> Result<BTreeMap<String, [u8; 32]>, SourceError> {
        let failed = |error: KeyError| SourceError(format!("the keys of the notary {notary}: {error}"));
        let now = (self.deps.clock)();
        let current = |keys: &ServerKeys| -> BTreeMap<String, [u8; 32]> {
            let is_current = |(_, key): &(&String, &Key)| key.may_sign(Purpose::Request, now);
            keys.keys.iter().filter(is_current).map(|(id, key)| (id.clone(), key.public)).collect()
        };
        let known = current(&self.known(notary).await.map_err(failed)?.keys);
        if !known.is_empty() {
            return Ok(known);
        }
        let _flight = self.notary_flight.lock().await;
        // Whoever came first has asked meanwhile.
        let known = current(&self.known(notary).await.map_err(failed)?.keys);
        if !known.is_empty() {
            return Ok(known);
        }
        self.check_failure(notary).await?;
        let keys = self.ask_server(notary).await?;
        Ok(current(&*self.keep(keys).await))
    }

    /// Keeps what was fetched, in memory and in the store.
    async fn keep(&self, fetched: ServerKeys) -> Arc<ServerKeys> {
        let server = fetched.server.clone();
        // A store that fails costs that these keys are fetched again; what they verify is verified.
        if let Err(error) = self.deps.store.save(std::slice::from_ref(&fetched)).await {
            error!(%server, %error, "cannot keep the keys of a server");
        }
        let known = self.known(&server).await.map(|known| known.keys);
        let mut keys = known.map_or_else(|_| ServerKeys::none(server.clone()), |keys| (*keys).clone());
        for key_id in keys.merge(fetched) {
            error!(%server, key_id, "a server's key was told differently before, it stays as it was");
        }
        let keys = Arc::new(keys);
        self.known.insert(server, Known { keys: Arc::clone(&keys), asked: Some(Instant::now()) }).await;
        keys
    }

    /// Of what is wanted, what is not known to be there; the store is asked once for all.
    async fn missing(&self, wanted: Vec<Wanted>) -> Vec<Wanted> {
        let mut unknown: BTreeSet<OwnedServerName> = BTreeSet::new();
        for wanted in &wanted {
            if !self.known.contains_key(&wanted.server) {
                unknown.insert(wanted.server.clone());
            }
        }
        let unknown: Vec<OwnedServerName> = unknown.into_iter().collect();
        for chunk in unknown.chunks(500) {
            let loaded = self.deps.store.load(chunk).await.unwrap_or_default();
            for keys in loaded {
                let known = Known { keys: Arc::new(keys), asked: None };
                self.known.insert(known.keys.server.clone(), known).await;
            }
        }
        let mut missing = Vec::new();
        for wanted in wanted {
            let known = self.known.get(&wanted.server).await;
            let has = known.is_some_and(|known| match &wanted.key_id {
                Some(id) => known.keys.keys.get(id).is_some_and(|key| {
                    key.expired_ts.is_some() || key.trusted_until() >= wanted.minimum_valid_until_ts
                }),
                None => known.keys.valid_until_ts >= wanted.minimum_valid_until_ts,
            });
            if !has {
                missing.push(wanted);
            }
        }
        missing
    }
}
