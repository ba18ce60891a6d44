//! Users, as their clients act: over HTTP and by nothing else.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Where the client API is; `/sync` may be served by another process than the rest.
#[derive(Debug, Clone)]
pub struct Homeserver {
    /// Base URL of the client API.
    pub client: String,
    /// Base URL of `/sync`.
    pub sync: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Body; null if it is not JSON.
    pub body: Value,
}

impl Answer {
    /// The body, if the status is 200.
    pub fn ok(self) -> Result<Value> {
        ensure!(self.status == StatusCode::OK, "answered {} {}", self.status, self.body);
        Ok(self.body)
    }

    /// Status and `errcode`, for comparing.
    #[must_use]
    pub fn error(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["errcode"].as_str().unwrap_or_default())
    }
}

/// A user with a session.
#[derive(Debug, Clone)]
pub struct User {
    http: reqwest::Client,
    server: Homeserver,
    /// User ID.
    pub id: String,
    /// Device ID.
    pub device: String,
    /// Access token.
    pub token: String,
}

fn http() -> Result<reqwest::Client> {
    reqwest::Client::builder().timeout(Duration::from_secs(60)).build().context("failed to make a client")
}

/// A name that no other call in this process returns.
#[must_use]
pub fn unique(name: &str) -> String {
    format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes a request without a session.
pub async fn anonymous(
    server: &Homeserver,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer> {
    let url = format!("{}{path}", server.client);
    request(&http()?, method, &url, None, body).await
}

async fn request(
    http: &reqwest::Client,
    method: Method,
    url: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<Answer> {
    let mut request = http.request(method, url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await?;
    let status = response.status();
    let bytes = response.bytes().await?;
    Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
}

impl User {
    /// Registers a new user, whose localpart begins with `name`; needs open registration.
    pub async fn register(server: &Homeserver, name: &str) -> Result<Self> {
        let http = http()?;
        let body = json!({
            "username": unique(name),
            "password": "correct horse battery staple",
            "auth": { "type": "m.login.dummy" },
        });
        let url = format!("{}/_matrix/client/v3/register", server.client);
        let session = request(&http, Method::POST, &url, None, Some(&body)).await?.ok()?;
        let text = |key: &str| session[key].as_str().map(str::to_owned).with_context(|| format!("no {key}"));
        Ok(Self {
            http,
            server: server.clone(),
            id: text("user_id")?,
            device: text("device_id")?,
            token: text("access_token")?,
        })
    }

    /// The same session on another instance of the services.
    #[must_use]
    pub fn at(&self, server: &Homeserver) -> Self {
        Self { server: server.clone(), ..self.clone() }
    }

    /// Makes any request to the client API, below `/_matrix/client/v3`.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let url = format!("{}/_matrix/client/v3{path}", self.server.client);
        request(&self.http, method, &url, Some(&self.token), body).await
    }

    /// Creates a room; returns its ID.
    pub async fn create_room(&self, options: &Value) -> Result<String> {
        let answer = self.call(Method::POST, "/createRoom", Some(options)).await?.ok()?;
        answer["room_id"].as_str().map(str::to_owned).context("no room_id")
    }

    /// Joins a room.
    pub async fn join(&self, room: &str) -> Result<Answer> {
        self.call(Method::POST, &format!("/rooms/{}/join", escape(room)), Some(&json!({}))).await
    }

    /// Invites, kicks, bans or unbans a user.
    pub async fn moderate(&self, room: &str, action: &str, user: &User) -> Result<Answer> {
        let body = json!({ "user_id": user.id });
        self.call(Method::POST, &format!("/rooms/{}/{action}", escape(room)), Some(&body)).await
    }

    /// Sends a message under a transaction ID.
    pub async fn send_in(&self, room: &str, txn: &str, text: &str) -> Result<Answer> {
        let body = json!({ "msgtype": "m.text", "body": text });
        let path = format!("/rooms/{}/send/m.room.message/{}", escape(room), escape(txn));
        self.call(Method::PUT, &path, Some(&body)).await
    }

    /// Sends a message; returns its event ID.
    pub async fn send(&self, room: &str, text: &str) -> Result<String> {
        let answer = self.send_in(room, &unique("txn"), text).await?.ok()?;
        answer["event_id"].as_str().map(str::to_owned).context("no event_id")
    }

    /// Sends a message and repeats the same transaction until it is acknowledged, as clients do.
    pub async fn send_surely(&self, room: &str, text: &str, patience: Duration) -> Result<String> {
        let txn = unique("txn");
        let end = tokio::time::Instant::now() + patience;
        loop {
            let last = match self.send_in(room, &txn, text).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    return answer.body["event_id"].as_str().map(str::to_owned).context("no event_id");
                }
                Ok(answer) if answer.status.is_client_error() => bail!("refused: {answer:?}"),
                Ok(answer) => format!("{answer:?}"),
                Err(error) => format!("{error:#}"),
            };
            ensure!(tokio::time::Instant::now() < end, "not acknowledged in {patience:?}; last: {last}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Syncs once.
    pub async fn sync(&self, since: Option<&str>, timeout: Duration, more: &str) -> Result<Answer> {
        let since = since.map(|token| format!("&since={}", escape(token))).unwrap_or_default();
        let url = format!(
            "{}/_matrix/client/v3/sync?timeout={}{since}{more}",
            self.server.sync,
            timeout.as_millis()
        );
        request(&self.http, Method::GET, &url, Some(&self.token), None).await
    }

    /// Syncs from `since` on until `found` returns something; gives up after `patience` and prints what came last.
    pub async fn sync_until<T>(
        &self,
        what: &str,
        since: Option<String>,
        patience: Duration,
        mut found: impl FnMut(&Value) -> Option<T>,
    ) -> Result<(T, String)> {
        let end = tokio::time::Instant::now() + patience;
        let mut since = since;
        let mut last = Value::Null;
        while tokio::time::Instant::now() < end {
            let answer = match self.sync(since.as_deref(), Duration::from_secs(2), "").await {
                Ok(answer) if answer.status == StatusCode::OK => answer.body,
                Ok(answer) if answer.status.is_client_error() => bail!("sync was refused: {answer:?}"),
                Ok(_) | Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let next = answer["next_batch"].as_str().context("no next_batch")?.to_owned();
            if let Some(value) = found(&answer) {
                return Ok((value, next));
            }
            since = Some(next);
            last = answer;
        }
        bail!("never saw {what}; last: {last}")
    }

    /// Reads the whole timeline of a room by `/messages`, newest first.
    pub async fn all_messages(&self, room: &str) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!("/rooms/{}/messages?dir=b&limit=500{from}", escape(room));
            let page = self.call(Method::GET, &path, None).await?.ok()?;
            events.extend(page["chunk"].as_array().context("no chunk")?.iter().cloned());
            let Some(end) = page["end"].as_str() else { return Ok(events) };
            from = format!("&from={}", escape(end));
        }
    }
}

/// Escapes a path segment or a query value.
#[must_use]
pub fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
