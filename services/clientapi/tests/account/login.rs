//! Logging in.

use axum::{body::Body, http::Request};
use plexus_service::http::Client;
use serde_json::{Value, json};

use crate::world::{World, password_auth};

#[tokio::test]
async fn the_right_password_opens_a_session() {
    let world = World::start();
    world.register("alice").await;
    let flows = world.call("GET", "/login", "", Value::Null).await.ok();
    assert_eq!(flows["flows"][0]["type"], "m.login.password");
    for user in ["alice", "@alice:test", "ALICE"] {
        let login = world.call("POST", "/login", "", password_auth(user, "pw")).await.ok();
        assert_eq!(login["user_id"], "@alice:test");
        assert_eq!(login.get("refresh_token"), None);
    }
    let legacy = json!({ "type": "m.login.password", "user": "alice", "password": "pw", "device_id": "D" });
    let login = world.call("POST", "/login", "", legacy).await.ok();
    assert_eq!(login["device_id"], "D");
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_are_refused_alike() {
    let world = World::start();
    world.register("alice").await;
    let wrong = world.call("POST", "/login", "", password_auth("alice", "x")).await;
    for user in ["nobody", "@alice:elsewhere", "@@@", ""] {
        assert_eq!(world.call("POST", "/login", "", password_auth(user, "pw")).await, wrong);
    }
    wrong.refused(403, "M_FORBIDDEN");
    world.call("POST", "/login", "", json!({ "type": "m.login.sso" })).await.refused(400, "M_UNKNOWN");
}

#[tokio::test]
async fn failures_close_an_account_for_a_while_but_not_others() {
    let world = World::start_with(|config| {
        config.rate_limits.enabled = true;
        config.rate_limits.login.burst = 100;
        config.rate_limits.failed_login.burst = 2;
    });
    world.register("alice").await;
    world.register("bob").await;
    for _ in 0..2 {
        world.call("POST", "/login", "", password_auth("alice", "x")).await.refused(403, "M_FORBIDDEN");
    }
    let limited = world.call("POST", "/login", "", password_auth("alice", "pw")).await;
    assert!(limited.refused(429, "M_LIMIT_EXCEEDED")["retry_after_ms"].as_u64().unwrap() > 0);
    world.call("POST", "/login", "", password_auth("bob", "pw")).await.ok();
}

#[tokio::test]
async fn failures_elsewhere_do_not_close_an_account() {
    let world = World::start_with(|config| {
        config.rate_limits.enabled = true;
        config.rate_limits.login.burst = 100;
        config.rate_limits.failed_login.burst = 2;
    });
    let token = world.register("alice").await;
    let login = async |address: &str, password: &str| {
        let client = Client { address: format!("{address}:1").parse().unwrap(), held: None };
        let body = password_auth("alice", password).to_string();
        let request = Request::post("/_matrix/client/v3/login").extension(client);
        world.send(request.body(Body::from(body)).unwrap()).await
    };
    for _ in 0..2 {
        login("192.0.2.1", "x").await.refused(403, "M_FORBIDDEN");
    }
    login("192.0.2.1", "pw").await.refused(429, "M_LIMIT_EXCEEDED");
    login("192.0.2.2", "pw").await.ok();
    // Nor do they keep somebody who is logged in from changing the password.
    let body = json!({ "new_password": "new", "auth": password_auth("alice", "pw") });
    world.call("POST", "/account/password", &token, body).await.ok();
}

#[tokio::test]
async fn whether_an_account_was_deactivated_is_told_to_nobody() {
    let world = World::start();
    let token = world.register("alice").await;
    world.register("bob").await;
    let body = json!({ "auth": password_auth("alice", "pw") });
    world.call("POST", "/account/deactivate", &token, body).await.ok();
    let mut answers = Vec::new();
    for name in ["alice", "bob", "nobody"] {
        answers.push(
            world.call("POST", "/login", "", password_auth(name, "wrong")).await.refused(403, "M_FORBIDDEN"),
        );
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn deactivated_accounts_stay_closed() {
    let world = World::start();
    let token = world.register("alice").await;
    world.users.lock().unwrap().members.insert("!r:test".to_owned(), "{}".to_owned());
    let challenge = world.call("POST", "/account/deactivate", &token, json!({})).await;
    assert_eq!(challenge.status, 401);
    let body = json!({ "auth": password_auth("alice", "pw") });
    let answer = world.call("POST", "/account/deactivate", &token, body).await.ok();
    assert_eq!(answer, json!({ "id_server_unbind_result": "success" }));
    world.call("POST", "/login", "", password_auth("alice", "pw")).await.refused(403, "M_FORBIDDEN");
    world.call("GET", "/account/whoami", &token, Value::Null).await.refused(401, "M_UNKNOWN_TOKEN");
    // The room server has the user leave all rooms.
    assert!(world.users.lock().unwrap().intents.is_empty());
}

#[tokio::test]
async fn sessions_can_be_refreshed() {
    let world = World::start();
    world.register("alice").await;
    let mut body = password_auth("alice", "pw");
    body["refresh_token"] = json!(true);
    let login = world.call("POST", "/login", "", body).await.ok();
    assert_eq!(login["expires_in_ms"], 300_000);
    let (old, refresh) = (login["access_token"].as_str().unwrap(), &login["refresh_token"]);
    for account in world.users.lock().unwrap().accounts.values_mut() {
        account.devices.values_mut().for_each(|device| device.expires_ts = 1);
    }
    let expired =
        world.call("GET", "/account/whoami", old, Value::Null).await.refused(401, "M_UNKNOWN_TOKEN");
    assert_eq!(expired["soft_logout"], true);
    let fresh = world.call("POST", "/refresh", "", json!({ "refresh_token": refresh })).await.ok();
    let token = fresh["access_token"].as_str().unwrap();
    world.call("GET", "/account/whoami", token, Value::Null).await.ok();
    assert_ne!(&fresh["refresh_token"], refresh);
    let again = world.call("POST", "/refresh", "", json!({ "refresh_token": refresh })).await;
    again.refused(401, "M_UNKNOWN_TOKEN");
}
