//! [Login](https://spec.matrix.org/v1.19/client-server-api/#login), logout and refresh.

use serde_json::json;

use crate::{
    server::Server,
    wire::{Client, Json as _},
};

tests![
    the_ways_to_log_in_are_told,
    a_password_logs_in,
    the_whole_user_id_logs_in,
    the_old_field_logs_in,
    the_wrong_password_is_forbidden,
    an_unknown_user_is_forbidden,
    an_unknown_way_is_refused,
    an_absent_way_is_refused,
    an_absent_password_is_refused,
    an_absent_user_is_refused,
    an_unknown_identifier_is_refused,
    a_name_that_is_not_text_is_refused,
    the_device_is_the_one_that_was_asked_for,
    the_device_has_the_name_that_was_asked_for,
    a_user_of_another_server_is_forbidden,
    a_body_that_is_not_json_is_refused,
    logout_ends_the_session,
    logout_deletes_the_device,
    logout_leaves_other_sessions,
    logout_of_all_ends_every_session,
    a_session_is_refreshed,
    a_used_refresh_token_is_no_good,
    an_unknown_refresh_token_is_no_good,
    refresh_needs_a_token,
    no_refresh_token_is_given_unasked,
];

async fn the_ways_to_log_in_are_told(server: Server) {
    let answer = server.anybody().get("/login").await.ok();
    let flows = answer.list("/flows");
    assert!(flows.iter().any(|flow| flow["type"] == "m.login.password"), "{answer}");
}

async fn a_password_logs_in(server: Server) {
    let alice = server.user("alice").await;
    let answer = server.anybody().post("/login", alice.login()).await.ok();
    assert_eq!(answer["user_id"], alice.id);
    let phone = server.anybody().with_token(Some(&answer.text("/access_token")));
    let found = phone.get("/account/whoami").await.ok();
    assert_eq!(found["device_id"], answer["device_id"]);
    assert_eq!(found["user_id"], alice.id);
    alice.asks_who_they_are().await.ok();
}

async fn the_whole_user_id_logs_in(server: Server) {
    let alice = server.user("alice").await;
    let mut body = alice.login();
    body["identifier"]["user"] = json!(alice.id);
    assert_eq!(server.anybody().post("/login", body).await.ok()["user_id"], alice.id);
}

async fn the_old_field_logs_in(server: Server) {
    let alice = server.user("alice").await;
    let body = json!({ "type": "m.login.password", "user": alice.localpart, "password": alice.password });
    assert_eq!(server.anybody().post("/login", body).await.ok()["user_id"], alice.id);
}

async fn the_wrong_password_is_forbidden(server: Server) {
    let alice = server.user("alice").await;
    let mut body = alice.login();
    body["password"] = json!("wrong");
    server.anybody().post("/login", body).await.refused(403, "M_FORBIDDEN");
}

async fn an_unknown_user_is_forbidden(server: Server) {
    let alice = server.user("alice").await;
    let mut body = alice.login();
    body["identifier"]["user"] = json!(server.unique("nobody"));
    server.anybody().post("/login", body).await.refused(403, "M_FORBIDDEN");
}

async fn an_unknown_way_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let mut body = alice.login();
    body["type"] = json!("org.example.secret_handshake");
    let answer = server.anybody().post("/login", body).await;
    answer.refused(400, "M_UNKNOWN");
}

async fn an_absent_way_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let body = json!({ "identifier": alice.login()["identifier"], "password": alice.password });
    let answer = server.anybody().post("/login", body).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON"), (400, "M_UNKNOWN")]);
}

async fn an_absent_password_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let body = json!({ "type": "m.login.password", "identifier": alice.login()["identifier"] });
    let answer = server.anybody().post("/login", body).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

async fn an_absent_user_is_refused(server: Server) {
    let body = json!({ "type": "m.login.password", "password": "x" });
    let answer = server.anybody().post("/login", body).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

async fn an_unknown_identifier_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let mut body = alice.login();
    body["identifier"]["type"] = json!("org.example.passport");
    let answer = server.anybody().post("/login", body).await;
    answer.refused_as(&[(400, "M_UNKNOWN"), (400, "M_INVALID_PARAM")]);
}

async fn a_name_that_is_not_text_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let mut body = alice.login();
    body["identifier"]["user"] = json!({ "name": "alice" });
    let answer = server.anybody().post("/login", body).await;
    assert!([400, 403].contains(&answer.status), "{answer}");
}

async fn the_device_is_the_one_that_was_asked_for(server: Server) {
    let alice = server.user("alice").await;
    let mut body = alice.login();
    body["device_id"] = json!("TABLET");
    assert_eq!(server.anybody().post("/login", body).await.ok()["device_id"], "TABLET");
    alice.get("/devices/TABLET").await.ok();
}

async fn the_device_has_the_name_that_was_asked_for(server: Server) {
    let alice = server.user("alice").await;
    let mut body = alice.login();
    body["initial_device_display_name"] = json!("Alice's tablet");
    let answer = server.anybody().post("/login", body).await.ok();
    let device = alice.get(path!("/devices/{}", answer.text("/device_id"))).await.ok();
    assert_eq!(device["display_name"], "Alice's tablet");
}

async fn a_user_of_another_server_is_forbidden(server: Server) {
    let alice = server.user("alice").await;
    let mut body = alice.login();
    body["identifier"]["user"] = json!(format!("@{}:elsewhere.example", alice.localpart));
    server.anybody().post("/login", body).await.refused(403, "M_FORBIDDEN");
}

async fn a_body_that_is_not_json_is_refused(server: Server) {
    server.anybody().post("/login", json!({})).raw("nonsense").await.refused(400, "M_NOT_JSON");
}

async fn logout_ends_the_session(server: Server) {
    let alice = server.user("alice").await;
    assert_eq!(alice.post("/logout", json!({})).await.ok(), json!({}));
    alice.asks_who_they_are().await.refused(401, "M_UNKNOWN_TOKEN");
    alice.post("/logout", json!({})).await.refused(401, "M_UNKNOWN_TOKEN");
    alice.syncs().await.refused(401, "M_UNKNOWN_TOKEN");
    alice.post("/createRoom", json!({})).await.refused(401, "M_UNKNOWN_TOKEN");
}

async fn logout_deletes_the_device(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    phone.post("/logout", json!({})).await.ok();
    alice.get(path!("/devices/{}", phone.device)).await.refused(404, "M_NOT_FOUND");
}

async fn logout_leaves_other_sessions(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    phone.post("/logout", json!({})).await.ok();
    alice.asks_who_they_are().await.ok();
}

async fn logout_of_all_ends_every_session(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    assert_eq!(phone.post("/logout/all", json!({})).await.ok(), json!({}));
    phone.asks_who_they_are().await.refused(401, "M_UNKNOWN_TOKEN");
    alice.asks_who_they_are().await.refused(401, "M_UNKNOWN_TOKEN");
    let again = alice.logs_in().await;
    assert_eq!(again.get("/devices").await.ok().list("/devices").len(), 1);
}

/// A session that may be refreshed, and its refresh token.
async fn refreshable(server: &Server) -> (Client, String) {
    let alice = server.user("alice").await;
    let mut body = alice.login();
    body["refresh_token"] = json!(true);
    let answer = server.anybody().post("/login", body).await.ok();
    let session = server.anybody().with_token(Some(&answer.text("/access_token")));
    (session, answer.text("/refresh_token"))
}

async fn a_session_is_refreshed(server: Server) {
    let (session, token) = refreshable(&server).await;
    let before = session.get("/account/whoami").await.ok();
    let answer = server.anybody().post("/refresh", json!({ "refresh_token": token })).await.ok();
    let fresh = server.anybody().with_token(Some(&answer.text("/access_token")));
    assert_eq!(fresh.get("/account/whoami").await.ok(), before);
    assert_ne!(answer["access_token"], json!(session.token));
}

async fn a_used_refresh_token_is_no_good(server: Server) {
    let (_, token) = refreshable(&server).await;
    let body = json!({ "refresh_token": token });
    let answer = server.anybody().post("/refresh", body.clone()).await.ok();
    // Until the new token is used, the old one may be repeated: the answer may have been lost.
    let fresh = server.anybody().with_token(Some(&answer.text("/access_token")));
    fresh.get("/account/whoami").await.ok();
    let again = server.anybody().post("/refresh", body).await;
    assert!([401, 403].contains(&again.status), "{again}");
}

async fn an_unknown_refresh_token_is_no_good(server: Server) {
    let answer = server.anybody().post("/refresh", json!({ "refresh_token": "never_given" })).await;
    answer.refused_as(&[(401, "M_UNKNOWN_TOKEN"), (403, "M_FORBIDDEN")]);
}

async fn refresh_needs_a_token(server: Server) {
    let answer = server.anybody().post("/refresh", json!({})).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

async fn no_refresh_token_is_given_unasked(server: Server) {
    let alice = server.user("alice").await;
    let answer = server.anybody().post("/login", alice.login()).await.ok();
    assert!(!answer.has("/refresh_token"), "{answer}");
}
