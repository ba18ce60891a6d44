//! A room server that knows what a test tells it.

mod directory;
mod history;
mod input;
mod queries;
mod summaries;
mod users;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body};
use http::{Method, Request, StatusCode};
use plexus_clientapi::{App, AppDeps};
use plexus_input::Connect;
use plexus_log::{Log, memory};
use plexus_matrix_http::{Authenticator, Edge};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Accepted, Rejected, input_service_server::InputServiceServer, verdict::Outcome},
    log::v1::{AtomicBatch, ClientTransaction, InputRoomEvent, Intent, RoomControl, input_room_event},
    room::v1::{
        Aggregations, ListPublicRoomsRequest, ListRelationsRequest, ListThreadsRequest, ListTimelineRequest,
        ListTimelineResponse, RoomEvent, RoomSummary, WalkSpaceRequest,
        room_directory_service_server::RoomDirectoryServiceServer,
        room_history_service_server::RoomHistoryServiceServer,
        room_query_service_server::RoomQueryServiceServer,
        room_summary_service_server::RoomSummaryServiceServer,
    },
    user::v1::user_query_service_server::UserQueryServiceServer,
};
use plexus_service::{
    Config, RpcChannel,
    config::{RateLimit, RateLimitsConfig},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// A room that is there.
pub(crate) const ROOM: &str = "!room:example.org";

/// What the fakes know, and what they were asked.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) rooms: HashSet<String>,
    pub(crate) published: HashSet<String>,
    /// By room.
    pub(crate) versions: HashMap<String, String>,
    /// By room and user.
    pub(crate) members: HashMap<(String, String), String>,
    /// By user: fields of the profile.
    pub(crate) profiles: HashMap<String, Value>,
    /// By room, type and state key.
    pub(crate) state: HashMap<(String, String, String), RoomEvent>,
    pub(crate) events: HashMap<String, RoomEvent>,
    pub(crate) aliases: HashMap<String, String>,
    pub(crate) timeline: ListTimelineResponse,
    pub(crate) timeline_requests: Vec<ListTimelineRequest>,
    /// By event ID.
    pub(crate) aggregations: HashMap<String, Aggregations>,
    /// Events that relate to others, and thread roots.
    pub(crate) related: Vec<RoomEvent>,
    pub(crate) relation_requests: Vec<ListRelationsRequest>,
    pub(crate) thread_requests: Vec<ListThreadsRequest>,
    /// What the directory and spaces tell.
    pub(crate) summaries: Vec<RoomSummary>,
    pub(crate) space_requests: Vec<WalkSpaceRequest>,
    pub(crate) directory_requests: Vec<ListPublicRoomsRequest>,
    /// By user: account data that is no list of ignored users.
    pub(crate) no_invites: HashSet<String>,
    /// By user: whom they ignore.
    pub(crate) ignored: HashMap<String, Vec<String>>,
    /// Verdicts in order; once there are none, every input is accepted.
    pub(crate) verdicts: Vec<Outcome>,
    /// Transactions that were accepted.
    pub(crate) transactions: Vec<(ClientTransaction, Accepted)>,
    /// What was written to the log.
    pub(crate) inputs: Vec<InputRoomEvent>,
}

/// The fakes: one for all services.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) known: Arc<Mutex<Known>>,
    log: Log,
}

/// The service under test, and what its fakes know.
pub(crate) struct World {
    router: Router,
    pub(crate) known: Arc<Mutex<Known>>,
}

impl World {
    pub(crate) fn start() -> Self {
        Self::with_limits(RateLimitsConfig { enabled: false, ..RateLimitsConfig::default() })
    }

    pub(crate) fn with_few_messages() -> Self {
        let message = RateLimit { per_second: 0.01, burst: 1 };
        Self::with_limits(RateLimitsConfig { message, ..RateLimitsConfig::default() })
    }

    pub(crate) fn with_limits(limits: RateLimitsConfig) -> Self {
        let log = memory::open(memory::MemoryConfig::default());
        let fake = Fake { known: Arc::default(), log: log.clone() };
        let routes = tonic::service::Routes::new(UserQueryServiceServer::new(fake.clone()))
            .add_service(RoomQueryServiceServer::new(fake.clone()))
            .add_service(RoomDirectoryServiceServer::new(fake.clone()))
            .add_service(RoomHistoryServiceServer::new(fake.clone()))
            .add_service(RoomSummaryServiceServer::new(fake.clone()))
            .add_service(InputServiceServer::new(fake.clone()));
        let channel = RpcChannel::in_process(routes);
        let config = config(limits);
        let edge = Edge::new(&config, Authenticator::new(channel.clone()));
        let app = App::new(AppDeps {
            config: Arc::new(config),
            log,
            edge,
            rooms: channel.clone(),
            users: channel,
            federation: None,
            connect: Connect::InProcess,
        })
        .unwrap();
        Self { router: plexus_clientapi::router(app), known: fake.known }
    }

    /// A world with [`ROOM`], in which these users have these memberships.
    pub(crate) fn with_room(members: &[(&str, &str)]) -> Self {
        let world = Self::start();
        world.add_room(ROOM, members);
        world
    }

    pub(crate) fn add_room(&self, room_id: &str, members: &[(&str, &str)]) {
        let mut known = self.known.lock().unwrap();
        known.rooms.insert(room_id.to_owned());
        for (user, membership) in members {
            known.members.insert((room_id.to_owned(), user_id(user)), (*membership).to_owned());
        }
    }

    pub(crate) fn add_state(&self, room_id: &str, event_type: &str, state_key: &str, content: Value) {
        let event = event(room_id, event_type, Some(state_key), content, 1);
        let key = (room_id.to_owned(), event_type.to_owned(), state_key.to_owned());
        self.known.lock().unwrap().state.insert(key, event);
    }

    pub(crate) fn set_profile(&self, user: &str, fields: Value) {
        self.known.lock().unwrap().profiles.insert(user_id(user), fields);
    }

    pub(crate) fn refuse_next(&self, reason: ErrorReason) {
        let rejected = Rejected { reason: reason.into(), message: "a rule".to_owned() };
        self.known.lock().unwrap().verdicts.push(Outcome::Rejected(rejected));
    }

    pub(crate) fn accept_next(&self) {
        self.known.lock().unwrap().verdicts.push(accepted());
    }

    /// Sends a request as a user; the access token of `bob` is `bob`.
    pub(crate) async fn call(
        &self,
        user: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.call_raw(user, method, path, body).await
    }

    pub(crate) async fn call_raw(
        &self,
        user: &str,
        method: Method,
        path: &str,
        body: String,
    ) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(if path.starts_with("/_matrix") {
                path.to_owned()
            } else {
                format!("/_matrix/client/v3{path}")
            })
            .header("authorization", format!("Bearer {user}"))
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    pub(crate) async fn post(&self, user: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(user, Method::POST, path, &body).await
    }

    pub(crate) async fn put(&self, user: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(user, Method::PUT, path, &body).await
    }

    pub(crate) async fn get(&self, user: &str, path: &str) -> (StatusCode, Value) {
        self.call(user, Method::GET, path, &Value::Null).await
    }

    /// Takes what was written to the log.
    pub(crate) fn inputs(&self) -> Vec<InputRoomEvent> {
        std::mem::take(&mut self.known.lock().unwrap().inputs)
    }

    /// Takes the only input, which must be an intent.
    pub(crate) fn intent(&self) -> Intent {
        match only(self.inputs()) {
            input_room_event::Body::Intent(intent) => intent,
            other => panic!("not an intent: {other:?}"),
        }
    }

    /// Takes the only input, which must be a new room.
    pub(crate) fn batch(&self) -> AtomicBatch {
        match only(self.inputs()) {
            input_room_event::Body::Batch(batch) => batch,
            other => panic!("not a batch: {other:?}"),
        }
    }

    /// Takes the only input, which must be a control.
    pub(crate) fn control(&self) -> RoomControl {
        match only(self.inputs()) {
            input_room_event::Body::Control(control) => control,
            other => panic!("not a control: {other:?}"),
        }
    }
}

fn only(inputs: Vec<InputRoomEvent>) -> input_room_event::Body {
    assert_eq!(inputs.len(), 1, "{inputs:?}");
    inputs.into_iter().next().unwrap().body.unwrap()
}

fn accepted() -> Outcome {
    Outcome::Accepted(Accepted { event_id: "$new".to_owned(), seq: 1, ..Accepted::default() })
}

pub(crate) fn user_id(user: &str) -> String {
    format!("@{user}:example.org")
}

/// Reads the JSON of the content of an intent.
pub(crate) fn content(intent: &Intent) -> Value {
    serde_json::from_slice(&intent.content).unwrap()
}

/// An event of alice's.
pub(crate) fn event(
    room_id: &str,
    event_type: &str,
    state_key: Option<&str>,
    content: Value,
    seq: u64,
) -> RoomEvent {
    let mut json = json!({
        "type": event_type, "room_id": room_id, "sender": "@alice:example.org", "content": content,
        "origin_server_ts": 1, "depth": 1, "auth_events": [], "prev_events": [], "hashes": {}, "signatures": {},
    });
    if let Some(state_key) = state_key {
        json["state_key"] = Value::from(state_key);
    }
    RoomEvent {
        position: seq.cast_signed(),
        event_id: format!("$event{seq}"),
        json: json.to_string().into_bytes().into(),
        seq,
        room_id: room_id.to_owned(),
        txn_device_id: "ALICE".to_owned(),
        txn_id: "txn".to_owned(),
        ..RoomEvent::default()
    }
}

#[track_caller]
pub(crate) fn assert_error(answer: &(StatusCode, Value), status: u16, errcode: &str) {
    assert_eq!((answer.0.as_u16(), answer.1["errcode"].as_str()), (status, Some(errcode)), "{answer:?}");
}

#[track_caller]
pub(crate) fn assert_ok(answer: &(StatusCode, Value)) {
    assert_eq!(answer.0, StatusCode::OK, "{answer:?}");
}

fn config(rate_limits: RateLimitsConfig) -> Config {
    let config = json!({
        "server": { "name": "example.org" },
        "clientapi": { "max_body_bytes": 4 * 1024 * 1024 },
    });
    Config { rate_limits, ..serde_json::from_value(config).unwrap() }
}
