//! The server under test, as one test sees it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{
    actor::{Room, User},
    wire::{Answer, Client, Transcript},
};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Where the server is, and what it calls itself.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Base URL of the client API.
    pub(crate) url: String,
    /// Base URL of the server-server API: the same address, port 18448.
    pub(crate) federation: String,
    /// The part after the colon in user IDs.
    pub(crate) name: String,
    /// Set apart from those of other runs, so that a server can be tested twice.
    pub(crate) run: String,
    /// Shared by all tests.
    pub(crate) http: reqwest::Client,
}

impl Target {
    pub(crate) fn new(url: &str, name: &str) -> anyhow::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            federation: federation(url)?,
            name: name.to_owned(),
            run: format!("{:x}", now & 0xff_ffff_ffff),
            http: crate::wire::http()?,
        })
    }
}

/// Start commands have the server-server API where the client API is, at a port of its own.
fn federation(url: &str) -> anyhow::Result<String> {
    let mut url = reqwest::Url::parse(url)?;
    anyhow::ensure!(url.set_port(Some(18448)).is_ok(), "the URL has no host");
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The server under test. Clones share a transcript.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    target: Arc<Target>,
    transcript: Transcript,
}

impl Server {
    pub(crate) fn new(target: Arc<Target>) -> Self {
        Self { target, transcript: Transcript::default() }
    }

    /// What was said so far.
    pub(crate) fn transcript(&self) -> Transcript {
        self.transcript.clone()
    }

    /// The server's name.
    pub(crate) fn name(&self) -> &str {
        &self.target.name
    }

    /// A name that nothing else on this server has: lower case letters, digits and hyphens.
    pub(crate) fn unique(&self, name: &str) -> String {
        format!("{name}-{}-{}", self.target.run, NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Somebody without a session.
    pub(crate) fn anybody(&self) -> Client {
        Client::new(self.target.http.clone(), &self.target.url, self.transcript.clone(), "anybody")
    }

    /// Another server, as far as it signs nothing.
    pub(crate) fn federation(&self) -> Client {
        Client::new(self.target.http.clone(), &self.target.federation, self.transcript.clone(), "peer")
    }

    /// Registers; the answer may be anything.
    pub(crate) async fn registers(&self, body: Value) -> Answer {
        self.anybody().post("/register", body).await
    }

    /// A new user with a session.
    pub(crate) async fn user(&self, name: &str) -> User {
        let localpart = self.unique(name);
        let password = format!("correct horse of {localpart}");
        let answer = self.registers(json!({
            "auth": { "type": "m.login.dummy" }, "username": localpart, "password": password,
        }));
        User::new(self.anybody(), name, &localpart, &password, &answer.await.ok())
    }

    /// Two users.
    pub(crate) async fn pair(&self) -> (User, User) {
        futures::join!(self.user("alice"), self.user("bob"))
    }

    /// Three users.
    pub(crate) async fn trio(&self) -> (User, User, User) {
        futures::join!(self.user("alice"), self.user("bob"), self.user("carl"))
    }

    /// Somebody who looks around without an account of their own.
    pub(crate) async fn guest(&self) -> User {
        let answer = self.anybody().post("/register", json!({})).query("kind", "guest").await.ok();
        User::new(self.anybody(), "guest", "", "", &answer)
    }

    /// The ID of a user who does not exist.
    pub(crate) fn nobody(&self) -> String {
        format!("@{}:{}", self.unique("nobody"), self.name())
    }

    /// A room that does not exist.
    pub(crate) fn nowhere(&self) -> Room {
        Room(format!("!nowhere:{}", self.name()))
    }

    /// An alias that nobody has.
    pub(crate) fn alias(&self) -> String {
        format!("#{}:{}", self.unique("alias"), self.name())
    }
}
