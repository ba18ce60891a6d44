//! Keys of servers: what they may sign, where they come from, and where they are kept.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys)
//!
//! Whether a key may sign a request and whether it may sign an event are two questions. Requests are made now, by keys
//! that are current; events are for ever, and the keys of a server that is gone still prove who made them. So no key is
//! forgotten that was seen once.

pub mod response;
pub mod ring;
pub mod source;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use ruma::OwnedServerName;

pub use ring::{KeyError, KeyRing, KeyRingDeps};
pub use source::{KeySource, SourceError};

/// A key is not believed for longer than this after it was fetched, whatever its server says.
const MAX_TRUST_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// What a key is to have signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A request that is made now.
    Request,
    /// An event.
    Event {
        /// When it says that it was made.
        origin_server_ts: i64,
        /// Whether the key must have been valid then: from room version 5 on.
        enforces_validity: bool,
    },
}

impl Purpose {
    /// Up to when a key must be valid.
    fn minimum_valid_until(self, now: i64) -> i64 {
        match self {
            Self::Request | Self::Event { enforces_validity: false, .. } => now,
            Self::Event { origin_server_ts, .. } => origin_server_ts,
        }
    }
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The public key.
    pub public: [u8; 32],
    /// Up to when its server said last that it is valid; 0 if the server only ever told it as an old one.
    pub valid_until_ts: i64,
    /// When it was taken out of use, if it was.
    pub expired_ts: Option<i64>,
    /// When that was fetched.
    pub fetched_ts: i64,
    /// Whether the server told it itself, rather than a notary.
    pub is_direct: bool,
}

impl Key {
    /// Up to when it is believed to be valid.
    #[must_use]
    pub fn trusted_until(&self) -> i64 {
        self.valid_until_ts.min(self.fetched_ts.saturating_add(MAX_TRUST_MS))
    }

    /// True if it may have signed that.
    #[must_use]
    pub fn may_sign(&self, purpose: Purpose, now: i64) -> bool {
        match (purpose, self.expired_ts) {
            (Purpose::Request, expired) => expired.is_none() && self.trusted_until() > now,
            (Purpose::Event { enforces_validity: false, .. }, _) => true,
            (Purpose::Event { origin_server_ts, .. }, Some(expired)) => origin_server_ts <= expired,
            (Purpose::Event { origin_server_ts, .. }, None) => origin_server_ts <= self.trusted_until(),
        }
    }
}

/// The keys of a server, as far as they were ever seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerKeys {
    /// The server.
    pub server: OwnedServerName,
    /// Keys by ID.
    pub keys: BTreeMap<String, Key>,
    /// The last response as its server signed it; empty if there is none.
    pub response: Bytes,
    /// Up to when that is valid.
    pub valid_until_ts: i64,
    /// When it was fetched.
    pub fetched_ts: i64,
}

impl ServerKeys {
    /// A server of which no key was ever seen.
    #[must_use]
    pub fn none(server: OwnedServerName) -> Self {
        Self { server, keys: BTreeMap::new(), response: Bytes::new(), valid_until_ts: 0, fetched_ts: 0 }
    }

    /// Adds what was fetched. What the server says itself replaces what a notary said; nothing else replaces the bytes
    /// of a key. Returns the IDs of keys that were told differently and stayed as they were.
    pub fn merge(&mut self, newer: Self) -> Vec<String> {
        let mut conflicts = Vec::new();
        for (id, key) in newer.keys {
            match self.keys.get_mut(&id) {
                None => drop(self.keys.insert(id, key)),
                Some(known) if known.public != key.public => {
                    if key.is_direct && !known.is_direct {
                        *known = key;
                    } else {
                        conflicts.push(id);
                    }
                }
                Some(known) => {
                    let expired_ts = match (known.expired_ts, key.expired_ts) {
                        (Some(known), Some(new)) => Some(known.min(new)),
                        (known, new) => known.or(new),
                    };
                    let is_direct = known.is_direct || key.is_direct;
                    if key.trusted_until() >= known.trusted_until() {
                        *known = key;
                    }
                    (known.expired_ts, known.is_direct) = (expired_ts, is_direct);
                }
            }
        }
        if newer.valid_until_ts >= self.valid_until_ts && !newer.response.is_empty() {
            self.response = newer.response;
            self.valid_until_ts = newer.valid_until_ts;
            self.fetched_ts = newer.fetched_ts;
        }
        conflicts
    }
}

/// Why keys could not be kept or read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store of keys failed: {0}")]
pub struct StoreError(pub String);

/// Keeps keys for ever.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Reads the keys of servers. Those of which no key was ever seen are left out.
    async fn load(&self, servers: &[OwnedServerName]) -> Result<Vec<ServerKeys>, StoreError>;
    /// Adds keys, as [`ServerKeys::merge`] does.
    async fn save(&self, keys: &[ServerKeys]) -> Result<(), StoreError>;
}

/// Keys that are known to be in wrong hands: they verify nothing.
#[derive(Debug, Clone, Default)]
pub struct BannedKeys {
    publics: BTreeSet<[u8; 32]>,
    ids: BTreeSet<(String, String)>,
}

/// An entry that names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a public key in base64 nor `server name` and `key ID`")]
pub struct BannedKeyError(String);

impl BannedKeys {
    /// Reads a list: a public key in base64, or a server name and the ID of one of its keys with a space between.
    pub fn parse(entries: &[String]) -> Result<Self, BannedKeyError> {
        let mut banned = Self::default();
        for entry in entries {
            match entry.split_once(' ') {
                Some((server, id)) if crate::authorization::is_key_id(id.trim()) => {
                    banned.ids.insert((server.to_owned(), id.trim().to_owned()));
                }
                Some(_) => return Err(BannedKeyError(entry.clone())),
                None => {
                    let key = plexus_events::verify::public_key(entry);
                    banned.publics.insert(key.ok_or_else(|| BannedKeyError(entry.clone()))?);
                }
            }
        }
        Ok(banned)
    }

    fn contains(&self, server: &str, id: &str, key: &Key) -> bool {
        self.publics.contains(&key.public) || self.ids.contains(&(server.to_owned(), id.to_owned()))
    }
}

#[cfg(test)]
mod tests;
