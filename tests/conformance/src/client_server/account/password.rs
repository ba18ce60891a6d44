//! [Changing the password](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword)
//! and [deactivation](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate)

use serde_json::json;

use crate::server::Server;

tests![
    a_new_password_takes_the_place_of_the_old,
    a_new_password_ends_other_sessions,
    other_sessions_stay_if_wanted,
    a_new_password_asks_for_the_old,
    the_wrong_password_changes_nothing,
    one_session_of_authentication_does_one_thing,
    deactivation_asks_for_the_password,
    a_deactivated_user_has_no_sessions,
    a_deactivated_user_does_not_log_in,
    a_deactivated_user_has_left_all_rooms,
    an_account_is_only_deactivated_by_its_user,
];

async fn a_new_password_takes_the_place_of_the_old(server: Server) {
    let mut alice = server.user("alice").await;
    let request = alice.post("/account/password", json!({ "new_password": "battery staple" }));
    assert_eq!(alice.confirms(request).await.ok(), json!({}));
    server.anybody().post("/login", alice.login()).await.refused(403, "M_FORBIDDEN");
    "battery staple".clone_into(&mut alice.password);
    alice.logs_in().await;
}

async fn a_new_password_ends_other_sessions(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let request = alice.post("/account/password", json!({ "new_password": "battery staple" }));
    alice.confirms(request).await.ok();
    phone.asks_who_they_are().await.refused(401, "M_UNKNOWN_TOKEN");
    alice.asks_who_they_are().await.ok();
}

async fn other_sessions_stay_if_wanted(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let body = json!({ "new_password": "battery staple", "logout_devices": false });
    alice.confirms(alice.post("/account/password", body)).await.ok();
    phone.asks_who_they_are().await.ok();
}

async fn a_new_password_asks_for_the_old(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/account/password", json!({ "new_password": "battery staple" })).await;
    assert_eq!(answer.status, 401, "{answer}");
    assert!(answer.body["session"].is_string() && answer.body["flows"].is_array(), "{answer}");
    alice.logs_in().await;
}

async fn the_wrong_password_changes_nothing(server: Server) {
    let alice = server.user("alice").await;
    let mut other = alice.clone();
    "wrong".clone_into(&mut other.password);
    let request = alice.post("/account/password", json!({ "new_password": "battery staple" }));
    let answer = other.confirms(request).await;
    // The answer is that of the first time, and says why the stage failed.
    assert!(answer.body["flows"].is_array(), "{answer}");
    answer.refused(401, "M_FORBIDDEN");
    alice.logs_in().await;
}

async fn one_session_of_authentication_does_one_thing(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let path = path!("/devices/{}", phone.device);
    let asked = alice.delete(path).json(json!({})).await;
    assert_eq!(asked.status, 401, "{asked}");
    let mut auth = alice.login();
    auth["session"] = asked.body["session"].clone();
    let body = json!({ "new_password": "battery staple", "auth": auth });
    let answer = alice.post("/account/password", body).await;
    assert!([400, 401, 403].contains(&answer.status), "{answer}");
    alice.logs_in().await;
}

async fn deactivation_asks_for_the_password(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/account/deactivate", json!({})).await;
    assert_eq!(answer.status, 401, "{answer}");
    alice.asks_who_they_are().await.ok();
}

async fn a_deactivated_user_has_no_sessions(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let answer = alice.confirms(alice.post("/account/deactivate", json!({}))).await.ok();
    assert!(["success", "no-support"].iter().any(|result| answer["id_server_unbind_result"] == *result));
    alice.asks_who_they_are().await.refused(401, "M_UNKNOWN_TOKEN");
    phone.asks_who_they_are().await.refused(401, "M_UNKNOWN_TOKEN");
}

async fn a_deactivated_user_does_not_log_in(server: Server) {
    let alice = server.user("alice").await;
    alice.confirms(alice.post("/account/deactivate", json!({}))).await.ok();
    let answer = server.anybody().post("/login", alice.login()).await;
    answer.refused_as(&[(403, "M_USER_DEACTIVATED"), (403, "M_FORBIDDEN")]);
}

async fn a_deactivated_user_has_left_all_rooms(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    bob.confirms(bob.post("/account/deactivate", json!({}))).await.ok();
    let has_left = |answer: &serde_json::Value| {
        let events = crate::actor::sync::timeline(answer, &room);
        events.iter().any(|event| event["state_key"] == bob.id && event["content"]["membership"] == "leave")
    };
    alice.syncs_until(&since, "bob's leave", has_left).await;
    assert_eq!(alice.reads_membership(&room, &bob).await, "leave");
}

async fn an_account_is_only_deactivated_by_its_user(server: Server) {
    let (alice, bob) = server.pair().await;
    let answer = bob.confirms(alice.post("/account/deactivate", json!({}))).await;
    assert!([401, 403].contains(&answer.status), "{answer}");
    alice.asks_who_they_are().await.ok();
}
