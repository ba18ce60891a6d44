//! [Send-to-device messaging](https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging)

use serde_json::{Value, json};

use crate::{
    actor::User,
    server::Server,
    wait::eventually,
    wire::{Json as _, Request},
};

tests![
    a_message_arrives_once,
    a_message_arrives_again_until_a_later_token_is_presented,
    a_first_sync_tells_what_waits,
    a_message_ends_the_wait_of_a_sync,
    many_messages_arrive_in_order_and_at_once,
    a_repeat_of_a_transaction_is_sent_once,
    another_path_is_another_transaction,
    another_device_has_transactions_of_its_own,
    a_star_reaches_all_devices,
    each_device_gets_its_own_message,
    unknown_users_and_devices_are_skipped,
    a_message_reaches_one_of_the_users_own_devices,
    a_device_that_is_gone_leaves_nothing_behind,
    nobody_else_is_told,
    a_message_that_is_not_an_object_is_refused,
    absent_messages_are_refused,
    messages_that_are_no_object_are_refused,
];

const TYPE: &str = "org.example.test";

impl User {
    /// `PUT /sendToDevice/{eventType}/{txnId}`
    fn sends_to_devices(&self, txn: &str, messages: Value) -> Request {
        self.put(path!("/sendToDevice/{}/{}", TYPE, txn), json!({ "messages": messages }))
    }

    /// Sends one message to a device.
    pub(super) fn sends_to(&self, device: &User, txn: &str, content: Value) -> Request {
        self.sends_to_devices(txn, json!({ &device.id: { &device.device: content } }))
    }
}

/// Messages of an answer to `/sync`.
fn messages(answer: &Value) -> Vec<Value> {
    let events = answer.get("to_device").and_then(|section| section["events"].as_array());
    events.into_iter().flatten().filter(|event| event["type"] == TYPE).cloned().collect()
}

fn has_messages(answer: &Value) -> bool {
    !messages(answer).is_empty()
}

/// Contents of the messages of an answer.
fn contents(answer: &Value) -> Vec<Value> {
    messages(answer).into_iter().map(|message| message["content"].clone()).collect()
}

/// Syncs on until there are messages; returns the answer.
async fn waits(user: &User, since: &str) -> Value {
    user.syncs_until(since, "messages", has_messages).await
}

/// Says that something is the last message: whatever was sent before has arrived by then.
async fn ends(sender: &User, device: &User, since: &str) -> Vec<Value> {
    sender.sends_to(device, "end", json!({ "end": true })).await.ok();
    let mut found = Vec::new();
    let mut since = since.to_owned();
    loop {
        let answer = waits(device, &since).await;
        found.extend(contents(&answer));
        if found.last().is_some_and(|content| content["end"] == true) {
            found.pop();
            return found;
        }
        since = answer.text("/next_batch");
    }
}

async fn a_message_arrives_once(server: Server) {
    let (alice, bob) = server.pair().await;
    let since = bob.sync_token().await;
    let answer = alice.sends_to(&bob, "1", json!({ "a": [1, { "b": null }] })).await.ok();
    assert_eq!(answer, json!({}));
    let answer = waits(&bob, &since).await;
    let wanted = json!({ "sender": alice.id, "type": TYPE, "content": { "a": [1, { "b": null }] } });
    assert_eq!(messages(&answer), [wanted]);
    assert_eq!(ends(&alice, &bob, &answer.text("/next_batch")).await, [json!(null); 0]);
}

async fn a_message_arrives_again_until_a_later_token_is_presented(server: Server) {
    let (alice, bob) = server.pair().await;
    let since = bob.sync_token().await;
    alice.sends_to(&bob, "1", json!({ "n": 1 })).await.ok();
    let first = waits(&bob, &since).await;
    let again = waits(&bob, &since).await;
    assert_eq!(contents(&first), contents(&again));
    let rest = bob.syncs_since(&again.text("/next_batch")).await.ok();
    assert_eq!(contents(&rest), [json!(null); 0]);
}

async fn a_first_sync_tells_what_waits(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.sends_to(&bob, "1", json!({ "n": 1 })).await.ok();
    let first = eventually("the message", || async { bob.syncs().await.ok() }, has_messages).await;
    assert_eq!(contents(&first), [json!({ "n": 1 })]);
}

async fn a_message_ends_the_wait_of_a_sync(server: Server) {
    let (alice, bob) = server.pair().await;
    let since = bob.sync_token().await;
    // Whatever else there is to tell is told.
    let since = bob.syncs_since(&since).await.ok().text("/next_batch");
    let waiting = async { bob.syncs_since(&since).query("timeout", 60_000).await };
    let (answer, _) =
        futures::join!(waiting, async { alice.sends_to(&bob, "1", json!({ "n": 1 })).await.ok() });
    assert_eq!(contents(&answer.ok()), [json!({ "n": 1 })]);
}

async fn many_messages_arrive_in_order_and_at_once(server: Server) {
    let (alice, bob) = server.pair().await;
    let mut since = bob.sync_token().await;
    let wanted: Vec<Value> = (0..120).map(|number| json!({ "n": number })).collect();
    for (number, content) in wanted.iter().enumerate() {
        alice.sends_to(&bob, &number.to_string(), content.clone()).await.ok();
    }
    let mut found = waits(&bob, &since).await;
    let mut all = Vec::new();
    while all.len() < wanted.len() {
        let page = contents(&found);
        assert!(!page.is_empty(), "the rest waits, but the answer has none: {found}");
        all.extend(page);
        since = found.text("/next_batch");
        if all.len() < wanted.len() {
            found = bob.syncs_since(&since).query("timeout", 10_000).await.ok();
        }
    }
    assert_eq!(all, wanted);
}

async fn a_repeat_of_a_transaction_is_sent_once(server: Server) {
    let (alice, bob) = server.pair().await;
    let since = bob.sync_token().await;
    for _ in 0..3 {
        assert_eq!(alice.sends_to(&bob, "1", json!({ "n": 1 })).await.ok(), json!({}));
    }
    assert_eq!(ends(&alice, &bob, &since).await, [json!({ "n": 1 })]);
}

async fn another_path_is_another_transaction(server: Server) {
    let (alice, bob) = server.pair().await;
    let since = bob.sync_token().await;
    alice.sends_to(&bob, "1", json!({ "n": 1 })).await.ok();
    alice.sends_to(&bob, "2", json!({ "n": 2 })).await.ok();
    let body = json!({ "messages": { &bob.id: { &bob.device: {} } } });
    alice.put("/sendToDevice/org.example.other/1", body).await.ok();
    let is_other = |event: &&Value| event["type"] == "org.example.other";
    let answer = bob
        .syncs_until(&since, "the other message", |answer| {
            answer["to_device"]["events"].as_array().into_iter().flatten().any(|event| is_other(&event))
        })
        .await;
    assert_eq!(answer.list("/to_device/events").iter().filter(is_other).count(), 1);
}

async fn another_device_has_transactions_of_its_own(server: Server) {
    let (alice, bob) = server.pair().await;
    let since = bob.sync_token().await;
    let tablet = alice.logs_in().await;
    alice.sends_to(&bob, "1", json!({ "n": 1 })).await.ok();
    tablet.sends_to(&bob, "1", json!({ "n": 2 })).await.ok();
    assert_eq!(ends(&alice, &bob, &since).await, [json!({ "n": 1 }), json!({ "n": 2 })]);
}

async fn a_star_reaches_all_devices(server: Server) {
    let (alice, bob) = server.pair().await;
    let tablet = bob.logs_in().await;
    let (of_phone, of_tablet) = (bob.sync_token().await, tablet.sync_token().await);
    alice.sends_to_devices("1", json!({ &bob.id: { "*": { "n": 1 } } })).await.ok();
    assert_eq!(contents(&waits(&bob, &of_phone).await), [json!({ "n": 1 })]);
    assert_eq!(contents(&waits(&tablet, &of_tablet).await), [json!({ "n": 1 })]);
}

async fn each_device_gets_its_own_message(server: Server) {
    let (alice, bob) = server.pair().await;
    let tablet = bob.logs_in().await;
    let (of_phone, of_tablet) = (bob.sync_token().await, tablet.sync_token().await);
    let of_alice = alice.sync_token().await;
    let messages = json!({
        &bob.id: { &bob.device: { "n": 1 }, &tablet.device: { "n": 2 } },
        &alice.id: { &alice.device: { "n": 3 } },
    });
    alice.sends_to_devices("1", messages).await.ok();
    assert_eq!(contents(&waits(&bob, &of_phone).await), [json!({ "n": 1 })]);
    assert_eq!(contents(&waits(&tablet, &of_tablet).await), [json!({ "n": 2 })]);
    assert_eq!(contents(&waits(&alice, &of_alice).await), [json!({ "n": 3 })]);
}

async fn unknown_users_and_devices_are_skipped(server: Server) {
    let (alice, bob) = server.pair().await;
    let since = bob.sync_token().await;
    let messages = json!({
        &bob.id: { &bob.device: { "n": 1 }, "UNKNOWN": { "n": 2 } },
        server.nobody(): { "*": {}, "UNKNOWN": {} },
    });
    alice.sends_to_devices("1", messages).await.ok();
    assert_eq!(ends(&alice, &bob, &since).await, [json!({ "n": 1 })]);
}

async fn a_message_reaches_one_of_the_users_own_devices(server: Server) {
    let alice = server.user("alice").await;
    let tablet = alice.logs_in().await;
    let (of_phone, of_tablet) = (alice.sync_token().await, tablet.sync_token().await);
    alice.sends_to(&tablet, "1", json!({ "n": 1 })).await.ok();
    assert_eq!(contents(&waits(&tablet, &of_tablet).await), [json!({ "n": 1 })]);
    assert_eq!(ends(&tablet, &alice, &of_phone).await, [json!(null); 0]);
}

async fn a_device_that_is_gone_leaves_nothing_behind(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.sends_to(&bob, "1", json!({ "n": 1 })).await.ok();
    bob.post("/logout", json!({})).await.ok();
    let mut login = bob.login();
    login["device_id"] = json!(bob.device);
    let answer = server.anybody().post("/login", login).await.ok();
    let again = server.anybody().with_token(Some(&answer.text("/access_token")));
    let body = json!({ "messages": { &bob.id: { &bob.device: { "n": 2 } } } });
    alice.put(path!("/sendToDevice/{}/2", TYPE), body).await.ok();
    let first = eventually("the message", || async { again.get("/sync").await.ok() }, has_messages).await;
    assert_eq!(contents(&first), [json!({ "n": 2 })]);
}

async fn nobody_else_is_told(server: Server) {
    let (alice, bob) = server.pair().await;
    let (of_alice, of_bob) = (alice.sync_token().await, bob.sync_token().await);
    alice.sends_to(&bob, "1", json!({ "n": 1 })).await.ok();
    assert_eq!(contents(&waits(&bob, &of_bob).await).len(), 1);
    assert_eq!(ends(&bob, &alice, &of_alice).await, [json!(null); 0]);
}

async fn a_message_that_is_not_an_object_is_refused(server: Server) {
    let (alice, bob) = server.pair().await;
    let since = bob.sync_token().await;
    let messages = json!({
        &bob.id: { &bob.device: "text" },
        &alice.id: { &alice.device: { "n": 1 } },
    });
    alice.sends_to_devices("1", messages).await.refused(400, "M_BAD_JSON");
    assert_eq!(ends(&alice, &bob, &since).await, [json!(null); 0]);
}

async fn absent_messages_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.put(path!("/sendToDevice/{}/1", TYPE), json!({})).await;
    answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_MISSING_PARAM")]);
}

async fn messages_that_are_no_object_are_refused(server: Server) {
    let (alice, bob) = server.pair().await;
    for messages in [json!([]), json!("text"), json!({ &bob.id: [] }), json!({ &bob.id: "text" })] {
        let answer = alice.sends_to_devices("1", messages).await;
        answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")]);
    }
}
