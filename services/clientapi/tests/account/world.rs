//! A server with users, and clients of it.

mod input;
mod queries;
mod users;

use std::sync::{Arc, Mutex};

use axum::{Router, body::Body};
use http::{Request, StatusCode, header};
use plexus_clientapi::{App, AppDeps, Connect};
use plexus_log::{Log, memory};
use plexus_matrix_http::{Authenticator, Edge};
use plexus_proto::{
    input::v1::input_service_server::InputServiceServer,
    room::v1::room_query_service_server::RoomQueryServiceServer,
    user::v1::{
        credential_service_server::CredentialServiceServer, user_query_service_server::UserQueryServiceServer,
    },
};
use plexus_service::{Config, RpcChannel};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) use users::Users;

/// A server.
pub(crate) struct World {
    router: Router,
    pub(crate) users: Arc<Mutex<Users>>,
}

/// An answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }

    #[track_caller]
    pub(crate) fn refused(self, status: u16, errcode: &str) -> Value {
        assert_eq!(
            (self.status.as_u16(), self.body["errcode"].as_str()),
            (status, Some(errcode)),
            "{}",
            self.body
        );
        self.body
    }
}

impl World {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config: Config = serde_json::from_value(json!({
            "server": { "name": "test" },
            "registration": { "open": true, "shared_secret": "secret" },
            "auth": { "argon2_memory_kib": 64, "argon2_iterations": 1 },
            "rate_limits": { "enabled": false },
        }))
        .expect("the configuration holds");
        change(&mut config);
        let log = memory::open(memory::MemoryConfig::default());
        let users = Arc::new(Mutex::new(Users::default()));
        let channel = channel(&log, &users);
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
        .expect("the app starts");
        Self { router: plexus_clientapi::router(app), users }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("routers do not fail");
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("the body is whole");
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).expect("every answer is JSON")
        };
        Answer { status, body }
    }

    /// Sends a request; `token` may be empty, `Value::Null` is no body.
    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/_matrix/client/v3{path}"));
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(request.body(body).expect("the request is well-formed")).await
    }

    /// Registers a user with the password `pw`, and returns the access token.
    pub(crate) async fn register(&self, name: &str) -> String {
        let body = json!({ "username": name, "password": "pw", "auth": { "type": "m.login.dummy" } });
        let answer = self.call("POST", "/register", "", body).await.ok();
        answer["access_token"].as_str().expect("there is a token").to_owned()
    }
}

/// `auth` that proves the password of a user.
pub(crate) fn password_auth(name: &str, password: &str) -> Value {
    json!({
        "type": "m.login.password", "password": password, "identifier": { "type": "m.id.user", "user": name },
    })
}

fn channel(log: &Log, users: &Arc<Mutex<Users>>) -> RpcChannel {
    let mut routes = tonic::service::Routes::builder();
    routes
        .add_service(InputServiceServer::new(input::Input { log: log.clone(), users: Arc::clone(users) }))
        .add_service(UserQueryServiceServer::new(queries::Queries { users: Arc::clone(users) }))
        .add_service(CredentialServiceServer::new(queries::Queries { users: Arc::clone(users) }))
        .add_service(RoomQueryServiceServer::new(queries::Queries { users: Arc::clone(users) }));
    RpcChannel::in_process(routes.routes())
}
