//! One account that does all the harm it can, at once and for as long as it is let.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet, time::interval};

use super::{dice::Dice, neighbours::Session};
use crate::{server::Target, wire::encoded};

/// Where the attacker is.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// Requests a second: more than any limit of an account lets pass.
const RATE: u32 = 100;
/// Requests under way: each has a connection, of which an address may have 100 by default.
const AT_ONCE: usize = 90;
/// Bytes of the large things that are sent.
const LARGE: usize = 60_000;
const HUGE: usize = 200_000;

/// An account, and what it needs for its attacks.
pub(super) struct Attacker {
    session: Session,
    room: String,
    /// Text that does not compress.
    noise: String,
}

/// A request of the attacker's.
struct Shot {
    method: Method,
    path: String,
    body: Option<Value>,
    has_token: bool,
}

/// Makes one kind of request.
type Make = fn(&Attacker, u64) -> Shot;

/// What the attacker does, in turn.
const ATTACKS: &[Make] = &[
    |me, n| put(format!("{}/send/m.room.message/t{n}", me.here()), me.text(n, LARGE, "body")),
    |me, n| put(format!("{}/state/org.example.x/{}", me.here(), n % 1_000), me.text(n, LARGE, "body")),
    |me, n| put(format!("{}/account_data/org.example.x", me.user()), me.text(n, HUGE, "x")),
    |me, n| {
        put(
            format!("{}/rooms/{}/account_data/org.example.x", me.user(), encoded(&me.room)),
            me.text(n, HUGE, "x"),
        )
    },
    |_, n| {
        let pattern = format!("{}{}", "ab?".repeat(40), "*c".repeat(8));
        put(
            format!("/pushrules/global/content/rule{}", n % 90),
            json!({ "pattern": pattern, "actions": ["notify"] }),
        )
    },
    |_, n| {
        let path = format!("/pushrules/global/content/rule{}/enabled", n % 90);
        put(path, json!({ "enabled": n % 2 == 0 }))
    },
    |_, _| {
        get(
            "/sync?timeout=0&full_state=true&filter=%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A1000%7D%7D%7D",
        )
    },
    |_, _| get("/sync?timeout=0"),
    |me, _| get(&format!("{}/state", me.here())),
    |me, _| get(&format!("{}/messages?dir=b&limit=1000", me.here())),
    |me, _| get(&format!("{}/members", me.here())),
    |_, _| get("/initialSync?limit=100"),
    |_, _| post("/user_directory/search", json!({ "search_term": "a", "limit": 100 })),
    |_, _| post("/publicRooms", json!({ "filter": { "generic_search_term": "e" }, "limit": 1000 })),
    |me, n| Shot {
        has_token: false,
        ..post("/register", json!({ "username": format!("flood{n}"), "x": me.part(n, 15_000) }))
    },
    |_, n| {
        let invite: Vec<_> = (0..900).map(|number| format!("@nobody{n}-{number}:plexus.test")).collect();
        post("/createRoom", json!({ "invite": invite }))
    },
    |me, n| {
        put(
            format!("/directory/room/{}", encoded(&format!("#flood{n}:plexus.test"))),
            json!({ "room_id": me.room }),
        )
    },
    |me, n| {
        let path = format!("{}/receipt/m.read/{}", me.here(), encoded("$nothing\0"));
        post(&path, json!({ "thread_id": format!("$a{n}\0") }))
    },
    |me, n| {
        let identifier = json!({ "type": "m.id.user", "user": me.session.user_id });
        let body =
            json!({ "type": "m.login.password", "identifier": identifier, "password": format!("wrong{n}") });
        Shot { has_token: false, ..post("/login", body) }
    },
    |_, n| get(&format!("/profile/{}", encoded(&format!("@alice{n}:plexus.test")))),
    |me, n| post(&format!("{}/filter", me.user()), json!({ "room": { "rooms": [me.part(n, LARGE)] } })),
    |me, n| {
        put(
            format!("/profile/{}/displayname", encoded(&me.session.user_id)),
            json!({ "displayname": n.to_string() }),
        )
    },
    |me, n| {
        put(
            format!("{}/typing/{}", me.here(), encoded(&me.session.user_id)),
            json!({ "typing": n % 2 == 0, "timeout": 30_000 }),
        )
    },
    |me, n| put(format!("{}/rooms/{}/tags/u.t{n}", me.user(), encoded(&me.room)), json!({ "order": 0.5 })),
    |me, n| {
        let relates = json!({ "rel_type": "m.reference", "event_id": "$nothing" });
        let body = json!({ "m.relates_to": relates, "body": me.part(n, LARGE) });
        put(format!("{}/send/m.room.message/r{n}", me.here()), body)
    },
    |me, _| get(&format!("{}/aliases", me.here())),
];

fn put(path: String, body: Value) -> Shot {
    Shot { method: Method::PUT, path, body: Some(body), has_token: true }
}

fn post(path: &str, body: Value) -> Shot {
    Shot { method: Method::POST, path: path.to_owned(), body: Some(body), has_token: true }
}

fn get(path: &str) -> Shot {
    Shot { method: Method::GET, path: path.to_owned(), body: None, has_token: true }
}

impl Attacker {
    /// Makes an account with a room.
    pub(super) async fn new(target: &Target, seed: u64) -> Result<Self> {
        let session = Session::register(target, ADDRESS, "attacker").await?;
        let room = session.creates_room().await?;
        let mut dice = Dice::of(seed, 0);
        let noise = (0..2 * HUGE).map(|_| char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[dice.roll(36)]));
        Ok(Self { session, room, noise: noise.collect() })
    }

    /// The same attacker before another server, as a control.
    pub(super) fn at(&self, url: &str) -> Self {
        Self { session: self.session.at(url), room: self.room.clone(), noise: self.noise.clone() }
    }

    /// The beginning of paths of the room.
    fn here(&self) -> String {
        format!("/rooms/{}", encoded(&self.room))
    }

    /// The beginning of paths of the account.
    fn user(&self) -> String {
        format!("/user/{}", encoded(&self.session.user_id))
    }

    /// A part of the noise, another one for each number.
    fn part(&self, number: u64, length: usize) -> &str {
        let start = usize::try_from(number.wrapping_mul(7919)).unwrap_or(0) % HUGE;
        &self.noise[start..start + length]
    }

    fn text(&self, number: u64, length: usize, key: &str) -> Value {
        json!({ "msgtype": "m.text", key: self.part(number, length) })
    }

    /// Attacks for a while; returns how many requests were answered, by hundreds of their status.
    pub(super) async fn attack(self: Arc<Self>, first: u64, how_long: Duration) -> [usize; 6] {
        let until = Instant::now() + how_long;
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut pace = interval(Duration::from_secs(1) / RATE);
        let mut under_way = JoinSet::new();
        let mut answers = [0; 6];
        for number in first.. {
            pace.tick().await;
            if Instant::now() >= until {
                break;
            }
            while let Some(done) = under_way.try_join_next() {
                count(&mut answers, done.ok());
            }
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
            let me = Arc::clone(&self);
            under_way.spawn(async move {
                let status = me.shoot(number).await;
                drop(slot);
                status
            });
        }
        while let Some(done) = under_way.join_next().await {
            count(&mut answers, done.ok());
        }
        answers
    }

    async fn shoot(&self, number: u64) -> u16 {
        let attacks = u64::try_from(ATTACKS.len()).unwrap_or(1);
        let make = ATTACKS[usize::try_from(number % attacks).unwrap_or(0)];
        let shot = make(self, number / attacks);
        let session = if shot.has_token { self.session.clone() } else { self.session.without_token() };
        session.ask(shot.method, &shot.path, shot.body.as_ref()).await.map_or(0, |(status, _)| status)
    }

    /// A request whose answer is large, for a reader who does not read.
    pub(super) fn large_request(&self) -> String {
        format!(
            "GET /_matrix/client/v3{}/state HTTP/1.1\r\nHost: plexus.test\r\n\
             Authorization: Bearer {}\r\n\r\n",
            self.here(),
            self.session.token
        )
    }

    /// Fills the room with large state, as far as limits let it.
    pub(super) async fn fill(&self, events: u64) -> Result<()> {
        for number in 0..events {
            let path = format!("{}/state/org.example.fill/{number}", self.here());
            let (status, text) =
                self.session.ask(Method::PUT, &path, Some(&self.text(number, LARGE, "body"))).await?;
            anyhow::ensure!(status == 200 || status == 429, "an event was answered {status} {text}");
        }
        Ok(())
    }
}

fn count(answers: &mut [usize; 6], status: Option<u16>) {
    let hundred = usize::from(status.unwrap_or(0) / 100).min(5);
    answers[hundred] += 1;
}
