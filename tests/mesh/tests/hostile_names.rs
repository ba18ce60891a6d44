//! Names, parameters and bodies that databases and parsers choke on, at every endpoint of the specification: what is
//! there answers, never with a 5xx, and nothing of it poisons a log.

use std::time::Duration;

use anyhow::{Result, ensure};
use plexus_proto::operator::v1::{ListDeadLettersRequest, partition_service_client::PartitionServiceClient};
use plexus_testkit::actor::{User, escape};
use plexus_tests_mesh::stage::{Shape, Stage};
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// Every endpoint there is.
const ENDPOINTS: &str = include_str!("../../conformance/endpoints.tsv");

/// These end what the other requests rest on, hash passwords for a long time, or take a body that is no JSON.
const LEFT_OUT: [&str; 6] =
    ["/logout", "/account/deactivate", "/account/password", "/register", "/login", "/media/"];

/// Texts for names and parameters. Postgres holds no NUL; the rest is too long, no path, no number, or not of a form
/// that IDs have.
const TEXTS: [&str; 7] = ["\0", "..", "-1", "!", "%", "99999999999999999999", "@é\u{200b}:🍵"];

/// Parameters of any endpoint.
const PARAMETERS: [&str; 18] = [
    "from",
    "to",
    "since",
    "at",
    "dir",
    "filter",
    "limit",
    "ts",
    "membership",
    "room_id",
    "user_id",
    "server",
    "before",
    "after",
    "include",
    "format",
    "via",
    "max_depth",
];

/// Fields of any body.
const FIELDS: [&str; 20] = [
    "user_id",
    "reason",
    "room_id",
    "room_alias_name",
    "name",
    "topic",
    "new_version",
    "m.read",
    "m.fully_read",
    "thread_id",
    "search_term",
    "since",
    "displayname",
    "avatar_url",
    "device_id",
    "type",
    "refresh_token",
    "pattern",
    "membership",
    "order",
];

struct Endpoint {
    method: Method,
    path: &'static str,
}

fn endpoints() -> Vec<Endpoint> {
    let lines = ENDPOINTS.lines().filter(|line| line.starts_with("client-server"));
    let read = |line: &'static str| {
        let mut columns = line.split('\t').skip(1);
        let (method, path) = (columns.next()?, columns.next()?);
        Some(Endpoint { method: method.parse().ok()?, path })
    };
    lines
        .filter_map(read)
        .filter(|endpoint| !LEFT_OUT.iter().any(|part| endpoint.path.contains(part)))
        .collect()
}

impl Endpoint {
    /// Names in the path, in braces.
    fn names(&self) -> Vec<&'static str> {
        self.path.split('/').filter(|part| part.starts_with('{')).collect()
    }
}

/// A server under attack by one of its users.
struct Attack {
    stage: Stage,
    alice: User,
    bob: User,
    http: Client,
    answers: usize,
}

impl Attack {
    async fn start(shape: Shape) -> Result<Self> {
        let stage = Stage::start(shape).await?;
        let alice = User::register(&stage.services.homeserver, "alice").await?;
        let bob = User::register(&stage.services.homeserver, "bob").await?;
        Ok(Self { stage, alice, bob, http: Client::new(), answers: 0 })
    }

    /// A room and an event in it.
    async fn place(&self) -> Result<[String; 2]> {
        let room = self.alice.create_room(&json!({})).await?;
        let event = self.alice.send(&room, "hello").await?;
        Ok([room, event])
    }

    /// The path with names of things that are there, but for one.
    fn path(
        &self,
        endpoint: &Endpoint,
        [room, event]: &[String; 2],
        hostile: Option<(&str, &str)>,
    ) -> String {
        let mut path = endpoint.path.to_owned();
        for name in endpoint.names() {
            let value = match (name, hostile) {
                (name, Some((wanted, text))) if name == wanted => text,
                ("{userId}", _) => &self.alice.id,
                ("{roomId}" | "{roomIdOrAlias}", _) => room,
                ("{eventId}", _) => event,
                ("{roomAlias}", _) => "#alias:plexus.test",
                ("{eventType}", _) => "m.room.message",
                ("{receiptType}", _) => "m.read",
                ("{kind}", _) => "content",
                ("{relType}", _) => "m.thread",
                _ => "x",
            };
            path = path.replacen(name, &escape(value), 1);
        }
        path
    }

    /// The endpoints that are served.
    async fn served(&mut self, wanted: impl Fn(&Endpoint) -> bool) -> Result<Vec<Endpoint>> {
        let place = self.place().await?;
        let mut served = Vec::new();
        for endpoint in endpoints().into_iter().filter(wanted) {
            let path = self.path(&endpoint, &place, None);
            let query = format!("{path}?timeout=0");
            let answer = self.send(&endpoint, &query, &Value::Null).await?;
            if !answer.contains("M_UNRECOGNIZED") {
                served.push(endpoint);
            }
        }
        Ok(served)
    }

    /// A body in which every endpoint finds what it needs.
    fn body(&self) -> Value {
        json!({
            "user_id": self.bob.id, "room_id": "!nowhere:plexus.test", "typing": false, "visibility": "private",
            "search_term": "x", "new_version": "11", "actions": [], "pattern": "x", "enabled": true,
            "displayname": "Alice", "msgtype": "m.text", "body": "x",
        })
    }

    async fn send(&mut self, endpoint: &Endpoint, path: &str, body: &Value) -> Result<String> {
        let url = format!("{}{path}", self.stage.services.homeserver.client);
        let request = self.http.request(endpoint.method.clone(), url).bearer_auth(&self.alice.token);
        let request = request.timeout(Duration::from_secs(20));
        let request = if endpoint.method == Method::GET { request } else { request.body(body.to_string()) };
        let response = request.send().await?;
        let status = response.status().as_u16();
        let answer = response.text().await?;
        // Other servers cannot be asked yet, whatever they are called.
        let of_others = status == 502 && path.contains("server=");
        ensure!(
            status < 500 || of_others,
            "{} {path} with {body} was answered {status} {answer}",
            endpoint.method
        );
        self.answers += 1;
        Ok(answer)
    }

    /// The server goes on, and nothing that was sent has ended as a dead letter.
    async fn end(mut self) -> Result<()> {
        let channel = self.stage.operator(0)?;
        let request = ListDeadLettersRequest { limit: 10 };
        let letters = PartitionServiceClient::new(channel).list_dead_letters(request).await?.into_inner();
        ensure!(letters.dead_letters.is_empty(), "dead letters: {:?}", letters.dead_letters);
        let room = self.alice.create_room(&json!({})).await?;
        self.alice.send(&room, "still here").await?;
        self.alice.sync(None, Duration::ZERO, "").await?.ok()?;
        let process = self.stage.services.process("standalone")?;
        process.check()?;
        let output = process.output();
        ensure!(!output.contains("panicked"), "something panicked:\n{output}");
        ensure!(self.answers > 500, "only {} requests were made", self.answers);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_never_cause_an_internal_error() -> Result<()> {
    let mut attack = Attack::start(Shape::Standalone).await?;
    let long = "x".repeat(10_000);
    for endpoint in attack.served(|endpoint| !endpoint.names().is_empty()).await? {
        let place = attack.place().await?;
        for name in endpoint.names() {
            for text in TEXTS.into_iter().chain([&*long]) {
                let path = attack.path(&endpoint, &place, Some((name, text)));
                let body = attack.body();
                attack.send(&endpoint, &path, &body).await?;
            }
        }
    }
    attack.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_parameters_never_cause_an_internal_error() -> Result<()> {
    let mut attack = Attack::start(Shape::Standalone).await?;
    let place = attack.place().await?;
    for endpoint in attack.served(|endpoint| endpoint.method == Method::GET).await? {
        let path = attack.path(&endpoint, &place, None);
        for name in PARAMETERS {
            for text in ["\0", "-1", "!"] {
                let path = format!("{path}?timeout=0&{name}={}", escape(text));
                attack.send(&endpoint, &path, &Value::Null).await?;
            }
        }
    }
    attack.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_never_cause_an_internal_error() -> Result<()> {
    let mut attack = Attack::start(Shape::Standalone).await?;
    for endpoint in attack.served(|endpoint| endpoint.method != Method::GET).await? {
        let place = attack.place().await?;
        let path = attack.path(&endpoint, &place, None);
        for field in FIELDS {
            for value in [json!("\0"), json!({ "\0": ["\0"] })] {
                let mut body = attack.body();
                body[field] = value;
                attack.send(&endpoint, &path, &body).await?;
            }
        }
    }
    attack.end().await
}

/// Events whose contents mean something to the server.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_contents_never_cause_an_internal_error() -> Result<()> {
    let mut attack = Attack::start(Shape::Standalone).await?;
    let room = escape(&attack.alice.create_room(&json!({})).await?);
    let put = Endpoint { method: Method::PUT, path: "" };
    let mut transaction = 0;
    for text in TEXTS {
        let relation =
            json!({ "rel_type": text, "event_id": format!("${text}"), "key": text, "is_falling_back": text });
        let thread =
            json!({ "rel_type": "m.thread", "event_id": text, "m.in_reply_to": { "event_id": text } });
        let edit = json!({ "rel_type": "m.replace", "event_id": text });
        let mentions = json!({ "user_ids": [text], "room": text });
        for content in [
            json!({ "m.relates_to": relation }),
            json!({ "m.relates_to": thread }),
            json!({ "m.relates_to": edit, "m.new_content": { "body": text } }),
            json!({ "m.mentions": mentions, "body": text, "msgtype": text }),
            json!({ text: text }),
            json!({ "redacts": format!("${text}") }),
        ] {
            for kind in ["m.room.message", "m.reaction", "m.room.redaction", text] {
                transaction += 1;
                let kind = escape(kind);
                let path = format!("/_matrix/client/v3/rooms/{room}/send/{kind}/{transaction}");
                attack.send(&put, &path, &content).await?;
            }
        }
        for (kind, content) in [
            ("m.room.name", json!({ "name": text })),
            ("m.room.topic", json!({ "topic": text, "m.topic": { "m.text": [{ "body": text }] } })),
            ("m.room.avatar", json!({ "url": text })),
            ("m.room.canonical_alias", json!({ "alias": text, "alt_aliases": [text] })),
            ("m.room.join_rules", json!({ "join_rule": text, "allow": [{ "type": text, "room_id": text }] })),
            ("m.room.history_visibility", json!({ "history_visibility": text })),
            ("m.room.guest_access", json!({ "guest_access": text })),
            ("m.room.server_acl", json!({ "allow": [text], "deny": [text], "allow_ip_literals": text })),
            ("m.room.encryption", json!({ "algorithm": text })),
            ("m.room.tombstone", json!({ "body": text, "replacement_room": text })),
            ("m.room.third_party_invite", json!({ "display_name": text, "public_key": text })),
            ("m.space.child", json!({ "via": [text], "order": text })),
            ("m.room.power_levels", json!({ "users": { text: 0 }, "events": { text: 0 } })),
            ("m.room.member", json!({ "membership": text, "displayname": text, "avatar_url": text })),
        ] {
            let alice = escape(&attack.alice.id);
            for key in ["", &*escape(text), &*alice] {
                let path = format!("/_matrix/client/v3/rooms/{room}/state/{kind}/{key}");
                attack.send(&put, &path, &content).await?;
            }
        }
        for kind in ["m.push_rules", "m.ignored_user_list", "m.direct", "m.tag", "m.fully_read", text] {
            let content = json!({ "ignored_users": { text: {} }, text: [text], "tags": { text: {} }, "event_id": text });
            let (alice, kind) = (escape(&attack.alice.id), escape(kind));
            for path in [format!("account_data/{kind}"), format!("rooms/{room}/account_data/{kind}")] {
                attack.send(&put, &format!("/_matrix/client/v3/user/{alice}/{path}"), &content).await?;
            }
        }
    }
    for text in TEXTS {
        let state =
            |kind: &str, key: &str| json!({ "type": kind, "state_key": key, "content": { text: text } });
        let post = Endpoint { method: Method::POST, path: "" };
        for body in [
            json!({ "initial_state": [state(text, "")] }),
            json!({ "initial_state": [state("m.x", text)] }),
            json!({ "creation_content": { "type": text, text: text, "predecessor": { "room_id": text } } }),
            json!({ "power_level_content_override": { "events": { text: 0 } } }),
            json!({ "name": text, "topic": text, "room_alias_name": text }),
            json!({ "invite": [text] }),
        ] {
            attack.send(&post, "/_matrix/client/v3/createRoom", &body).await?;
        }
    }
    // Whoever reads the room finds it as it is.
    for path in ["messages?dir=b&limit=1000", "state", "members", "initialSync"] {
        let answer = attack.alice.call(Method::GET, &format!("/rooms/{room}/{path}"), None).await?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
    }
    attack.answers += 500;
    attack.end().await
}
