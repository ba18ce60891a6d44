//! [Keys of devices](https://spec.matrix.org/v1.19/client-server-api/#key-management-api)

pub(super) mod changes;
pub(crate) mod crypto;
pub(super) mod signing;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    actor::User,
    server::Server,
    wait::eventually,
    wire::{Answer, Json as _},
};
use crypto::Key;

tests![
    device_keys_are_shown_to_others,
    the_name_of_a_device_is_shown_with_its_keys,
    keys_of_one_device_are_asked_for,
    users_without_keys_are_no_failure,
    keys_of_another_device_are_refused,
    keys_of_another_user_are_refused,
    device_keys_without_signatures_are_refused,
    device_ids_that_are_no_list_are_refused,
    one_time_keys_are_counted,
    the_same_one_time_key_counts_once,
    another_key_under_a_known_id_is_refused,
    one_time_keys_are_claimed_in_order_and_once,
    a_race_for_keys_gives_each_once,
    a_fallback_key_is_given_when_no_other_is_left,
    an_unknown_device_has_no_key,
    a_deleted_device_has_no_keys,
    sync_tells_what_is_left,
    hostile_bodies_are_refused,
];

impl User {
    /// Publishes identity keys of the device.
    pub(crate) async fn publishes_keys(&self, key: &Key) -> Value {
        let keys = crypto::device_keys(self, key);
        self.post("/keys/upload", json!({ "device_keys": keys })).await.ok();
        keys
    }

    pub(crate) async fn uploads(&self, field: &str, keys: Value) -> Answer {
        let mut body = json!({});
        body[field] = keys;
        self.post("/keys/upload", body).await
    }

    /// Asks for all keys of a user.
    pub(super) async fn asks_for_keys_of(&self, user: &Self) -> Value {
        let mut body = json!({ "device_keys": {} });
        body["device_keys"][&user.id] = json!([]);
        self.post("/keys/query", body).await.ok()
    }

    /// Claims a key of a device; `None` if there is none.
    async fn claims(&self, user: &Self) -> Option<(String, Value)> {
        let mut body = json!({ "one_time_keys": {} });
        body["one_time_keys"][&user.id] = json!({ (&user.device): "signed_curve25519" });
        let answer = self.post("/keys/claim", body).await.ok();
        let key = answer["one_time_keys"][&user.id][&user.device].as_object()?.iter().next()?;
        Some((key.0.clone(), key.1.clone()))
    }
}

/// One-time keys with these IDs, by `<algorithm>:<ID>`.
pub(crate) fn one_time_keys(user: &User, key: &Key, ids: &[String]) -> Value {
    let keys = ids.iter().map(|id| {
        let mut one = json!({ "key": Key::new().public() });
        key.sign(&mut one, &user.id, &user.device);
        (format!("signed_curve25519:{id}"), one)
    });
    Value::Object(keys.collect())
}

fn ids(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("AAAA{number:03}")).collect()
}

async fn device_keys_are_shown_to_others(server: Server) {
    let (alice, bob) = server.pair().await;
    let keys = alice.publishes_keys(&Key::new()).await;
    // Nothing changes by doing it again.
    alice.uploads("device_keys", keys.clone()).await.ok();
    let answer = bob.asks_for_keys_of(&alice).await;
    let mut shown = answer["device_keys"][&alice.id][&alice.device].clone();
    shown.as_object_mut().expect("keys are an object").remove("unsigned");
    assert_eq!(shown, keys);
    assert_eq!(answer["failures"], json!({}));
}

async fn the_name_of_a_device_is_shown_with_its_keys(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.publishes_keys(&Key::new()).await;
    alice.put(path!("/devices/{}", alice.device), json!({ "display_name": "Phone" })).await.ok();
    let answer = bob.asks_for_keys_of(&alice).await;
    let device = &answer["device_keys"][&alice.id][&alice.device];
    assert_eq!(device["unsigned"]["device_display_name"], "Phone");
}

async fn keys_of_one_device_are_asked_for(server: Server) {
    let (alice, bob) = server.pair().await;
    let phone = alice.logs_in().await;
    alice.publishes_keys(&Key::new()).await;
    phone.publishes_keys(&Key::new()).await;
    let mut body = json!({ "device_keys": {} });
    body["device_keys"][&alice.id] = json!([phone.device]);
    let answer = bob.post("/keys/query", body).await.ok();
    let devices = answer["device_keys"][&alice.id].as_object().expect("devices are told");
    assert_eq!(devices.keys().collect::<Vec<_>>(), [&phone.device]);
}

async fn users_without_keys_are_no_failure(server: Server) {
    let (alice, bob) = server.pair().await;
    let answer = alice.asks_for_keys_of(&bob).await;
    assert_eq!(answer["failures"], json!({}));
    assert_eq!(answer["device_keys"][&bob.id], json!({}));
}

async fn keys_of_another_device_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let keys = crypto::device_keys(&phone, &Key::new());
    let answer = alice.uploads("device_keys", keys).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn keys_of_another_user_are_refused(server: Server) {
    let (alice, bob) = server.pair().await;
    let mut keys = crypto::device_keys(&alice, &Key::new());
    keys["user_id"] = json!(bob.id);
    let answer = alice.uploads("device_keys", keys).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn device_keys_without_signatures_are_refused(server: Server) {
    let alice = server.user("alice").await;
    for field in ["algorithms", "keys", "signatures", "user_id", "device_id"] {
        let mut keys = crypto::device_keys(&alice, &Key::new());
        keys.as_object_mut().expect("keys are an object").remove(field);
        alice.uploads("device_keys", keys).await.refused(400, "M_BAD_JSON");
    }
}

async fn device_ids_that_are_no_list_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let mut body = json!({ "device_keys": {} });
    body["device_keys"][&alice.id] = json!({ "device_id": alice.device });
    let answer = alice.post("/keys/query", body).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn one_time_keys_are_counted(server: Server) {
    let alice = server.user("alice").await;
    let empty = alice.post("/keys/upload", json!({})).await.ok();
    assert_eq!(empty["one_time_key_counts"]["signed_curve25519"].as_u64().unwrap_or(0), 0);
    let keys = one_time_keys(&alice, &Key::new(), &ids(0..3));
    let answer = alice.uploads("one_time_keys", keys).await.ok();
    assert_eq!(answer["one_time_key_counts"]["signed_curve25519"], 3);
    let again = alice.post("/keys/upload", json!({})).await.ok();
    assert_eq!(again["one_time_key_counts"]["signed_curve25519"], 3);
}

async fn the_same_one_time_key_counts_once(server: Server) {
    let alice = server.user("alice").await;
    let keys = one_time_keys(&alice, &Key::new(), &ids(0..2));
    alice.uploads("one_time_keys", keys.clone()).await.ok();
    let answer = alice.uploads("one_time_keys", keys).await.ok();
    assert_eq!(answer["one_time_key_counts"]["signed_curve25519"], 2);
}

async fn another_key_under_a_known_id_is_refused(server: Server) {
    let (alice, bob) = server.pair().await;
    let first = one_time_keys(&alice, &Key::new(), &ids(0..1));
    alice.uploads("one_time_keys", first.clone()).await.ok();
    // All or none.
    let more = one_time_keys(&alice, &Key::new(), &ids(0..3));
    let answer = alice.uploads("one_time_keys", more).await;
    assert_eq!(answer.status, 400, "{answer}");
    assert!(answer.body.text("/error").contains("already exists"), "{answer}");
    let (name, key) = bob.claims(&alice).await.expect("the first is there");
    assert_eq!(key["key"], first[&name]["key"]);
    assert!(bob.claims(&alice).await.is_none());
}

async fn one_time_keys_are_claimed_in_order_and_once(server: Server) {
    let (alice, bob) = server.pair().await;
    let key = Key::new();
    // The order is that of uploads, not of names.
    for id in ["C", "A", "B"] {
        let keys = one_time_keys(&alice, &key, &[id.to_owned()]);
        alice.uploads("one_time_keys", keys.clone()).await.ok();
    }
    for id in ["C", "A", "B"] {
        let (name, given) = bob.claims(&alice).await.expect("a key is left");
        assert_eq!(name, format!("signed_curve25519:{id}"));
        assert!(given["signatures"][&alice.id].is_object(), "{given}");
    }
    assert!(bob.claims(&alice).await.is_none());
}

async fn a_race_for_keys_gives_each_once(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.uploads("one_time_keys", one_time_keys(&alice, &Key::new(), &ids(0..12))).await.ok();
    let claims = futures::future::join_all((0..20).map(|_| bob.claims(&alice))).await;
    let given: Vec<String> = claims.into_iter().flatten().map(|(name, _)| name).collect();
    assert_eq!(given.len(), 12, "{given:?}");
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 12, "{given:?}");
}

async fn a_fallback_key_is_given_when_no_other_is_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let key = Key::new();
    let mut fallback = json!({ "key": Key::new().public(), "fallback": true });
    key.sign(&mut fallback, &alice.id, &alice.device);
    let fallback = json!({ "signed_curve25519:FALL": fallback });
    alice.uploads("one_time_keys", one_time_keys(&alice, &key, &ids(0..1))).await.ok();
    alice.uploads("fallback_keys", fallback.clone()).await.ok();
    let unused = |answer: &Value| answer["device_unused_fallback_key_types"] == json!(["signed_curve25519"]);
    let first = || async { alice.syncs().await.ok() };
    let token = eventually("the fallback key", first, unused).await;
    assert_eq!(bob.claims(&alice).await.expect("a key is left").0, "signed_curve25519:AAAA000");
    for _ in 0..2 {
        let (name, given) = bob.claims(&alice).await.expect("the fallback key stays");
        assert_eq!((name.as_str(), &given["fallback"]), ("signed_curve25519:FALL", &json!(true)));
    }
    let is_used = |answer: &Value| answer["device_unused_fallback_key_types"] == json!([]);
    let answer = alice.syncs_until(&token.text("/next_batch"), "the used fallback key", is_used).await;
    // The same one is still a used one, another one is not.
    alice.uploads("fallback_keys", fallback).await.ok();
    assert!(is_used(&alice.syncs().await.ok()));
    let mut other = json!({ "key": Key::new().public(), "fallback": true });
    key.sign(&mut other, &alice.id, &alice.device);
    alice.uploads("fallback_keys", json!({ "signed_curve25519:NEW": other })).await.ok();
    alice.syncs_until(&answer.text("/next_batch"), "another fallback key", unused).await;
    assert_eq!(bob.claims(&alice).await.expect("the new one").0, "signed_curve25519:NEW");
}

async fn an_unknown_device_has_no_key(server: Server) {
    let (alice, bob) = server.pair().await;
    let mut body = json!({ "one_time_keys": {} });
    body["one_time_keys"][&alice.id] = json!({ "UNKNOWN": "signed_curve25519" });
    body["one_time_keys"][server.nobody()] = json!({ "UNKNOWN": "signed_curve25519" });
    let answer = bob.post("/keys/claim", body).await.ok();
    assert_eq!(answer["one_time_keys"], json!({}));
}

async fn a_deleted_device_has_no_keys(server: Server) {
    let (alice, bob) = server.pair().await;
    let phone = alice.logs_in().await;
    let key = Key::new();
    phone.publishes_keys(&key).await;
    phone.uploads("one_time_keys", one_time_keys(&phone, &key, &ids(0..2))).await.ok();
    phone.post("/logout", json!({})).await.ok();
    let answer = bob.asks_for_keys_of(&alice).await;
    assert!(!answer["device_keys"][&alice.id].has(&format!("/{}", phone.device)), "{answer}");
    assert!(bob.claims(&phone).await.is_none());
}

async fn sync_tells_what_is_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let count = |answer: &Value| answer["device_one_time_keys_count"]["signed_curve25519"].as_u64();
    let token = alice.sync_token().await;
    alice.uploads("one_time_keys", one_time_keys(&alice, &Key::new(), &ids(0..2))).await.ok();
    let answer = alice.syncs_until(&token, "uploaded keys", |answer| count(answer) == Some(2)).await;
    assert_eq!(answer["device_unused_fallback_key_types"], json!([]));
    let token = answer.text("/next_batch");
    // Who waits is told at once.
    let told = async {
        let wait = async |token: &str| alice.syncs_since(token).query("timeout", 20_000).await.ok();
        let answer = wait(&token).await;
        // Keys may be counted before /sync hears of their upload by the log; then that is told once more.
        if count(&answer) == Some(2) { wait(&answer.text("/next_batch")).await } else { answer }
    };
    let (answer, claimed) = tokio::join!(told, bob.claims(&alice));
    assert!(claimed.is_some());
    assert_eq!(count(&answer), Some(1), "{answer}");
    // None is told as 0.
    bob.claims(&alice).await.expect("a key is left");
    alice.syncs_until(&answer.text("/next_batch"), "the last key", |answer| count(answer) == Some(0)).await;
}

async fn hostile_bodies_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let good = crypto::device_keys(&alice, &Key::new());
    let id = |algorithm: &str| format!("{algorithm}:{}", alice.device);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut keys = good.clone();
        change(&mut keys);
        json!({ "device_keys": keys })
    };
    for body in [
        with(&|keys| keys["keys"] = json!([])),
        with(&|keys| keys["algorithms"] = json!("all")),
        with(&|keys| keys["keys"][id("ed25519")] = json!(7)),
        with(&|keys| keys["signatures"] = json!([])),
        json!({ "one_time_keys": [] }),
        json!({ "one_time_keys": { "signed_curve25519:A": 7 } }),
        json!({ "one_time_keys": { "signed_curve25519:A": { "signatures": {} } } }),
        json!({ "fallback_keys": 7 }),
        json!({ "fallback_keys": { "signed_curve25519:A": [] } }),
    ] {
        let answer = alice.post("/keys/upload", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {answer}");
    }
    for body in [json!({ "device_keys": [] }), json!({ "device_keys": { (&alice.id): "all" } })] {
        let answer = alice.post("/keys/query", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {answer}");
    }
    for body in [
        json!({ "one_time_keys": [] }),
        json!({ "one_time_keys": { (&alice.id): [] } }),
        json!({ "one_time_keys": { (&alice.id): { "X": 7 } } }),
    ] {
        let answer = alice.post("/keys/claim", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {answer}");
    }
}
