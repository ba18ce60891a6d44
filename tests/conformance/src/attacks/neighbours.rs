//! Neighbours of an attack: people at other addresses, who chat and measure how long they wait.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::figures::Waits;
use crate::{server::Target, wire::encoded};

/// Longer than any request takes, also the first `/sync` of an account in a thousand rooms.
const LONGEST: Duration = Duration::from_secs(120);
/// Longer than anybody waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two messages of one person: below the limit on messages that servers have by default.
const PACE: Duration = Duration::from_millis(250);

/// Somebody with a session, at an address of their own.
#[derive(Debug, Clone)]
pub(super) struct Session {
    http: reqwest::Client,
    base: String,
    pub(super) token: String,
    pub(super) user_id: String,
}

/// Makes a client for HTTP whose connections come from an address.
pub(super) fn http_from(address: Ipv4Addr) -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder().timeout(LONGEST).tcp_nodelay(true);
    Ok(builder.local_address(IpAddr::V4(address)).build()?)
}

impl Session {
    /// Registers from an address.
    pub(super) async fn register(target: &Target, address: Ipv4Addr, name: &str) -> Result<Self> {
        let name = format!("{name}-{}", target.run);
        let body = json!({
            "auth": { "type": "m.login.dummy" }, "username": name, "password": format!("the horse of {name}"),
        });
        let nobody = Self {
            http: http_from(address)?,
            base: target.url.clone(),
            token: String::new(),
            user_id: String::new(),
        };
        let answer = nobody.call(Method::POST, "/register", Some(&body)).await?;
        nobody.with(&answer)
    }

    /// Logs in from an address.
    pub(super) async fn log_in(
        target: &Target,
        address: Ipv4Addr,
        user: &str,
        password: &str,
    ) -> Result<Self> {
        let nobody = Self {
            http: http_from(address)?,
            base: target.url.clone(),
            token: String::new(),
            user_id: String::new(),
        };
        let identifier = json!({ "type": "m.id.user", "user": user });
        let body = json!({ "type": "m.login.password", "identifier": identifier, "password": password });
        let answer = nobody.call(Method::POST, "/login", Some(&body)).await?;
        nobody.with(&answer)
    }

    fn with(self, answer: &Value) -> Result<Self> {
        let text = |key: &str| answer[key].as_str().map(str::to_owned).with_context(|| format!("no {key}"));
        Ok(Self { token: text("access_token")?, user_id: text("user_id")?, ..self })
    }

    /// The same session before another server.
    pub(super) fn at(&self, url: &str) -> Self {
        Self { base: url.to_owned(), ..self.clone() }
    }

    /// The same person without a session.
    pub(super) fn without_token(&self) -> Self {
        Self { token: String::new(), ..self.clone() }
    }

    /// Makes a request below `/_matrix/client/v3`; returns status and body.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, String)> {
        let mut request = self.http.request(method, format!("{}/_matrix/client/v3{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Makes a request that succeeds.
    pub(super) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, text) = self.ask(method.clone(), path, body).await?;
        ensure!(status == 200, "{method} {path} was answered {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Makes a room; returns its ID.
    pub(super) async fn creates_room(&self) -> Result<String> {
        let body = json!({ "preset": "public_chat" });
        let answer = self.call(Method::POST, "/createRoom", Some(&body)).await?;
        Ok(answer["room_id"].as_str().context("no room_id")?.to_owned())
    }
}

/// Two people in a room.
struct Pair {
    alice: Session,
    bob: Session,
    room: String,
}

/// Pairs of people.
pub(super) struct Neighbours(Vec<Pair>);

impl Neighbours {
    /// Brings pairs of people into rooms of their own, each pair at an address of its own.
    pub(super) async fn settle(target: &Target, pairs: u8) -> Result<Self> {
        let mut all = Vec::new();
        for number in 0..pairs {
            let address = Ipv4Addr::new(127, 0, 1, number + 1);
            let alice = Session::register(target, address, &format!("alice{number}")).await?;
            let bob = Session::register(target, address, &format!("bob{number}")).await?;
            let room = alice.creates_room().await?;
            bob.call(Method::POST, &format!("/rooms/{}/join", encoded(&room)), Some(&json!({}))).await?;
            all.push(Pair { alice, bob, room });
        }
        Ok(Self(all))
    }

    /// They chat for a while; returns how long they waited.
    pub(super) async fn chat(&self, round: usize, how_long: Duration) -> Result<Waits> {
        let until = Instant::now() + how_long;
        let all = futures::future::try_join_all(self.0.iter().map(|pair| pair.chat(round, until))).await?;
        let mut waits = Waits::default();
        all.into_iter().for_each(|one| waits.merge(one));
        Ok(waits)
    }
}

impl Pair {
    async fn chat(&self, round: usize, until: Instant) -> Result<Waits> {
        let mut waits = Waits::default();
        let mut since = self.hear(None, "").await?;
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0.. {
            pace.tick().await;
            if Instant::now() >= until {
                break;
            }
            let text = format!("hello-{round}-{number}-of-a-neighbour");
            let began = Instant::now();
            let send = async { (timeout(PATIENCE, self.say(&text)).await, began.elapsed()) };
            let from = since.clone();
            let hear = async { (timeout(PATIENCE, self.hear(from, &text)).await, began.elapsed()) };
            let ((sent, send_time), (heard, hear_time)) = futures::join!(send, hear);
            let began = Instant::now();
            let read = timeout(PATIENCE, self.read(&text)).await;
            for (kind, good, time) in [
                (0, matches!(sent, Ok(Ok(()))), send_time),
                (1, matches!(read, Ok(Ok(()))), began.elapsed()),
                (2, matches!(heard, Ok(Ok(_))), hear_time),
            ] {
                waits.add(kind, if good { time } else { PATIENCE });
                waits.failed += usize::from(!good);
            }
            since = match heard {
                Ok(Ok(since)) => since,
                Ok(Err(_)) | Err(_) => self.hear(None, "").await?,
            };
        }
        Ok(waits)
    }

    async fn say(&self, text: &str) -> Result<()> {
        let path = format!("/rooms/{}/send/m.room.message/{text}", encoded(&self.room));
        let body = json!({ "msgtype": "m.text", "body": text });
        self.alice.call(Method::PUT, &path, Some(&body)).await.map(drop)
    }

    async fn read(&self, text: &str) -> Result<()> {
        let path = format!("/rooms/{}/messages?dir=b&limit=20", encoded(&self.room));
        let page = self.bob.call(Method::GET, &path, None).await?;
        ensure!(page.to_string().contains(text), "{text} is not in the room");
        Ok(())
    }

    /// Waits in `/sync` until a text is told; returns where to go on.
    async fn hear(&self, mut since: Option<String>, text: &str) -> Result<Option<String>> {
        loop {
            let query = since.as_ref().map_or_else(String::new, |since| format!("&since={}", encoded(since)));
            let answer = self.bob.call(Method::GET, &format!("/sync?timeout=8000{query}"), None).await?;
            since = answer["next_batch"].as_str().map(str::to_owned);
            if text.is_empty() || answer.to_string().contains(text) {
                return Ok(since);
            }
        }
    }
}
