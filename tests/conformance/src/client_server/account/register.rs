//! [Registration](https://spec.matrix.org/v1.19/client-server-api/#account-registration)

use serde_json::{Value, json};

use crate::{server::Server, wire::Json as _};

tests![
    the_first_answer_says_what_to_do,
    a_user_is_registered_with_a_session,
    the_device_is_the_one_that_was_asked_for,
    the_device_has_the_name_that_was_asked_for,
    without_login_there_is_no_session,
    a_name_is_made_if_none_is_given,
    the_user_logs_in_by_the_password,
    a_taken_name_is_in_use,
    a_taken_name_is_told_before_the_stages,
    an_invalid_name_is_refused,
    capital_letters_are_lowered_or_refused,
    a_name_that_is_too_long_is_refused,
    a_name_that_is_not_text_is_refused,
    an_unknown_kind_is_refused,
    a_stage_that_is_not_offered_does_not_do,
    an_unknown_session_does_not_do,
    a_body_that_is_not_json_is_refused,
    a_refresh_token_is_given_if_wanted,
    a_free_name_is_available,
    a_taken_name_is_not_available,
    an_invalid_name_is_not_available,
    availability_needs_a_name,
    a_guest_gets_a_session,
    two_sessions_of_one_registration_make_one_user,
    the_name_of_a_deactivated_user_stays_taken,
];

/// A body that registers a name.
fn body(name: &str) -> Value {
    json!({ "auth": { "type": "m.login.dummy" }, "username": name, "password": "correct horse" })
}

async fn the_first_answer_says_what_to_do(server: Server) {
    let name = server.unique("alice");
    let answer = server.registers(json!({ "username": name, "password": "correct horse" })).await;
    assert_eq!(answer.status, 401, "{answer}");
    assert!(!answer.body.text("/session").is_empty());
    assert!(answer.body.at("/params").is_object());
    for flow in answer.body.list("/flows") {
        assert!(!flow.list("/stages").is_empty(), "{answer}");
    }
    let mut body = body(&name);
    body["auth"]["session"] = answer.body["session"].clone();
    server.registers(body).await.ok();
}

async fn a_user_is_registered_with_a_session(server: Server) {
    let name = server.unique("alice");
    let answer = server.registers(body(&name)).await.ok();
    assert_eq!(answer["user_id"], format!("@{name}:{}", server.name()));
    assert!(!answer.text("/device_id").is_empty());
    let alice = server.anybody().with_token(Some(&answer.text("/access_token")));
    assert_eq!(alice.get("/account/whoami").await.ok()["user_id"], answer["user_id"]);
}

async fn the_device_is_the_one_that_was_asked_for(server: Server) {
    let mut body = body(&server.unique("alice"));
    body["device_id"] = json!("PHONE");
    assert_eq!(server.registers(body).await.ok()["device_id"], "PHONE");
}

async fn the_device_has_the_name_that_was_asked_for(server: Server) {
    let mut body = body(&server.unique("alice"));
    body["initial_device_display_name"] = json!("Jungle phone");
    let answer = server.registers(body).await.ok();
    let alice = server.anybody().with_token(Some(&answer.text("/access_token")));
    let device = alice.get(path!("/devices/{}", answer.text("/device_id"))).await.ok();
    assert_eq!(device["display_name"], "Jungle phone");
}

async fn without_login_there_is_no_session(server: Server) {
    let mut body = body(&server.unique("alice"));
    body["inhibit_login"] = json!(true);
    let answer = server.registers(body).await.ok();
    assert!(answer.text("/user_id").starts_with('@'));
    assert!(!answer.has("/access_token") && !answer.has("/device_id"), "{answer}");
}

async fn a_name_is_made_if_none_is_given(server: Server) {
    let body = json!({ "auth": { "type": "m.login.dummy" }, "password": "correct horse" });
    let answer = server.registers(body).await.ok();
    let user = answer.text("/user_id");
    assert!(user.starts_with('@') && user.ends_with(&format!(":{}", server.name())), "{user}");
}

async fn the_user_logs_in_by_the_password(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    assert_eq!(phone.id, alice.id);
    assert_ne!(phone.device, alice.device);
}

async fn a_taken_name_is_in_use(server: Server) {
    let alice = server.user("alice").await;
    server.registers(body(&alice.localpart)).await.refused(400, "M_USER_IN_USE");
}

async fn a_taken_name_is_told_before_the_stages(server: Server) {
    let alice = server.user("alice").await;
    let body = json!({ "username": alice.localpart, "password": "correct horse" });
    server.registers(body).await.refused(400, "M_USER_IN_USE");
}

async fn an_invalid_name_is_refused(server: Server) {
    for name in ["with space", "ümlaut", "semi;colon", "a:b", "[brackets]"] {
        server.registers(body(name)).await.refused(400, "M_INVALID_USERNAME");
    }
}

async fn capital_letters_are_lowered_or_refused(server: Server) {
    let name = server.unique("Alice");
    let answer = server.registers(body(&name)).await;
    if answer.status == 200 {
        let wanted = format!("@{}:{}", name.to_lowercase(), server.name());
        assert_eq!(answer.ok()["user_id"], wanted);
    } else {
        answer.refused(400, "M_INVALID_USERNAME");
    }
}

async fn a_name_that_is_too_long_is_refused(server: Server) {
    server.registers(body(&"a".repeat(256))).await.refused(400, "M_INVALID_USERNAME");
}

async fn a_name_that_is_not_text_is_refused(server: Server) {
    let mut body = body("x");
    body["username"] = json!(17);
    let answer = server.registers(body).await;
    answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_INVALID_USERNAME"), (400, "M_INVALID_PARAM")]);
}

async fn an_unknown_kind_is_refused(server: Server) {
    let request = server.anybody().post("/register", body(&server.unique("alice")));
    let answer = request.query("kind", "emperor").await;
    assert!([400, 403].contains(&answer.status), "{answer}");
    assert!(!answer.errcode().is_empty(), "{answer}");
}

async fn a_stage_that_is_not_offered_does_not_do(server: Server) {
    let name = server.unique("alice");
    let mut body = body(&name);
    body["auth"]["type"] = json!("org.example.secret_handshake");
    let answer = server.registers(body).await;
    assert!([400, 401].contains(&answer.status), "{answer}");
    let available = server.anybody().get("/register/available").query("username", &name);
    assert_eq!(available.await.ok()["available"], true);
}

async fn an_unknown_session_does_not_do(server: Server) {
    let name = server.unique("alice");
    let mut body = body(&name);
    body["auth"]["session"] = json!("never given");
    let answer = server.registers(body).await;
    assert!([400, 401, 403].contains(&answer.status), "{answer}");
}

async fn a_body_that_is_not_json_is_refused(server: Server) {
    server.anybody().post("/register", json!({})).raw("{").await.refused(400, "M_NOT_JSON");
}

async fn a_refresh_token_is_given_if_wanted(server: Server) {
    let mut body = body(&server.unique("alice"));
    body["refresh_token"] = json!(true);
    let answer = server.registers(body).await.ok();
    assert!(!answer.text("/refresh_token").is_empty());
    assert!(answer["expires_in_ms"].as_u64().is_some_and(|lifetime| lifetime > 0), "{answer}");
}

async fn a_free_name_is_available(server: Server) {
    let name = server.unique("free");
    let answer = server.anybody().get("/register/available").query("username", name).await;
    assert_eq!(answer.ok(), json!({ "available": true }));
}

async fn a_taken_name_is_not_available(server: Server) {
    let alice = server.user("alice").await;
    let answer = server.anybody().get("/register/available").query("username", alice.localpart).await;
    answer.refused(400, "M_USER_IN_USE");
}

async fn an_invalid_name_is_not_available(server: Server) {
    let answer = server.anybody().get("/register/available").query("username", "not valid!").await;
    answer.refused(400, "M_INVALID_USERNAME");
}

async fn availability_needs_a_name(server: Server) {
    let answer = server.anybody().get("/register/available").await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_INVALID_PARAM")]);
}

async fn a_guest_gets_a_session(server: Server) {
    let guest = server.guest().await;
    let answer = guest.asks_who_they_are().await.ok();
    assert_eq!(answer["user_id"], guest.id);
    assert_eq!(answer["is_guest"], true);
}

async fn two_sessions_of_one_registration_make_one_user(server: Server) {
    let name = server.unique("alice");
    let (one, two) = futures::join!(server.registers(body(&name)), server.registers(body(&name)));
    let mut found = [one.status, two.status];
    found.sort_unstable();
    assert_eq!(found, [200, 400], "{one}; {two}");
    let lost = if one.status == 400 { one } else { two };
    lost.refused(400, "M_USER_IN_USE");
}

async fn the_name_of_a_deactivated_user_stays_taken(server: Server) {
    let alice = server.user("alice").await;
    alice.confirms(alice.post("/account/deactivate", json!({}))).await.ok();
    server.registers(body(&alice.localpart)).await.refused(400, "M_USER_IN_USE");
}
