//! A user of the client-server API.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

/// Longer than any long poll.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A user with a session. Clones share connections.
#[derive(Clone)]
pub(crate) struct User {
    http: reqwest::Client,
    base: String,
    authorization: String,
}

/// An answer to `/sync`, as far as it is looked at.
#[derive(Deserialize)]
pub(crate) struct Sync {
    pub(crate) next_batch: String,
    #[serde(default)]
    pub(crate) rooms: Rooms,
}

/// Its rooms.
#[derive(Deserialize, Default)]
pub(crate) struct Rooms {
    #[serde(default)]
    pub(crate) join: std::collections::HashMap<String, JoinedRoom>,
}

/// A room in it.
#[derive(Deserialize)]
pub(crate) struct JoinedRoom {
    #[serde(default)]
    pub(crate) timeline: Timeline,
}

/// The timeline of a room.
#[derive(Deserialize, Default)]
pub(crate) struct Timeline {
    #[serde(default)]
    pub(crate) events: Vec<Event>,
    #[serde(default)]
    pub(crate) limited: bool,
    pub(crate) prev_batch: Option<String>,
}

/// A page of `/messages`.
#[derive(Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    pub(crate) chunk: Vec<Event>,
    pub(crate) end: Option<String>,
}

/// An event.
#[derive(Deserialize)]
pub(crate) struct Event {
    pub(crate) event_id: String,
    #[serde(default)]
    content: Content,
}

#[derive(Deserialize, Default)]
struct Content {
    #[serde(default)]
    bench: Option<u64>,
}

impl Event {
    /// The number that [`User::send`] gave it, if it is of ours.
    pub(crate) fn number(&self) -> Option<u64> {
        self.content.bench
    }
}

#[derive(Deserialize)]
struct Sent {
    event_id: String,
}

impl User {
    /// Registers a user.
    pub(crate) async fn register(base: &str, name: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).tcp_nodelay(true).build()?;
        let mut user =
            Self { http, base: base.trim_end_matches('/').to_owned(), authorization: String::new() };
        let body = json!({
            "username": name, "password": format!("{name} has a password"), "auth": { "type": "m.login.dummy" },
        });
        let answer: Value =
            user.call(Method::POST, "/register", Some(body)).await.context("cannot register")?;
        let token = answer["access_token"].as_str().context("registered without a token")?;
        user.authorization = format!("Bearer {token}");
        Ok(user)
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<T> {
        let body = self.bytes(method, path, body).await?;
        serde_json::from_slice(&body).with_context(|| format!("{path} answered something else"))
    }

    async fn bytes(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}/_matrix/client/v3{path}", self.base);
        let mut request = self.http.request(method, url);
        if !self.authorization.is_empty() {
            request = request.header("authorization", &self.authorization);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let (status, body) = (response.status(), response.bytes().await?);
        if status != StatusCode::OK {
            bail!("{path} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body.into())
    }

    /// Makes a public room; returns its ID.
    pub(crate) async fn create_room(&self) -> anyhow::Result<String> {
        let body = json!({ "preset": "public_chat", "name": "Bench" });
        let answer: Value = self.call(Method::POST, "/createRoom", Some(body)).await?;
        Ok(answer["room_id"].as_str().context("a room without an ID")?.to_owned())
    }

    /// Joins a room.
    pub(crate) async fn join(&self, room: &str) -> anyhow::Result<()> {
        let path = format!("/join/{}", encoded(room));
        let _: Value = self.call(Method::POST, &path, Some(json!({}))).await?;
        Ok(())
    }

    /// Sends a message with a number; returns its event ID.
    pub(crate) async fn send(&self, room: &str, number: u64) -> anyhow::Result<String> {
        let path = format!("/rooms/{}/send/m.room.message/t{number}", encoded(room));
        let body = format!("Message {number}: the quick brown fox jumps over the lazy dog.");
        let content = json!({ "msgtype": "m.text", "body": body, "bench": number });
        let sent: Sent = self.call(Method::PUT, &path, Some(content)).await?;
        Ok(sent.event_id)
    }

    /// Syncs; waits for news, at most for `timeout`.
    pub(crate) async fn sync(&self, since: Option<&str>, timeout: Duration) -> anyhow::Result<Sync> {
        let mut path = format!("/sync?timeout={}&set_presence=offline", timeout.as_millis());
        if let Some(since) = since {
            path.push_str("&since=");
            path.push_str(&encoded(since));
        }
        self.call(Method::GET, &path, None).await
    }

    /// Syncs at once; returns the token, the number of joined rooms in the answer, and its size in bytes.
    pub(crate) async fn sync_size(&self, since: Option<&str>) -> anyhow::Result<(String, usize, usize)> {
        let mut path = "/sync?timeout=0&set_presence=offline".to_owned();
        if let Some(since) = since {
            path.push_str("&since=");
            path.push_str(&encoded(since));
        }
        let body = self.bytes(Method::GET, &path, None).await?;
        let answer: Sync = serde_json::from_slice(&body).context("/sync answered something else")?;
        Ok((answer.next_batch, answer.rooms.join.len(), body.len()))
    }

    /// Reads a page of history, newest first.
    pub(crate) async fn messages(&self, room: &str, from: Option<&str>) -> anyhow::Result<Page> {
        let mut path = format!("/rooms/{}/messages?dir=b&limit=100", encoded(room));
        if let Some(from) = from {
            path.push_str("&from=");
            path.push_str(&encoded(from));
        }
        self.call(Method::GET, &path, None).await
    }
}

/// Percent-encodes a part of a URL.
fn encoded(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend([
                '%',
                char::from(HEX[usize::from(byte >> 4)]),
                char::from(HEX[usize::from(byte & 15)]),
            ]);
        }
    }
    out
}
