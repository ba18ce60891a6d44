//! Registration.

use axum::body::Body;
use hmac::{Hmac, Mac as _};
use http::Request;
use serde_json::{Value, json};
use sha1::Sha1;

use crate::world::{Answer, World};

#[tokio::test]
async fn registration_asks_for_a_flow_and_then_gives_a_session() {
    let world = World::start();
    let body = json!({ "username": "Alice", "password": "pw", "device_id": "D", "initial_device_display_name": "x" });
    let answer = world.call("POST", "/register", "", body.clone()).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.body["flows"], json!([{ "stages": ["m.login.dummy"] }]));
    assert_eq!(answer.body.get("errcode"), None);
    let mut second = body;
    second["auth"] = json!({ "type": "m.login.dummy", "session": answer.body["session"] });
    let registered = world.call("POST", "/register", "", second.clone()).await.ok();
    assert_eq!(registered["user_id"], "@alice:test");
    assert_eq!(registered["device_id"], "D");
    let token = registered["access_token"].as_str().unwrap();
    world.call("GET", "/account/whoami", token, Value::Null).await.ok();
    world.call("POST", "/register", "", second).await.refused(400, "M_USER_IN_USE");
}

#[tokio::test]
async fn a_session_remembers_what_it_began_with() {
    let world = World::start();
    let first = json!({ "username": "alice", "password": "pw", "inhibit_login": true });
    let session = world.call("POST", "/register", "", first).await.body["session"].clone();
    let auth = json!({ "auth": { "type": "m.login.dummy", "session": session } });
    let registered = world.call("POST", "/register", "", auth).await.ok();
    assert_eq!(registered, json!({ "user_id": "@alice:test" }));
}

#[tokio::test]
async fn bad_names_are_refused_before_any_flow() {
    let world = World::start();
    for name in ["a b", "", "é", "a:b", "_a"] {
        let body = json!({ "username": name, "password": "pw" });
        world.call("POST", "/register", "", body).await.refused(400, "M_INVALID_USERNAME");
    }
    world.register("alice").await;
    let body = json!({ "username": "alice", "password": "pw" });
    world.call("POST", "/register", "", body).await.refused(400, "M_USER_IN_USE");
    let available = async |name: &str| {
        world.call("GET", &format!("/register/available?username={name}"), "", Value::Null).await
    };
    available("alice").await.refused(400, "M_USER_IN_USE");
    available("a%20b").await.refused(400, "M_INVALID_USERNAME");
    assert_eq!(available("bob").await.ok(), json!({ "available": true }));
    world.call("GET", "/register/available", "", Value::Null).await.refused(400, "M_MISSING_PARAM");
}

#[tokio::test]
async fn who_gives_no_name_gets_one() {
    let world = World::start();
    let body = json!({ "password": "pw", "auth": { "type": "m.login.dummy" } });
    let registered = world.call("POST", "/register", "", body).await.ok();
    assert!(registered["user_id"].as_str().unwrap().len() > "@:test".len());
}

#[tokio::test]
async fn closed_servers_take_nobody() {
    let world = World::start_with(|config| config.registration.open = false);
    let body = json!({ "username": "alice", "password": "pw", "auth": { "type": "m.login.dummy" } });
    world.call("POST", "/register", "", body).await.refused(403, "M_FORBIDDEN");
    let guest = world.call("POST", "/register?kind=guest", "", json!({})).await;
    guest.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
}

#[tokio::test]
async fn guests_are_taken_where_they_are_welcome() {
    let world = World::start_with(|config| config.registration.guests = true);
    let registered = world.call("POST", "/register?kind=guest", "", json!({})).await.ok();
    let token = registered["access_token"].as_str().unwrap();
    let whoami = world.call("GET", "/account/whoami", token, Value::Null).await.ok();
    assert_eq!(whoami["is_guest"], true);
}

#[tokio::test]
async fn tokens_open_a_closed_server() {
    let world = World::start_with(|config| {
        config.registration.open = false;
        config.registration.tokens = vec!["letmein".to_owned()];
    });
    let body = |token: &str| {
        let auth = json!({ "type": "m.login.registration_token", "token": token });
        json!({ "username": "alice", "password": "pw", "auth": auth })
    };
    let refused = world.call("POST", "/register", "", body("wrong")).await.refused(401, "M_UNAUTHORIZED");
    assert_eq!(refused["flows"], json!([{ "stages": ["m.login.registration_token"] }]));
    world.call("POST", "/register", "", body("letmein")).await.ok();
    for (token, valid) in [("letmein", true), ("wrong", false)] {
        let path = format!("/_matrix/client/v1/register/m.login.registration_token/validity?token={token}");
        let answer = world.send(Request::get(path).body(Body::empty()).unwrap()).await.ok();
        assert_eq!(answer["valid"], valid);
    }
}

#[tokio::test]
async fn the_shared_secret_makes_administrators() {
    let world = World::start_with(|config| config.registration.open = false);
    let nonce = async || {
        let request = Request::get("/_synapse/admin/v1/register").body(Body::empty()).unwrap();
        world.send(request).await.ok()["nonce"].as_str().unwrap().to_owned()
    };
    let register = async |nonce: &str, secret: &[u8]| -> Answer {
        let mut mac = Hmac::<Sha1>::new_from_slice(secret).unwrap();
        mac.update(format!("{nonce}\0Root\0pw\0admin").as_bytes());
        let mac = hex::encode(mac.finalize().into_bytes());
        let body = json!({ "nonce": nonce, "username": "Root", "password": "pw", "admin": true, "mac": mac });
        let request = Request::post("/_synapse/admin/v1/register").body(Body::from(body.to_string()));
        world.send(request.unwrap()).await
    };
    register("made up", b"secret").await.refused(400, "M_UNKNOWN");
    register(&nonce().await, b"wrong").await.refused(403, "M_UNKNOWN");
    let good = nonce().await;
    let registered = register(&good, b"secret").await.ok();
    assert_eq!(registered["user_id"], "@root:test");
    assert!(world.users.lock().unwrap().accounts["@root:test"].admin);
    register(&good, b"secret").await.refused(400, "M_UNKNOWN");
}
