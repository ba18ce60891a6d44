//! `/.well-known/matrix/server`: which host speaks for a server name.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver)

use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, header};
use moka::{future::Cache, ops::compute::Op};
use plexus_outbound::{Fetcher, Limits};
use serde::Deserialize;
use tokio::time::Instant;
use tracing::debug;
use url::Url;

use crate::name::PeerName;

/// Names of which the answers are kept.
const CACHE_SIZE: u64 = 100_000;
const HOUR: Duration = Duration::from_secs(60 * 60);
/// How long an answer is kept that does not say.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const MIN_LIFETIME: Duration = Duration::from_secs(5 * 60);
const MAX_LIFETIME: Duration = Duration::from_secs(48 * 60 * 60);
/// How long the absence of an answer is kept at first, and at most.
const FIRST_ABSENCE: Duration = Duration::from_secs(5 * 60);
const MAX_ABSENCE: Duration = HOUR;
/// How long a good answer outlives its time while the server fails, and when it is asked again meanwhile.
const GRACE: Duration = Duration::from_secs(2 * 60 * 60);
const RETRY: Duration = Duration::from_secs(2 * 60);
/// Bounds of asking.
pub const LIMITS: Limits =
    Limits { deadline: Duration::from_secs(5), max_body: 50 * 1024, max_redirects: 5, https_only: true };

/// What came of asking once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The name is delegated, for so long.
    Delegated(PeerName, Option<Duration>),
    /// It is not: the server says so, or says something that is no delegation.
    Absent,
    /// Nobody knows: the server did not answer, or failed.
    Failed,
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// To whom the name is delegated.
    pub delegated: Option<PeerName>,
    /// Until when this need not be asked again.
    pub fresh_until: Instant,
    /// Until when the delegation holds although the server fails.
    holds_until: Option<Instant>,
    /// How long absence was kept last.
    absence: Duration,
}

impl Entry {
    /// What is known after asking. `jitter` is between 0.9 and 1.1.
    #[must_use]
    pub fn after(previous: Option<&Self>, outcome: Outcome, now: Instant, jitter: f64) -> Self {
        match outcome {
            Outcome::Delegated(delegated, lifetime) => {
                let lifetime = lifetime.unwrap_or(DEFAULT_LIFETIME).clamp(MIN_LIFETIME, MAX_LIFETIME);
                let fresh_until = now + lifetime.mul_f64(jitter);
                Self {
                    delegated: Some(delegated),
                    fresh_until,
                    holds_until: Some(fresh_until + GRACE),
                    absence: Duration::ZERO,
                }
            }
            Outcome::Failed if previous.is_some_and(|entry| entry.holds(now)) => {
                let previous = previous.cloned();
                let fresh_until = now + RETRY;
                previous
                    .map_or_else(|| Self::absent(None, now, jitter), |entry| Self { fresh_until, ..entry })
            }
            Outcome::Absent | Outcome::Failed => Self::absent(previous, now, jitter),
        }
    }

    fn absent(previous: Option<&Self>, now: Instant, jitter: f64) -> Self {
        let last = previous.map_or(Duration::ZERO, |entry| entry.absence);
        let absence = (last * 2).clamp(FIRST_ABSENCE, MAX_ABSENCE);
        Self { delegated: None, fresh_until: now + absence.mul_f64(jitter), holds_until: None, absence }
    }

    fn holds(&self, now: Instant) -> bool {
        self.delegated.is_some() && self.holds_until.is_some_and(|until| now < until)
    }
}

/// Reads an answer.
#[must_use]
pub fn read(headers: &HeaderMap, body: &[u8]) -> Outcome {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "m.server")]
        server: String,
    }
    let server = serde_json::from_slice::<Answer>(body).ok();
    match server.and_then(|answer| PeerName::parse(&answer.server).ok()) {
        Some(delegated) => Outcome::Delegated(delegated, lifetime(headers)),
        None => Outcome::Absent,
    }
}

/// How long an answer may be kept, by `Cache-Control`.
fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let mut max_age = None;
    for value in headers.get_all(header::CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Some(Duration::ZERO),
                "max-age" => {
                    let seconds = value.trim().trim_matches('"').parse();
                    max_age = seconds.ok().map(Duration::from_secs).or(max_age);
                }
                _ => {}
            }
        }
    }
    max_age
}

/// Asks for delegations.
#[async_trait]
pub trait AskWellKnown: Send + Sync {
    /// Asks the host of a server name without a port.
    async fn ask(&self, host: &str) -> Outcome;
}

#[async_trait]
impl AskWellKnown for Fetcher {
    async fn ask(&self, host: &str) -> Outcome {
        let Ok(url) = Url::parse(&format!("https://{host}/.well-known/matrix/server")) else {
            return Outcome::Absent;
        };
        match self.get(url, LIMITS).await {
            Ok(fetched) if fetched.status.is_success() => read(&fetched.headers, &fetched.body),
            Ok(fetched) if fetched.status.is_server_error() || fetched.status.as_u16() == 429 => {
                Outcome::Failed
            }
            Ok(_) => Outcome::Absent,
            Err(error) => {
                debug!(host, %error, "no answer about delegation");
                Outcome::Failed
            }
        }
    }
}

/// Delegations that are known.
pub struct WellKnown {
    entries: Cache<String, Entry>,
    ask: Box<dyn AskWellKnown>,
}

impl WellKnown {
    /// Begins with none.
    #[must_use]
    pub fn new(ask: Box<dyn AskWellKnown>) -> Self {
        let entries = Cache::builder().max_capacity(CACHE_SIZE).time_to_idle(MAX_LIFETIME + GRACE).build();
        Self { entries, ask }
    }

    /// Finds out to whom a name is delegated. Questions for one name at the same time are one.
    pub async fn find(&self, host: &str) -> Option<PeerName> {
        let known = self.entries.get(host).await;
        if let Some(entry) = &known
            && Instant::now() < entry.fresh_until
        {
            return entry.delegated.clone();
        }
        let entry = self.entries.entry_by_ref(host);
        let computed = entry.and_compute_with(|current| async {
            // Whoever came first has asked meanwhile.
            let current = current.map(moka::Entry::into_value);
            if current.as_ref().is_some_and(|entry| Instant::now() < entry.fresh_until) {
                return Op::Nop;
            }
            let outcome = self.ask.ask(host).await;
            let jitter = rand::random_range(0.9..1.1);
            Op::Put(Entry::after(current.as_ref(), outcome, Instant::now(), jitter))
        });
        computed.await.into_entry().and_then(|entry| entry.into_value().delegated)
    }

    /// Forgets what is known of a name.
    pub async fn forget(&self, host: &str) {
        self.entries.invalidate(host).await;
    }
}

#[cfg(test)]
mod tests;
