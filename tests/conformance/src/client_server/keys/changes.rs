//! [Device lists](https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user)

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::crypto::Key;
use crate::{actor::User, server::Server, wire::Json as _};

tests![
    who_shares_a_room_is_told_of_new_keys,
    who_shares_no_room_is_not_told,
    a_waiting_client_is_told_at_once,
    a_user_who_joins_has_changed,
    a_user_who_leaves_has_left,
    a_user_who_is_met_elsewhere_has_not_left,
    whoever_is_left_behind_has_left,
    one_time_keys_change_no_device_list,
    the_same_keys_change_no_device_list,
    key_changes_tell_what_sync_tells,
    a_token_that_was_never_given_is_refused,
];

fn users(answer: &Value, list: &str) -> BTreeSet<String> {
    let list = answer.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter().filter_map(|user| user.as_str().map(ToOwned::to_owned)).collect()
}

/// Syncs until a user is in a list; returns the answer.
async fn hears_of(viewer: &User, since: &str, list: &str, user: &User) -> Value {
    let is_in = |answer: &Value| users(&answer["device_lists"], list).contains(&user.id);
    viewer.syncs_until(since, &format!("{} in {list}", user.name), is_in).await
}

/// Everybody whom a list names from a token on, until something that comes after all of it has come.
async fn all_told(viewer: &User, since: &str, list: &str) -> BTreeSet<String> {
    let last = json!({ "last": since });
    viewer.put(path!("/user/{}/account_data/org.example.last", viewer.id), last.clone()).await.ok();
    let (mut since, mut told) = (since.to_owned(), BTreeSet::new());
    loop {
        let answer = viewer.syncs_since(&since).query("timeout", 1000).await.ok();
        told.extend(users(&answer["device_lists"], list));
        if answer.list("/account_data/events").iter().any(|event| event["content"] == last) {
            return told;
        }
        since = answer.text("/next_batch");
    }
}

async fn who_shares_a_room_is_told_of_new_keys(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.creates_room().member(&bob).await;
    let token = bob.sync_token().await;
    alice.publishes_keys(&Key::new()).await;
    hears_of(&bob, &token, "changed", &alice).await;
}

async fn who_shares_no_room_is_not_told(server: Server) {
    let (alice, bob) = server.pair().await;
    let token = bob.sync_token().await;
    alice.publishes_keys(&Key::new()).await;
    assert!(!all_told(&bob, &token, "changed").await.contains(&alice.id));
}

async fn a_waiting_client_is_told_at_once(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.creates_room().member(&bob).await;
    // What came of the room itself has been told.
    let mut token = bob.sync_token().await;
    loop {
        let answer = bob.syncs_since(&token).await.ok();
        let next = answer.text("/next_batch");
        if next == token {
            break;
        }
        token = next;
    }
    let waiting = bob.syncs_since(&token).query("timeout", 20_000);
    let key = Key::new();
    let (answer, _) = tokio::join!(async { waiting.await.ok() }, alice.publishes_keys(&key));
    assert!(users(&answer["device_lists"], "changed").contains(&alice.id), "{answer}");
}

async fn a_user_who_joins_has_changed(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    let (of_alice, of_bob) = (alice.sync_token().await, bob.sync_token().await);
    bob.joins(&room).await.ok();
    let answer = hears_of(&alice, &of_alice, "changed", &bob).await;
    assert_eq!(users(&answer["device_lists"], "left"), BTreeSet::new());
    hears_of(&bob, &of_bob, "changed", &alice).await;
}

async fn a_user_who_leaves_has_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let token = alice.sync_token().await;
    bob.leaves(&room).await.ok();
    let answer = hears_of(&alice, &token, "left", &bob).await;
    assert!(!users(&answer["device_lists"], "changed").contains(&bob.id), "{answer}");
}

async fn a_user_who_is_met_elsewhere_has_not_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.creates_room().member(&bob).await;
    let token = alice.sync_token().await;
    bob.leaves(&room).await.ok();
    assert!(!all_told(&alice, &token, "left").await.contains(&bob.id));
}

async fn whoever_is_left_behind_has_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let token = bob.sync_token().await;
    bob.leaves(&room).await.ok();
    hears_of(&bob, &token, "left", &alice).await;
}

async fn one_time_keys_change_no_device_list(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.creates_room().member(&bob).await;
    let key = Key::new();
    alice.publishes_keys(&key).await;
    let token = bob.sync_token().await;
    all_told(&bob, &token, "changed").await;
    let token = bob.sync_token().await;
    let keys = super::one_time_keys(&alice, &key, &super::ids(0..2));
    alice.uploads("one_time_keys", keys).await.ok();
    assert_eq!(all_told(&bob, &token, "changed").await, BTreeSet::new());
}

async fn the_same_keys_change_no_device_list(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.creates_room().member(&bob).await;
    let keys = alice.publishes_keys(&Key::new()).await;
    let token = bob.sync_token().await;
    all_told(&bob, &token, "changed").await;
    let token = bob.sync_token().await;
    alice.post("/keys/upload", json!({ "device_keys": keys })).await.ok();
    assert_eq!(all_told(&bob, &token, "changed").await, BTreeSet::new());
}

async fn key_changes_tell_what_sync_tells(server: Server) {
    let (alice, bob) = server.pair().await;
    let carol = server.user("carol").await;
    let room = alice.creates_room().member(&bob).await;
    let shared = alice.creates_room().member(&carol).await;
    let from = alice.sync_token().await;
    bob.publishes_keys(&Key::new()).await;
    carol.leaves(&shared).await.ok();
    hears_of(&alice, &from, "left", &carol).await;
    let answer = hears_of(&alice, &from, "changed", &bob).await;
    let to = answer.text("/next_batch");
    let changes = alice.get("/keys/changes").query("from", &from).query("to", &to).await.ok();
    assert!(users(&changes, "changed").contains(&bob.id), "{changes}");
    assert!(users(&changes, "left").contains(&carol.id), "{changes}");
    let nothing = alice.get("/keys/changes").query("from", &to).query("to", &to).await.ok();
    assert_eq!(users(&nothing, "changed"), BTreeSet::new(), "{nothing}");
    drop(room);
}

async fn a_token_that_was_never_given_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let token = alice.sync_token().await;
    for (from, to) in [("never_given", token.as_str()), (token.as_str(), "never_given")] {
        let answer = alice.get("/keys/changes").query("from", from).query("to", to).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
}
