use axum::body::Body;
use plexus_service::RpcChannel;
use ruma::api::client::{
    alias::get_alias, membership::invite_user, message::get_message_events, session::refresh_token,
};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::{Authenticator, Edge, JsonObject, Matrix, PathArgs, Policy, Routes, get, post};

async fn invite(Matrix(request): Matrix<invite_user::v3::Request>) -> Matrix<get_alias::v3::Response> {
    Matrix(get_alias::v3::Response::new(request.room_id, Vec::new()))
}

async fn messages(Matrix(_): Matrix<get_message_events::v3::Request>) {}

async fn refresh(Matrix(_): Matrix<refresh_token::v3::Request>) {}

async fn echo(PathArgs((_, _)): PathArgs<(ruma::OwnedRoomId, String)>, body: JsonObject) -> JsonObject {
    body
}

async fn panics() {
    panic!("on purpose");
}

async fn send(
    request: http::request::Builder,
    body: impl Into<Body>,
) -> (StatusCode, Value, http::HeaderMap) {
    let config = serde_json::json!({ "server": { "name": "test" } });
    let nobody = Authenticator::new(RpcChannel::in_process(tonic::service::Routes::default()));
    let edge = Edge::new(&serde_json::from_value(config).unwrap(), nobody);
    let open = Policy::secret().body(1000);
    let router = Routes::new(edge)
        .route("/rooms/{room_id}/invite", post(open, invite))
        .route("/rooms/{room_id}/messages", get(open, messages))
        .route("/rooms/{room_id}/send/{type}", post(open, echo))
        .route("/refresh", post(open, refresh))
        .route("/panics", get(open, panics))
        .with_state(());
    let router = apply_layers(router);
    let response = router.oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (parts.status, serde_json::from_slice(&bytes).unwrap_or_default(), parts.headers)
}

async fn refused(request: http::request::Builder, body: impl Into<Body>) -> (u16, String) {
    let (status, body, headers) = send(request, body).await;
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    (status.as_u16(), body["errcode"].as_str().unwrap_or_default().to_owned())
}

fn is(status: u16, errcode: &str) -> (u16, String) {
    (status, errcode.to_owned())
}

#[tokio::test]
async fn path_and_body_become_a_request() {
    let request = http::Request::post("/rooms/!a%3Atest/invite");
    let (status, body, _) = send(request, r#"{"user_id":"@b:test"}"#).await;
    assert_eq!((status, &body["room_id"]), (StatusCode::OK, &Value::from("!a:test")));
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_refused() {
    let post = |body: &'static str| refused(http::Request::post("/refresh"), body);
    assert_eq!(post("{").await, is(400, "M_NOT_JSON"));
    assert_eq!(post("nonsense").await, is(400, "M_NOT_JSON"));
    assert_eq!(post("{}").await, is(400, "M_BAD_JSON"));
    assert_eq!(post("").await, is(400, "M_BAD_JSON"));
    assert_eq!(post(r#"{"refresh_token":1}"#).await, is(400, "M_BAD_JSON"));
    let utf8 = refused(http::Request::post("/refresh"), &b"{\"refresh_token\":\"\xff\"}"[..]).await;
    assert_eq!(utf8, is(400, "M_NOT_JSON"));
    let large = refused(http::Request::post("/refresh"), " ".repeat(2000)).await;
    assert_eq!(large, is(413, "M_TOO_LARGE"));
}

#[tokio::test]
async fn paths_and_queries_that_do_not_fit_are_refused() {
    let invite = refused(http::Request::post("/rooms/nonsense/invite"), r#"{"user_id":"@b:test"}"#).await;
    assert_eq!(invite, is(400, "M_INVALID_PARAM"));
    let utf8 = refused(http::Request::post("/rooms/%ff/invite"), r#"{"user_id":"@b:test"}"#).await;
    assert_eq!(utf8, is(400, "M_INVALID_PARAM"));
    let get = |path: &'static str| refused(http::Request::get(path), "");
    assert_eq!(get("/rooms/!a:test/messages").await, is(400, "M_MISSING_PARAM"));
    assert_eq!(get("/rooms/!a:test/messages?dir=x").await, is(400, "M_INVALID_PARAM"));
    assert_eq!(get("/rooms/!a:test/messages?dir=b&limit=x").await, is(400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn raw_content_stays_as_it_is() {
    let content = r#"{"b": 1,  "a":1e3}"#;
    let request = || http::Request::post("/rooms/!a:test/send/x");
    let body = echo(
        PathArgs((ruma::owned_room_id!("!a:test"), String::new())),
        JsonObject::parse(content.as_bytes()).unwrap(),
    );
    assert_eq!(body.await.get(), content);
    assert_eq!(refused(request(), "[]").await, is(400, "M_BAD_JSON"));
    assert_eq!(refused(request(), "").await, is(400, "M_NOT_JSON"));
    assert_eq!(refused(request(), "{} {}").await, is(400, "M_NOT_JSON"));
}

#[tokio::test]
async fn what_is_not_routed_is_unrecognized() {
    assert_eq!(refused(http::Request::get("/nothing"), "").await, is(404, "M_UNRECOGNIZED"));
    assert_eq!(refused(http::Request::get("/refresh"), "").await, is(405, "M_UNRECOGNIZED"));
}

#[tokio::test]
async fn a_panic_is_an_internal_error() {
    assert_eq!(refused(http::Request::get("/panics"), "").await, is(500, "M_UNKNOWN"));
}

#[tokio::test]
async fn options_are_answered_for_browsers() {
    let request = http::Request::builder().method(Method::OPTIONS).uri("/refresh");
    let (status, _, headers) = send(request, "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET,POST,PUT,DELETE,OPTIONS");
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "x-requested-with,content-type,authorization");
}
