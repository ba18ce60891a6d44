//! Fetches keys from the server itself, or from notaries.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use ruma::{OwnedServerName, ServerName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::response;
use crate::{Call, Class, Peers};

/// Most servers that one notary is asked about at once.
pub const MAX_SERVERS: usize = 50;

/// Why no keys were fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// A key that is wanted of a notary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub server: OwnedServerName,
    /// Its ID; `None` for all.
    pub key_id: Option<String>,
    /// Up to when it should be valid.
    pub minimum_valid_until_ts: i64,
}

/// Fetches keys.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// Asks a server for its own keys; returns its answer as it came.
    async fn ask(&self, server: &ServerName) -> Result<Bytes, SourceError>;
    /// Asks a notary for keys, of at most [`MAX_SERVERS`] servers; returns what it passed on.
    async fn ask_notary(&self, notary: &ServerName, wanted: &[Wanted]) -> Result<Vec<Bytes>, SourceError>;
}

/// Asks over the network.
#[async_trait]
impl KeySource for Peers {
    async fn ask(&self, server: &ServerName) -> Result<Bytes, SourceError> {
        let call = Call {
            destination: server,
            method: Method::GET,
            path: "/_matrix/key/v2/server",
            body: None,
            class: Class { max_body: response::MAX_BYTES, ..Class::KEYS },
            is_signed: false,
        };
        self.call(call).await.map(|answer| answer.body).map_err(|error| SourceError(error.to_string()))
    }

    async fn ask_notary(&self, notary: &ServerName, wanted: &[Wanted]) -> Result<Vec<Bytes>, SourceError> {
        #[derive(Serialize)]
        struct Criteria {
            minimum_valid_until_ts: i64,
        }
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            server_keys: Vec<Box<RawValue>>,
        }
        let mut servers: BTreeMap<&str, BTreeMap<&str, Criteria>> = BTreeMap::new();
        for wanted in wanted {
            let keys = servers.entry(wanted.server.as_str()).or_default();
            if let Some(key_id) = &wanted.key_id {
                let minimum_valid_until_ts = wanted.minimum_valid_until_ts.max(0);
                keys.insert(key_id, Criteria { minimum_valid_until_ts });
            }
        }
        let body = serde_json::json!({ "server_keys": servers }).to_string();
        let call = Call {
            destination: notary,
            method: Method::POST,
            path: "/_matrix/key/v2/query",
            body: Some(Bytes::from(body)),
            class: Class { deadline: Duration::from_secs(20), ..Class::KEYS },
            is_signed: false,
        };
        let answer = self.call(call).await.map_err(|error| SourceError(error.to_string()))?;
        let answer: Answer =
            serde_json::from_slice(&answer.body).map_err(|error| SourceError(error.to_string()))?;
        let bytes = |raw: Box<RawValue>| Bytes::from(String::from(Box::<str>::from(raw)));
        Ok(answer.server_keys.into_iter().take(2 * MAX_SERVERS).map(bytes).collect())
    }
}
