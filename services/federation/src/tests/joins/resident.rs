//! A server with a room.

use axum::{
    body::Bytes,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use plexus_events::{Built, Draft, Object, RoomRules};
use plexus_service::{Shutdown, config::Listener, http};
use ruma::{OwnedEventId, RoomId, UserId};

use super::super::*;

/// What a server answers to a join, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// An error, after it has taken the join.
    Error(u16),
    NoCreateEvent,
    ForgedPowerLevels,
    ForgedName,
    TwoOfAKind,
    Omits,
    AnotherJoin,
    Junk,
}

#[derive(Default)]
struct Facts {
    says: Vec<Says>,
    joins: Vec<String>,
    joined: Value,
    leaves: usize,
    is_away: bool,
}

#[derive(Clone)]
pub(super) struct Resident {
    pub(super) name: String,
    pub(super) room_id: String,
    key: SigningKey,
    events: Arc<Vec<(OwnedEventId, Value)>>,
    facts: Arc<Mutex<Facts>>,
    _running: Shutdown,
}

impl Resident {
    pub(super) async fn start() -> Self {
        let servers = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/servers");
        let listener: Listener = serde_json::from_value(json!({
            "address": "127.0.0.1:0",
            "tls_certificate": format!("{servers}/peer.pem"), "tls_key": format!("{servers}/peer.key"),
        }))
        .unwrap();
        let cell: Arc<Mutex<Option<Self>>> = Arc::default();
        let shutdown = Shutdown::new();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&cell));
        let address = http::serve("resident", &listener, router, &shutdown).await.unwrap();
        let name = address.to_string();
        let key = key("r", 5);
        let resident = Self {
            room_id: format!("!room:{name}"),
            events: Arc::new(room(&name, &key)),
            facts: Arc::default(),
            key,
            name,
            _running: shutdown,
        };
        *cell.lock() = Some(resident.clone());
        resident
    }

    /// What it answers to the next joins.
    pub(super) fn says<const N: usize>(&self, says: [Says; N]) {
        self.facts.lock().says = says.into_iter().rev().collect();
    }

    pub(super) fn is_away(&self, is_away: bool) {
        self.facts.lock().is_away = is_away;
    }

    /// IDs of the joins that came, in order.
    pub(super) fn joins(&self) -> Vec<String> {
        self.facts.lock().joins.clone()
    }

    pub(super) fn joined(&self) -> Value {
        self.facts.lock().joined.clone()
    }

    pub(super) fn leaves(&self) -> usize {
        self.facts.lock().leaves
    }

    fn template(&self, membership: &str, user: &str) -> Value {
        let ids: Vec<&OwnedEventId> = self.events.iter().map(|(id, _)| id).collect();
        json!({
            "room_version": "11",
            "event": {
                "type": "m.room.member", "room_id": self.room_id, "sender": user, "state_key": user,
                "content": { "membership": membership }, "prev_events": [ids[4]],
                "auth_events": [ids[0], ids[2], ids[3]], "depth": 6, "origin_server_ts": 1,
            },
        })
    }

    fn take_join(&self, id: &str, body: &[u8]) -> Response {
        let event: Value = serde_json::from_slice(body).unwrap();
        let says = {
            let mut facts = self.facts.lock();
            facts.joins.push(id.to_owned());
            facts.joined = event.clone();
            facts.says.pop()
        };
        let mut state: Vec<Value> = self.events.iter().map(|(_, event)| event.clone()).collect();
        let mut told = json!({ "auth_chain": state[..4], "event": event });
        match says {
            Some(Says::Error(status)) => {
                let status = StatusCode::from_u16(status).unwrap();
                return (status, json!({ "errcode": "M_FORBIDDEN", "error": "no" }).to_string())
                    .into_response();
            }
            Some(Says::NoCreateEvent) => {
                state.remove(0);
                told["auth_chain"] = json!([]);
            }
            Some(Says::ForgedPowerLevels) => {
                state[2]["content"]["users"]["@x:y"] = 100.into();
                told["auth_chain"] = json!(state[..2]);
            }
            Some(Says::ForgedName) => state[4]["signatures"] = json!({ &self.name: { "ed25519:r": "AAAA" } }),
            Some(Says::TwoOfAKind) => {
                let again =
                    event_of(&self.name, &self.key, "m.room.name", "", json!({ "name": "B" }), &self.events);
                state.push(again.1);
            }
            Some(Says::Omits) => told["members_omitted"] = true.into(),
            Some(Says::AnotherJoin) => {
                told["event"] =
                    event_of(&self.name, &self.key, "m.room.topic", "", json!({}), &self.events).1;
            }
            Some(Says::Junk) => return "[]".into_response(),
            None => {}
        }
        told["state"] = Value::Array(state);
        told.to_string().into_response()
    }
}

async fn answer(State(resident): State<Arc<Mutex<Option<Resident>>>>, request: Request) -> Response {
    let Some(resident) = resident.lock().clone() else { return StatusCode::NOT_FOUND.into_response() };
    let path =
        request.uri().path().replace("%21", "!").replace("%3A", ":").replace("%40", "@").replace("%24", "$");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let parts: Vec<&str> = path.split('/').collect();
    let is_away = resident.facts.lock().is_away;
    match *parts.as_slice() {
        ["", "_matrix", "key", ..] => {
            let name: &ServerName = resident.name.as_str().try_into().unwrap();
            response::make(name, std::slice::from_ref(&resident.key), &[], now_ms() + HOUR).into_response()
        }
        _ if is_away => StatusCode::BAD_GATEWAY.into_response(),
        ["", "_matrix", "federation", "v1", "make_join", _, user] => {
            resident.template("join", user).to_string().into_response()
        }
        ["", "_matrix", "federation", "v1", "make_leave", _, user] => {
            resident.template("leave", user).to_string().into_response()
        }
        ["", "_matrix", "federation", "v2", "send_join", _, id] => resident.take_join(id, &body),
        ["", "_matrix", "federation", "v2", "send_leave", _, _] => {
            resident.facts.lock().leaves += 1;
            "{}".into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The events of a room: create event, its creator, power levels, join rules, name.
fn room(name: &str, key: &SigningKey) -> Vec<(OwnedEventId, Value)> {
    let creator = format!("@creator:{name}");
    let mut events = Vec::new();
    for (kind, state_key, content) in [
        ("m.room.create", "", json!({ "room_version": "11" })),
        ("m.room.member", creator.as_str(), json!({ "membership": "join" })),
        ("m.room.power_levels", "", json!({ "users": { &creator: 100 } })),
        ("m.room.join_rules", "", json!({ "join_rule": "public" })),
        ("m.room.name", "", json!({ "name": "A" })),
    ] {
        let event = event_of(name, key, kind, state_key, content, &events);
        events.push(event);
    }
    events
}

fn event_of(
    name: &str,
    key: &SigningKey,
    kind: &str,
    state_key: &str,
    content: Value,
    before: &[(OwnedEventId, Value)],
) -> (OwnedEventId, Value) {
    let room_id = format!("!room:{name}");
    let creator = format!("@creator:{name}");
    let last: Vec<OwnedEventId> = before.last().map(|(id, _)| id.clone()).into_iter().collect();
    let auth: Vec<OwnedEventId> = before.iter().take(3).map(|(id, _)| id.clone()).collect();
    let content: Object = plexus_events::canonical::parse_object(content.to_string().as_bytes()).unwrap();
    let draft = Draft {
        room_id: Some(<&RoomId>::try_from(room_id.as_str()).unwrap()),
        sender: <&UserId>::try_from(creator.as_str()).unwrap(),
        event_type: kind,
        state_key: Some(state_key),
        content,
        redacts: None,
        prev_events: &last,
        auth_events: &auth,
        depth: i64::try_from(before.len()).unwrap() + 1,
        origin_server_ts: now_ms(),
    };
    let server: &ServerName = name.try_into().unwrap();
    let Built { event_id, json, .. } =
        draft.hash(RoomRules::of("11").unwrap()).unwrap().sign(server, key).unwrap();
    (event_id, serde_json::from_slice(&Bytes::from(json)).unwrap())
}
