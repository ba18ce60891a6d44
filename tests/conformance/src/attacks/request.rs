//! A request of an attack: from an endpoint to bytes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{bodies, dice::Dice, mutation, scene::Scene, values};
use crate::{specification::Endpoint, wire::encoded};

/// How long an answer may take. No request asks to wait for longer than a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of a request that a server may refuse before it has read them.
const LARGE: usize = 60_000;
/// Most bytes of an answer that are looked at.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Names in queries, of all endpoints.
const QUERY: &[&str] = &[
    "from",
    "to",
    "dir",
    "limit",
    "filter",
    "since",
    "at",
    "membership",
    "not_membership",
    "full_state",
    "set_presence",
    "event_id",
    "room_id",
    "server_name",
    "via",
    "kind",
    "username",
    "token",
    "format",
    "ts",
    "recurse",
    "include",
    "archived",
    "max_depth",
    "suggested_only",
    "only",
    "before",
    "after",
    "user_id",
    "use_state_after",
    "access_token",
    "reason",
    "include_all_networks",
    "third_party_instance_id",
];

/// A request, ready to be sent.
#[derive(Debug)]
pub(super) struct Attack {
    /// All of it.
    bytes: Vec<u8>,
    /// Whether the rest of the body never comes.
    unfinished: bool,
    /// Whether it is HTTP at all.
    malformed: bool,
    /// Whether it is made with the attacker's token.
    pub(super) is_authorized: bool,
    /// Whether it may lead to another server, which is not there.
    pub(super) leads_elsewhere: bool,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An answer with this status.
    Answered(u16),
    /// The connection was closed without an answer.
    Closed,
    /// Nothing, in time.
    Hung,
}

impl Attack {
    /// Makes the request with this endpoint and these dice.
    pub(super) fn make(endpoint: &Endpoint, scene: &Scene, dice: &mut Dice) -> Self {
        let mut target = path(endpoint.path, scene, dice);
        target.push_str(&query(endpoint.path, dice));
        let method = if dice.once_in(50) {
            dice.pick(&["GET", "PUT", "POST", "DELETE", "PATCH", "X"])
        } else {
            endpoint.method
        };
        let body = match endpoint.method {
            "GET" if !dice.once_in(20) => Vec::new(),
            _ => {
                let mut body = bodies::body(endpoint.operation, scene, dice);
                if !dice.once_in(10) {
                    mutation::mutate(dice, &mut body);
                }
                mutation::text(dice, &body)
            }
        };
        let unfinished = !body.is_empty() && dice.once_in(60);
        let malformed = dice.once_in(60);
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nHost: plexus.test\r\nConnection: close\r\n").into_bytes();
        let token = token(scene, dice);
        if let Some(token) = &token {
            head.extend(format!("Authorization: Bearer {token}\r\n").bytes());
        }
        head.extend(format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()).bytes());
        if malformed {
            head.extend_from_slice(dice.pick(MALFORMED));
        }
        head.extend_from_slice(b"\r\n");
        let sent = if unfinished { dice.roll(body.len()) } else { body.len() };
        let leads_elsewhere = endpoint.path.contains("{serverName}")
            || target.contains("elsewhere")
            || target.contains("server_name=")
            || target.contains("via=")
            || target.contains("server=");
        let mut bytes = head;
        bytes.extend_from_slice(&body[..sent]);
        Self {
            bytes,
            unfinished,
            malformed,
            is_authorized: token.as_ref() == Some(&scene.token),
            leads_elsewhere,
        }
    }

    /// The request, as far as it can be shown.
    pub(super) fn shown(&self) -> String {
        let text: String = self
            .bytes
            .iter()
            .take(3_000)
            .flat_map(|byte| std::ascii::escape_default(*byte))
            .map(char::from)
            .collect();
        text.replace("\\r\\n", "\n")
    }

    /// Whether an answer is due: not to what is no HTTP, nor to half a request whose connection goes away. That to a body
    /// that is too large may be lost, if the server closes the connection before it has read all of it.
    pub(super) fn deserves_an_answer(&self) -> bool {
        !self.unfinished && !self.malformed && self.bytes.len() < LARGE
    }

    /// Sends it on a connection of its own.
    pub(super) async fn send(&self, address: &str) -> Result<Outcome> {
        let mut stream =
            TcpStream::connect(address).await.with_context(|| format!("{address} does not listen"))?;
        let answer = async {
            // A server may answer before it has read everything, and close.
            let written = stream.write_all(&self.bytes).await;
            // What is not whole, or may not be, ends here; silence is what `holding` is about.
            if written.is_ok() && (self.unfinished || self.malformed) {
                drop(stream.shutdown().await);
            }
            let mut answer = Vec::new();
            let mut chunk = vec![0; 64 * 1024];
            while answer.len() < MAX_ANSWER {
                match stream.read(&mut chunk).await {
                    Ok(0) | Err(_) => break,
                    Ok(length) if answer.len() < 64 => answer.extend_from_slice(&chunk[..length.min(64)]),
                    Ok(_) => {}
                }
            }
            answer
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => Ok(status(&answer).map_or(Outcome::Closed, Outcome::Answered)),
            Err(_) => Ok(Outcome::Hung),
        }
    }
}

/// Header fields that a server need not take.
const MALFORMED: &[&[u8]] = &[
    b"X: a\0b\r\n",
    b"X: \xff\r\n",
    b"Content-Length: 7\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b": nameless\r\n",
    b"X Y: z\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
    b"Content-Encoding: gzip\r\n",
];

/// Whose token comes along: mostly the attacker's.
fn token(scene: &Scene, dice: &mut Dice) -> Option<String> {
    match dice.roll(40) {
        0 => None,
        1 => Some(values::short_text(dice).replace(['\r', '\n', '\0'], "")),
        _ => Some(scene.token.clone()),
    }
}

/// A path with its names filled in: mostly by what there is.
fn path(template: &str, scene: &Scene, dice: &mut Dice) -> String {
    let parts = template.split('/').map(|part| {
        let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
            return part.to_owned();
        };
        if dice.once_in(8) {
            return match dice.roll(10) {
                0 => "%FF%FE".to_owned(),
                1 => String::new(),
                _ => encoded(&values::short_text(dice)),
            };
        }
        encoded(&named(name, scene, dice))
    });
    parts.collect::<Vec<_>>().join("/")
}

/// What a name in a path stands for.
fn named(name: &str, scene: &Scene, dice: &mut Dice) -> String {
    match name {
        "roomId" | "roomIdOrAlias" => scene.room.clone(),
        "userId" if dice.once_in(4) => scene.victim_id.clone(),
        "userId" => scene.user_id.clone(),
        "eventId" => scene.event.clone(),
        "deviceId" => scene.device.clone(),
        "eventType" => bodies::event_type(dice).to_owned(),
        "stateKey" => match dice.roll(4) {
            0 => scene.user_id.clone(),
            1 => scene.victim_id.clone(),
            2 => values::short_text(dice),
            _ => String::new(),
        },
        "txnId" => format!("t{}", dice.roll(1_000_000)),
        "receiptType" => dice.pick(&["m.read", "m.read.private", "m.fully_read"]).to_owned(),
        "relType" => dice.pick(&["m.thread", "m.replace", "m.reference"]).to_owned(),
        "kind" => dice.pick(&["override", "underride", "content", "room", "sender"]).to_owned(),
        "ruleId" => dice.pick(&[".m.rule.master", "mine", "keyword"]).to_owned(),
        "roomAlias" => format!("#a{}:plexus.test", dice.roll(1_000)),
        "keyName" => dice.pick(&["displayname", "avatar_url", "org.example.x", "m.tz"]).to_owned(),
        "type" => {
            dice.pick(&["m.direct", "m.ignored_user_list", "m.push_rules", "m.tag", "org.x"]).to_owned()
        }
        "tag" => "u.tag".to_owned(),
        "serverName" => {
            dice.pick(&["plexus.test", "elsewhere.test", "127.0.0.1:8448", "null", "0"]).to_owned()
        }
        _ => values::short_text(dice),
    }
}

/// A query; one that never asks to wait.
fn query(path: &str, dice: &mut Dice) -> String {
    let mut query = String::from("?");
    for _ in 0..dice.roll(4) {
        let name = dice.pick(QUERY);
        let value = match dice.roll(4) {
            0 => dice.roll(50).to_string(),
            1 => {
                (dice.pick(&["b", "f", "true", "join", "client", "{\"room\":{\"timeline\":{\"limit\":0}}}"]))
                    .to_owned()
            }
            _ => values::short_text(dice),
        };
        query.push_str(&format!("{name}={}&", encoded(&value)));
    }
    if path.ends_with("/sync") || path.ends_with("/events") {
        query.push_str("timeout=0");
    }
    query
}

/// The status in the first line of an answer, if it is one.
fn status(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    let status = text.split(' ').nth(1).filter(|_| text.starts_with("HTTP/1."));
    status.and_then(|status| status.parse().ok())
}
