//! The service over its router, with a store of keys that a test fills.

mod authentication;
mod graph;
mod joins;
mod keys;
mod transactions;

use std::sync::Arc;

use ::http::{Method, Request, StatusCode};
use axum::{Router, body::Body};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use plexus_events::SigningKey;
use plexus_input::Connect;
use plexus_log::{
    Log,
    memory::{self, MemoryConfig},
};
use plexus_matrix_http::{Authenticator, Edge};
use plexus_proto::room::v1::{
    GetServerKeysRequest, GetServerKeysResponse, PutServerKeysRequest, PutServerKeysResponse, ServerKey,
    ServerKeys,
    key_store_service_server::{KeyStoreService, KeyStoreServiceServer},
};
use plexus_s2s::{authorization::Signed, keys::response, now_ms};
use plexus_service::{Config, RpcChannel};
use ruma::ServerName;
use serde_json::{Value, json};
use tonic::{
    Response, Status,
    service::{Routes, RoutesBuilder},
};
use tower::ServiceExt as _;

use crate::{Deps, Federation};

const HOUR: i64 = 60 * 60 * 1000;

/// Keeps keys in memory.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Vec<ServerKeys>>>);

#[tonic::async_trait]
impl KeyStoreService for Store {
    async fn get_server_keys(
        &self,
        request: tonic::Request<GetServerKeysRequest>,
    ) -> Result<Response<GetServerKeysResponse>, Status> {
        let names = request.into_inner().server_names;
        let kept = self.0.lock();
        let servers = kept.iter().filter(|keys| names.contains(&keys.server_name)).cloned().collect();
        Ok(Response::new(GetServerKeysResponse { servers }))
    }

    async fn put_server_keys(
        &self,
        request: tonic::Request<PutServerKeysRequest>,
    ) -> Result<Response<PutServerKeysResponse>, Status> {
        self.0.lock().extend(request.into_inner().servers);
        Ok(Response::new(PutServerKeysResponse::default()))
    }
}

/// A service of `us.test`, and the keys of others that it knows.
struct Fixture {
    router: Router,
    federation: Federation,
    log: Log,
    store: Store,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new(federation: &Value) -> Self {
        Self::with(federation, |_| {})
    }

    /// With more services of the room server.
    fn with(federation: &Value, add: impl FnOnce(&mut RoutesBuilder)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = rcgen::generate_simple_self_signed(["nobody.test".to_owned()]).unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.cert.pem()).unwrap();
        let config: Config = serde_json::from_value(json!({
            "server": { "name": "us.test", "signing_key": folder.path().join("signing.key") },
            // No name is ever resolved: nobody answers there.
            "outbound": { "ca_files": [folder.path().join("ca.pem")], "dns_servers": ["127.0.0.1:9"] },
            "federation": federation,
        }))
        .unwrap();
        let store = Store::default();
        let mut routes = Routes::builder();
        routes.add_service(KeyStoreServiceServer::new(store.clone()));
        add(&mut routes);
        let rooms = RpcChannel::in_process(routes.routes());
        let edge = Edge::new(&config, Authenticator::new(rooms.clone()));
        let media = rooms.clone();
        let log = memory::open(MemoryConfig::default());
        let deps = Deps {
            config: Arc::new(config),
            log: log.clone(),
            rooms,
            connect: Connect::InProcess,
            edge,
            media,
        };
        let federation = Federation::new(deps).unwrap();
        Self { router: federation.router(), federation, log, store, _folder: folder }
    }

    /// Makes a server known by a key, valid up to a time from now.
    fn know(&self, server: &str, key: &SigningKey, valid_for: i64, expired_ts: Option<i64>) {
        let valid_until_ts = now_ms() + valid_for;
        let name: &ServerName = server.try_into().unwrap();
        let response = response::make(name, std::slice::from_ref(key), &[], valid_until_ts);
        let key = ServerKey {
            key_id: key.key_id().to_owned(),
            public_key: key.public_key().to_vec().into(),
            valid_until_ts,
            expired_ts,
            fetched_ts: now_ms(),
            direct: true,
        };
        self.store.0.lock().push(ServerKeys {
            server_name: server.to_owned(),
            keys: vec![key],
            response,
            valid_until_ts,
            fetched_ts: now_ms(),
        });
    }

    async fn ask(&self, request: Request<Body>) -> (StatusCode, Value, Vec<u8>) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        assert!(!response.headers().contains_key("access-control-allow-origin"));
        let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
        (status, serde_json::from_slice(&body).unwrap_or_default(), body)
    }

    async fn get(&self, path: &str) -> (StatusCode, Value, Vec<u8>) {
        self.ask(Request::builder().uri(path).body(Body::empty()).unwrap()).await
    }
}

/// What a test asks, signed as a server would, and what it changes of it.
#[derive(Clone)]
struct Ask<'a> {
    method: Method,
    uri: &'a str,
    body: &'a str,
    origin: &'a str,
    destination: &'a str,
    key: &'a SigningKey,
}

impl Ask<'_> {
    fn header(&self) -> String {
        let signed = Signed {
            method: self.method.as_str(),
            uri: self.uri,
            origin: self.origin.try_into().unwrap(),
            destination: self.destination.try_into().unwrap(),
            content: (!self.body.is_empty()).then_some(self.body.as_bytes()),
        };
        signed.sign(self.key).unwrap().to_str().unwrap().to_owned()
    }

    fn with(&self, headers: &[&str]) -> Request<Body> {
        let mut request = Request::builder().method(self.method.clone()).uri(self.uri);
        for header in headers {
            request = request.header("authorization", *header);
        }
        request.body(Body::from(self.body.to_owned())).unwrap()
    }

    fn signed(&self) -> Request<Body> {
        self.with(&[&self.header()])
    }
}

fn key(version: &str, byte: u8) -> SigningKey {
    SigningKey::from_seed(version, &[byte; 32]).unwrap()
}

#[tokio::test]
async fn what_is_not_served_is_said_to_be_unknown() {
    let fixture = Fixture::new(&json!({}));
    for (method, path, status) in [
        ("GET", "/_matrix/federation/v1/version", StatusCode::OK),
        ("PUT", "/_matrix/federation/v1/version", StatusCode::METHOD_NOT_ALLOWED),
        ("PUT", "/_matrix/key/v2/query", StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "/_matrix/key/v2/server", StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "/_matrix/federation/v1/event/$a", StatusCode::METHOD_NOT_ALLOWED),
        ("GET", "/_matrix/federation/unknown", StatusCode::NOT_FOUND),
        ("GET", "/_matrix/federation/v1/query/unknown", StatusCode::NOT_FOUND),
        ("GET", "/_matrix/key/unknown", StatusCode::NOT_FOUND),
        ("GET", "/_matrix/key/v1/server", StatusCode::NOT_FOUND),
        ("GET", "/", StatusCode::NOT_FOUND),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let (answered, body, _) = fixture.ask(request).await;
        assert_eq!(answered, status, "{method} {path}");
        let errcode = (status != StatusCode::OK).then_some("M_UNRECOGNIZED");
        assert_eq!(body["errcode"].as_str(), errcode, "{method} {path}");
    }
}

#[tokio::test]
async fn delegation_is_told_if_there_is_one() {
    let (status, body, _) = Fixture::new(&json!({})).get("/.well-known/matrix/server").await;
    assert_eq!((status, body["errcode"].as_str()), (StatusCode::NOT_FOUND, Some("M_NOT_FOUND")));
    let fixture = Fixture::new(&json!({ "well_known": "matrix.us.test:443" }));
    let (status, body, _) = fixture.get("/.well-known/matrix/server").await;
    assert_eq!((status, body), (StatusCode::OK, json!({ "m.server": "matrix.us.test:443" })));
}

#[test]
fn what_is_configured_as_denied_is_what_is_denied() {
    assert_eq!(plexus_service::config::DENIED, plexus_outbound::DEFAULT_DENIED);
}
