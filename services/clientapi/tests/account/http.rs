//! Tests rules that hold for every endpoint.

use axum::body::Body;
use http::{Method, Request, header};
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn unknown_endpoints_and_methods_are_unrecognized() {
    let world = World::start();
    world.call("GET", "/nothing", "", Value::Null).await.refused(404, "M_UNRECOGNIZED");
    world.call("GET", "/nothing/at/all", "", Value::Null).await.refused(404, "M_UNRECOGNIZED");
    world.call("DELETE", "/login", "", Value::Null).await.refused(405, "M_UNRECOGNIZED");
}

#[tokio::test]
async fn tokens_are_needed_and_checked() {
    let world = World::start();
    world.call("GET", "/account/whoami", "", Value::Null).await.refused(401, "M_MISSING_TOKEN");
    let body =
        world.call("GET", "/account/whoami", "wrong", Value::Null).await.refused(401, "M_UNKNOWN_TOKEN");
    assert_eq!(body["soft_logout"], false);
    let token = world.register("alice").await;
    let whoami = world.call("GET", "/account/whoami", &token, Value::Null).await.ok();
    assert_eq!(whoami["user_id"], "@alice:test");
    let by_query = format!("/account/whoami?access_token={token}");
    assert_eq!(world.call("GET", &by_query, "", Value::Null).await.ok(), whoami);
}

#[tokio::test]
async fn hostile_bodies_get_the_error_of_the_specification() {
    let world = World::start();
    let post = |body: Vec<u8>| {
        let request = Request::post("/_matrix/client/v3/login").body(Body::from(body)).unwrap();
        world.send(request)
    };
    post(b"{".to_vec()).await.refused(400, "M_NOT_JSON");
    post(Vec::new()).await.refused(400, "M_NOT_JSON");
    post(b"{\"type\":\"\xff\"}".to_vec()).await.refused(400, "M_NOT_JSON");
    post(b"[]".to_vec()).await.refused(400, "M_BAD_JSON");
    post(b"{\"type\":1}".to_vec()).await.refused(400, "M_BAD_JSON");
    post(b"{}".to_vec()).await.refused(400, "M_MISSING_PARAM");
    post("[".repeat(10_000).into_bytes()).await.refused(400, "M_NOT_JSON");
    // Nobody is anybody yet, so bodies are small.
    post(vec![b' '; 16 * 1024 + 1]).await.refused(413, "M_TOO_LARGE");
}

#[tokio::test]
async fn browsers_may_call() {
    let world = World::start();
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri("/_matrix/client/v3/sync")
        .header(header::ORIGIN, "https://app.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
        .body(Body::empty())
        .unwrap();
    assert_eq!(world.send(request).await.status, 200);
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let world = World::start_with(|config| config.server.public_base_url = "https://m.test".to_owned());
    let get = |path: &str| world.send(Request::get(path).body(Body::empty()).unwrap());
    let versions = get("/_matrix/client/versions").await.ok();
    assert!(versions["versions"].as_array().unwrap().contains(&json!("v1.11")));
    let well_known = get("/.well-known/matrix/client").await.ok();
    assert_eq!(well_known, json!({ "m.homeserver": { "base_url": "https://m.test" } }));
    let token = world.register("alice").await;
    let capabilities = world.call("GET", "/capabilities", &token, Value::Null).await.ok();
    let versions = &capabilities["capabilities"]["m.room_versions"];
    assert_eq!(versions["default"], "12");
    assert_eq!(versions["available"]["6"], "stable");
    World::start()
        .send(Request::get("/.well-known/matrix/client").body(Body::empty()).unwrap())
        .await
        .refused(404, "M_NOT_FOUND");
}
