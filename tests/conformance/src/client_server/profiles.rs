//! [Profiles](https://spec.matrix.org/v1.19/client-server-api/#profiles)

use serde_json::{Value, json};

use crate::{actor::sync, server::Server, wire::Json as _};

tests![
    a_name_and_an_avatar_are_set_and_read,
    anybody_reads_a_profile,
    one_field_is_read_alone,
    somebody_else_cannot_set_a_profile,
    an_unknown_user_is_not_found,
    a_field_that_is_not_set_is_not_found,
    a_deleted_field_is_gone,
    a_field_of_ones_own_is_set_and_read,
    a_field_must_be_in_the_body,
    a_name_must_be_text,
    the_name_goes_to_the_rooms,
    members_hear_of_a_new_name,
    a_profile_that_is_too_large_is_refused,
    a_key_that_is_too_long_is_refused,
    no_token_cannot_set_a_profile,
];

async fn a_name_and_an_avatar_are_set_and_read(server: Server) {
    let alice = server.user("alice").await;
    assert_eq!(alice.sets_profile("displayname", json!("Alice")).await.ok(), json!({}));
    assert_eq!(alice.sets_profile("avatar_url", json!("mxc://example.org/a")).await.ok(), json!({}));
    let profile = alice.reads_profile(&alice).await.ok();
    assert_eq!(profile["displayname"], "Alice");
    assert_eq!(profile["avatar_url"], "mxc://example.org/a");
}

async fn anybody_reads_a_profile(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.sets_profile("displayname", json!("Alice")).await.ok();
    assert_eq!(bob.reads_profile(&alice).await.ok()["displayname"], "Alice");
    let nobody = server.anybody().get(path!("/profile/{}", alice.id)).await;
    assert_eq!(nobody.ok()["displayname"], "Alice");
}

async fn one_field_is_read_alone(server: Server) {
    let alice = server.user("alice").await;
    alice.sets_profile("displayname", json!("Alice")).await.ok();
    let answer = alice.get(path!("/profile/{}/displayname", alice.id)).await.ok();
    assert_eq!(answer, json!({ "displayname": "Alice" }));
}

async fn somebody_else_cannot_set_a_profile(server: Server) {
    let (alice, bob) = server.pair().await;
    let path = path!("/profile/{}/displayname", alice.id);
    bob.put(path, json!({ "displayname": "Bob's" })).await.refused(403, "M_FORBIDDEN");
    assert_ne!(alice.reads_profile(&alice).await.body["displayname"], "Bob's");
}

async fn an_unknown_user_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let nobody = server.nobody();
    alice.get(path!("/profile/{}", nobody)).await.refused(404, "M_NOT_FOUND");
    alice.get(path!("/profile/{}/displayname", nobody)).await.refused(404, "M_NOT_FOUND");
}

async fn a_field_that_is_not_set_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.get(path!("/profile/{}/org.example.nothing", alice.id)).await;
    answer.refused(404, "M_NOT_FOUND");
}

async fn a_deleted_field_is_gone(server: Server) {
    let alice = server.user("alice").await;
    alice.sets_profile("org.example.motto", json!("tea")).await.ok();
    assert_eq!(alice.delete(path!("/profile/{}/org.example.motto", alice.id)).await.ok(), json!({}));
    assert!(!alice.reads_profile(&alice).await.ok().has("/org.example.motto"));
}

async fn a_field_of_ones_own_is_set_and_read(server: Server) {
    let (alice, bob) = server.pair().await;
    let value = json!({ "words": ["green", "tea"], "since": 2017 });
    alice.sets_profile("org.example.motto", value.clone()).await.ok();
    assert_eq!(bob.reads_profile(&alice).await.ok()["org.example.motto"], value);
    let answer = bob.get(path!("/profile/{}/org.example.motto", alice.id)).await.ok();
    assert_eq!(answer, json!({ "org.example.motto": value }));
}

async fn a_field_must_be_in_the_body(server: Server) {
    let alice = server.user("alice").await;
    let path = path!("/profile/{}/org.example.motto", alice.id);
    let answer = alice.put(path, json!({ "org.example.other": "tea" })).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

async fn a_name_must_be_text(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.sets_profile("displayname", json!(17)).await;
    answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")]);
}

async fn the_name_goes_to_the_rooms(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    alice.sets_profile("displayname", json!("Alice the second")).await.ok();
    let is_new = |answer: &Value| {
        let events = sync::timeline(answer, &room);
        events.iter().any(|event| event["content"]["displayname"] == "Alice the second")
    };
    let answer = alice.syncs().await.ok();
    if !is_new(&answer) {
        alice.syncs_until(&answer.text("/next_batch"), "the new name", is_new).await;
    }
    let member = alice.reads_state(&room, "m.room.member", &alice.id).await.ok();
    assert_eq!(member["displayname"], "Alice the second");
    assert_eq!(member["membership"], "join");
}

async fn members_hear_of_a_new_name(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    bob.sets_profile("displayname", json!("Bob the second")).await.ok();
    let is_new = |answer: &Value| {
        let events = sync::timeline(answer, &room);
        events.iter().any(|event| event["content"]["displayname"] == "Bob the second")
    };
    alice.syncs_until(&since, "the new name", is_new).await;
}

async fn a_profile_that_is_too_large_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.sets_profile("org.example.motto", json!("x".repeat(66_000))).await;
    answer.refused_as(&[(400, "M_PROFILE_TOO_LARGE"), (413, "M_TOO_LARGE")]);
}

async fn a_key_that_is_too_long_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let key = "k".repeat(256);
    alice.sets_profile(&key, json!("x")).await.refused(400, "M_KEY_TOO_LARGE");
}

async fn no_token_cannot_set_a_profile(server: Server) {
    let alice = server.user("alice").await;
    let path = path!("/profile/{}/displayname", alice.id);
    let answer = server.anybody().put(path, json!({ "displayname": "Nobody" })).await;
    answer.refused(401, "M_MISSING_TOKEN");
}
