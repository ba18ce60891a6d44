//! What sliding sync tells for encryption: [messages](https://github.com/matrix-org/matrix-spec-proposals/pull/3885) to
//! the device, and [keys](https://github.com/matrix-org/matrix-spec-proposals/pull/3884).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::asks::{Connection, PATH, all, room_of};
use crate::{
    actor::User,
    client_server::keys::{crypto::Key, one_time_keys},
    server::Server,
    wait::eventually,
    wire::Json as _,
};

tests![
    messages_are_told_until_a_later_token_is_presented,
    messages_need_no_position_and_take_none,
    a_message_ends_the_wait,
    many_messages_come_in_order_and_at_once,
    messages_of_another_device_are_not_told,
    a_token_that_was_never_given_is_refused,
    what_the_device_has_left_is_in_every_answer,
    new_counts_end_the_wait,
    changed_keys_are_told_and_end_the_wait,
    who_begins_is_told_of_no_device_lists,
    extensions_that_are_not_wanted_are_not_told,
];

/// As clients do for encryption: a connection without rooms.
fn wants(since: Option<&str>) -> Value {
    let mut body = json!({ "conn_id": "encryption", "extensions": {
        "to_device": { "enabled": true, "limit": 100 }, "e2ee": { "enabled": true },
    } });
    if let Some(since) = since {
        body["extensions"]["to_device"]["since"] = json!(since);
    }
    body
}

/// Contents of the messages of an answer.
fn told(answer: &Value) -> Vec<Value> {
    let events = answer["extensions"]["to_device"]["events"].as_array();
    events.into_iter().flatten().map(|event| event["content"].clone()).collect()
}

fn next(answer: &Value) -> String {
    answer.text("/extensions/to_device/next_batch")
}

async fn asks(user: &User, since: Option<&str>) -> Value {
    user.post(PATH, wants(since)).await.ok()
}

fn numbers(numbers: std::ops::Range<u64>) -> Vec<Value> {
    numbers.map(|number| json!({ "number": number })).collect()
}

async fn sends(sender: &User, device: &User, numbers: std::ops::Range<u64>) {
    for number in numbers {
        sender.sends_to(device, &format!("m{number}"), json!({ "number": number })).await.ok();
    }
}

async fn messages_are_told_until_a_later_token_is_presented(server: Server) {
    let (alice, bob) = server.pair().await;
    let start = next(&asks(&bob, None).await);
    sends(&alice, &bob, 0..1).await;
    let arrive = |answer: &Value| !told(answer).is_empty();
    let first = eventually("the message", || asks(&bob, Some(&start)), arrive).await;
    let message = &first["extensions"]["to_device"]["events"][0];
    assert_eq!((&message["sender"], &message["type"]), (&json!(alice.id), &json!("org.example.test")));
    for since in [Some(start.as_str()), None] {
        assert_eq!(told(&asks(&bob, since).await), numbers(0..1), "nobody has said that it has arrived");
    }
    assert_eq!(told(&asks(&bob, Some(&next(&first))).await), numbers(0..0));
}

async fn messages_need_no_position_and_take_none(server: Server) {
    let (alice, bob) = server.pair().await;
    sends(&alice, &bob, 0..1).await;
    let arrive = |answer: &Value| !told(answer).is_empty();
    let first = eventually("the message", || asks(&bob, None), arrive).await;
    // The position goes on, and the token does not.
    let body = wants(None);
    let again = bob.post(PATH, body).query("pos", first.text("/pos")).await.ok();
    assert_eq!(told(&again), numbers(0..1), "{again}");
}

async fn a_message_ends_the_wait(server: Server) {
    let (alice, bob) = server.pair().await;
    let mut connection = Connection::new(&bob);
    let first = connection.asks(&wants(None), 0).await;
    let body = wants(Some(&next(&first)));
    let begun = Instant::now();
    let (answer, ()) = tokio::join!(connection.asks(&body, 30_000), sends(&alice, &bob, 0..1));
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited");
    assert_eq!(told(&answer), numbers(0..1), "{answer}");
}

async fn many_messages_come_in_order_and_at_once(server: Server) {
    let (alice, bob) = server.pair().await;
    let mut connection = Connection::new(&bob);
    let first = connection.asks(&wants(None), 0).await;
    sends(&alice, &bob, 0..7).await;
    let begun = Instant::now();
    let (mut since, mut got) = (next(&first), Vec::new());
    while got.len() < 7 {
        let mut body = wants(Some(&since));
        body["extensions"]["to_device"]["limit"] = json!(3);
        let answer = connection.asks(&body, 30_000).await;
        assert!(told(&answer).len() <= 3, "{answer}");
        got.extend(told(&answer));
        since = next(&answer);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited");
    assert_eq!(got, numbers(0..7));
}

async fn messages_of_another_device_are_not_told(server: Server) {
    let (alice, bob) = server.pair().await;
    let phone = bob.logs_in().await;
    sends(&alice, &phone, 0..1).await;
    let arrive = |answer: &Value| !told(answer).is_empty();
    eventually("the message", || asks(&phone, None), arrive).await;
    assert_eq!(told(&asks(&bob, None).await), numbers(0..0));
}

async fn a_token_that_was_never_given_is_refused(server: Server) {
    let alice = server.user("alice").await;
    alice.post(PATH, wants(Some("nonsense"))).await.refused(400, "M_INVALID_PARAM");
}

/// How many one-time keys an answer says that the device has left.
fn left(answer: &Value) -> Option<u64> {
    answer["extensions"]["e2ee"]["device_one_time_keys_count"]["signed_curve25519"].as_u64()
}

async fn what_the_device_has_left_is_in_every_answer(server: Server) {
    let alice = server.user("alice").await;
    let key = Key::new();
    alice.publishes_keys(&key).await;
    let ids = ["AAAA".to_owned(), "AAAB".to_owned()];
    alice.uploads("one_time_keys", one_time_keys(&alice, &key, &ids)).await.ok();
    alice.uploads("fallback_keys", one_time_keys(&alice, &key, &["AAAC".to_owned()])).await.ok();
    let mut connection = Connection::new(&alice);
    let fallback = |answer: &Value| {
        answer["extensions"]["e2ee"]["device_unused_fallback_key_types"] == json!(["signed_curve25519"])
    };
    let is_told = |answer: &Value| left(answer) == Some(2) && fallback(answer);
    connection.begins("both keys", &wants(None), is_told).await;
    let answer = connection.asks(&wants(None), 0).await;
    assert!(is_told(&answer), "{answer}");
}

async fn new_counts_end_the_wait(server: Server) {
    let alice = server.user("alice").await;
    let key = Key::new();
    alice.publishes_keys(&key).await;
    let mut connection = Connection::new(&alice);
    let since = next(&connection.asks(&wants(None), 0).await);
    let uploaded = one_time_keys(&alice, &key, &["AAAA".to_owned()]);
    let begun = Instant::now();
    let uploads = async { alice.uploads("one_time_keys", uploaded).await.ok() };
    let body = wants(Some(&since));
    let told = connection.until("the count", &body, |answer| left(answer) == Some(1));
    tokio::join!(told, uploads);
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited");
}

async fn changed_keys_are_told_and_end_the_wait(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let mut connection = Connection::new(&bob);
    let mut body = all(1, 1, &json!([]));
    body["extensions"] = json!({ "e2ee": { "enabled": true } });
    connection.begins("the room", &body, |answer| room_of(answer, &room).is_some()).await;
    alice.publishes_keys(&Key::new()).await;
    let has_changed = |answer: &Value| {
        let changed = answer["extensions"]["e2ee"]["device_lists"]["changed"].as_array();
        changed.is_some_and(|changed| changed.contains(&json!(alice.id)))
    };
    connection.until("changed keys", &body, has_changed).await;
    let answer = connection.asks(&body, 0).await;
    assert!(!has_changed(&answer), "{answer}");
}

async fn who_begins_is_told_of_no_device_lists(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.creates_room().member(&bob).await;
    alice.publishes_keys(&Key::new()).await;
    let answer = asks(&bob, None).await;
    let changed = &answer["extensions"]["e2ee"]["device_lists"]["changed"];
    assert!(changed.as_array().is_none_or(Vec::is_empty), "{answer}");
}

async fn extensions_that_are_not_wanted_are_not_told(server: Server) {
    let alice = server.user("alice").await;
    let body = json!({ "extensions": { "to_device": { "enabled": false }, "receipts": {} } });
    let answer = alice.post(PATH, body).await.ok();
    let extensions = &answer["extensions"];
    assert!(extensions.get("to_device").is_none() && extensions.get("e2ee").is_none(), "{answer}");
    assert!(extensions.get("receipts").is_none(), "{answer}");
}
