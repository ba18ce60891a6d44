//! Messages to the device, device lists and what the device has left of its keys.

use std::{sync::Arc, time::Duration};

use plexus_matrix_http::token::SyncToken;
use serde_json::{Value, json};

use super::{super::world::Replica, ALICE, BOB, Connection, World, all};

fn messages(since: Option<&str>, limit: u64) -> Value {
    json!({"conn_id": "encryption", "extensions": {"to_device": {"enabled": true, "since": since, "limit": limit}}})
}

fn keys() -> Value {
    json!({"conn_id": "encryption", "extensions": {"e2ee": {"enabled": true}}})
}

async fn send(world: &World, device: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        world.send_to_device(ALICE, device, json!({"number": number})).await;
    }
}

/// Numbers of the messages of an answer.
fn told(answer: &Value) -> Vec<u64> {
    let events = answer["extensions"]["to_device"]["events"].as_array().expect("messages are told");
    events.iter().map(|event| event["content"]["number"].as_u64().unwrap()).collect()
}

fn next(answer: &Value) -> String {
    answer["extensions"]["to_device"]["next_batch"].as_str().expect("a token").to_owned()
}

async fn ask(replica: &Replica, token: &str, pos: Option<&str>, timeout: &str, body: &Value) -> Value {
    let query: Vec<_> = [("timeout", timeout)].into_iter().chain(pos.map(|pos| ("pos", pos))).collect();
    let answer = tokio::time::timeout(Duration::from_secs(20), replica.sliding(token, &query, body)).await;
    let (status, answer) = answer.expect("it does not wait");
    assert_eq!(status, 200, "{answer}");
    answer
}

fn pos(answer: &Value) -> String {
    answer["pos"].as_str().expect("a position").to_owned()
}

#[tokio::test]
async fn messages_come_in_pages_at_once_and_go_once_they_have_arrived() {
    let world = World::new();
    let replicas = [world.replica().await, world.replica().await];
    let token = world.login(ALICE, "D");
    send(&world, "D", 0..250).await;
    send(&world, "OTHER", 0..3).await;
    for replica in &replicas {
        replica.settle(&world).await;
    }
    let mut got = Vec::new();
    let (mut at, mut since) = (None, None);
    for (turn, page) in [100, 100, 50].into_iter().enumerate() {
        // With and without a position: messages do not depend on it.
        let answer = ask(
            &replicas[turn % 2],
            &token,
            at.as_deref().filter(|_| turn != 1),
            "60000",
            &messages(since.as_deref(), 1_000),
        )
        .await;
        assert_eq!(told(&answer).len(), page);
        got.extend(told(&answer));
        (at, since) = (Some(pos(&answer)), Some(next(&answer)));
    }
    assert_eq!(got, (0..250).collect::<Vec<_>>());
    assert_eq!(world.facts.lock().messages.len(), 253, "the last page has not arrived yet");
    let last = since.unwrap();
    let quiet = ask(&replicas[0], &token, at.as_deref(), "0", &messages(Some(&last), 100)).await;
    assert_eq!((told(&quiet), next(&quiet)), (vec![], last));
    world.acknowledged(ALICE, 250).await;
    assert_eq!(world.facts.lock().messages.len(), 3, "what is another device's stays");
}

#[tokio::test]
async fn only_a_token_of_the_device_and_the_generation_says_that_messages_have_arrived() {
    let world = World::new();
    let replica = world.replica().await;
    let (token, other) = (world.login(ALICE, "D"), world.login(ALICE, "E"));
    send(&world, "D", 0..3).await;
    replica.settle(&world).await;
    let first = ask(&replica, &token, None, "0", &messages(None, 2)).await;
    assert_eq!(told(&first), [0, 1]);
    let since: SyncToken = next(&first).parse().unwrap();
    for since in [SyncToken { generation: Some(7), ..since }, SyncToken { inbox: since.inbox + 100, ..since }]
    {
        let answer = ask(&replica, &token, None, "0", &messages(Some(&since.to_string()), 9)).await;
        assert_eq!(told(&answer), [0, 1, 2], "{since}");
    }
    ask(&replica, &other, None, "0", &messages(Some(&next(&first)), 9)).await;
    // Nothing was acknowledged by any of that.
    let again = ask(&replica, &token, None, "0", &messages(Some(""), 9)).await;
    assert_eq!(told(&again), [0, 1, 2]);
    let go_on = ask(&replica, &token, None, "0", &messages(Some(&next(&first)), 9)).await;
    assert_eq!(told(&go_on), [2]);
    world.acknowledged(ALICE, since.inbox).await;
    let (status, refused) = replica.sliding(&token, &[], &messages(Some("nonsense"), 9)).await;
    assert_eq!((status, &refused["errcode"]), (400, &json!("M_INVALID_PARAM")));
    // A token of `/sync` says the same.
    let synced = replica.sync(&world, ALICE, &[]).await;
    let since = synced["next_batch"].as_str().unwrap();
    assert_eq!(told(&ask(&replica, &token, None, "0", &messages(Some(since), 9)).await), [0; 0]);
}

#[tokio::test]
async fn who_waits_is_told_of_messages_keys_and_counts_at_once() {
    let world = World::new();
    let replica = Arc::new(world.replica().await);
    let token = world.login(ALICE, "D");
    world.create("!room:test", ALICE).await;
    world.member("!room:test", BOB, BOB, "join").await;
    replica.settle(&world).await;
    let mut body = keys();
    body["extensions"]["to_device"] = json!({"enabled": true});
    let first = ask(&replica, &token, None, "60000", &body).await;
    let e2ee = &first["extensions"]["e2ee"];
    assert_eq!(e2ee["device_one_time_keys_count"], json!({"signed_curve25519": 0}));
    assert_eq!(e2ee["device_unused_fallback_key_types"], json!([]));
    assert!(e2ee["device_lists"].is_null(), "who begins asks for whatever it needs");
    let mut at = pos(&first);
    for what in ["keys", "counts", "messages"] {
        let waiting = tokio::spawn({
            let (replica, token, body, at) = (Arc::clone(&replica), token.clone(), body.clone(), at.clone());
            async move { ask(&replica, &token, Some(&at), "60000", &body).await }
        });
        replica.waits(ALICE).await;
        // What is not told does not end the wait.
        world.say("!room:test", BOB, "one").await;
        match what {
            "keys" => world.change_keys(BOB).await,
            "counts" => world.count_keys(ALICE, "D", 7).await,
            _ => send(&world, "D", 5..6).await,
        }
        let answer = waiting.await.unwrap();
        let e2ee = &answer["extensions"]["e2ee"];
        let changed = if what == "keys" { json!([BOB]) } else { json!([]) };
        assert_eq!(e2ee["device_lists"], json!({"changed": changed, "left": []}), "{what}");
        let count = if what == "keys" { 0 } else { 7 };
        assert_eq!(e2ee["device_one_time_keys_count"]["signed_curve25519"], count, "{what}");
        assert_eq!(told(&answer).len(), usize::from(what == "messages"), "{what}");
        at = pos(&answer);
    }
}

#[tokio::test]
async fn who_wants_device_lists_late_is_told_all_and_only_then() {
    let world = World::new();
    world.create("!room:test", ALICE).await;
    world.change_keys(BOB).await;
    let replica = world.replica().await;
    let mut connection = Connection::new(&world, &replica);
    connection.ask(&all(1, 1, &[])).await;
    let mut body = all(1, 1, &[]);
    body["extensions"] = json!({"e2ee": {"enabled": true}});
    let lists = |answer: &Value| answer["extensions"]["e2ee"]["device_lists"]["changed"].clone();
    assert_eq!(lists(&connection.ask(&body).await), json!([BOB]));
    let compared = world.facts.lock().compared;
    assert_eq!(lists(&connection.ask(&body).await), json!([]));
    world.say("!room:test", ALICE, "one").await;
    assert_eq!(lists(&connection.ask(&body).await), json!([]));
    assert_eq!(world.facts.lock().compared, compared, "nobody asks where nothing can have changed");
    let before = connection.pos.clone();
    world.change_keys(BOB).await;
    for _ in 0..2 {
        connection.pos.clone_from(&before);
        assert_eq!(lists(&connection.ask(&body).await), json!([BOB]));
    }
    assert_eq!(lists(&connection.ask(&body).await), json!([]));
}
