//! [Receipts](https://spec.matrix.org/v1.19/client-server-api/#receipts)
//! and [markers](https://spec.matrix.org/v1.19/client-server-api/#fully-read-markers)

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wire::{Json as _, Request},
};

tests![
    a_receipt_is_told_to_the_room,
    the_first_answer_has_receipts,
    a_later_receipt_takes_the_place_of_an_earlier_one,
    a_receipt_does_not_move_back,
    a_private_receipt_is_told_to_its_user_alone,
    a_receipt_of_a_thread_names_it,
    a_receipt_of_the_main_timeline_names_it,
    a_receipt_for_the_room_outshines_that_of_a_thread,
    a_thread_that_is_no_text_is_refused,
    an_empty_thread_is_refused,
    an_event_outside_of_the_thread_is_refused,
    a_marker_has_no_thread,
    an_unknown_type_of_receipt_is_refused,
    who_is_not_in_the_room_sends_no_receipts,
    a_receipt_needs_no_body,
    a_marker_is_account_data,
    a_marker_does_not_move_back,
    a_marker_at_an_unknown_event_is_not_found,
    a_marker_may_be_set_as_a_receipt,
    markers_and_receipts_are_set_together,
    a_private_receipt_is_set_with_markers,
    a_filter_hides_receipts,
    a_marker_that_is_no_text_is_refused,
];

fn reads(user: &User, room: &Room, kind: &str, event: &str) -> Request {
    user.post(path!("/rooms/{}/receipt/{}/{}", room, kind, event), json!({}))
}

/// What the receipts of an answer say: by event, type and user.
fn receipts(answer: &Value, room: &Room) -> Value {
    let events = sync::section(answer, "join", room).and_then(|room| room["ephemeral"]["events"].as_array());
    let mut events = events.into_iter().flatten().filter(|event| event["type"] == "m.receipt");
    events.next().map(|event| event["content"].clone()).unwrap_or_default()
}

fn receipt<'a>(receipts: &'a Value, event: &str, kind: &str, user: &User) -> Option<&'a Value> {
    receipts.get(event)?.get(kind)?.get(&user.id)
}

/// Syncs on until the receipt is told; returns it.
async fn hears_receipt(
    of: &User,
    listener: &User,
    since: &str,
    room: &Room,
    kind: &str,
    event: &str,
) -> Value {
    let find = |answer: &Value| receipt(&receipts(answer, room), event, kind, of).cloned();
    let answer = listener.syncs_until(since, "the receipt", |answer| find(answer).is_some()).await;
    find(&answer).unwrap_or_default()
}

async fn pair_in_room(server: &Server) -> (User, User, Room) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    (alice, bob, room)
}

async fn in_thread(user: &User, room: &Room, root: &str) -> String {
    let relation = json!({ "rel_type": "m.thread", "event_id": root });
    let content = json!({ "msgtype": "m.text", "body": "in the thread", "m.relates_to": relation });
    user.sends(room, "m.room.message", content).await.ok().text("/event_id")
}

async fn a_receipt_is_told_to_the_room(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    let since = alice.sync_token().await;
    assert_eq!(reads(&bob, &room, "m.read", &event).await.ok(), json!({}));
    let receipt = hears_receipt(&bob, &alice, &since, &room, "m.read", &event).await;
    assert!(receipt["ts"].is_u64(), "no time in {receipt}");
    assert_eq!(receipt.get("thread_id"), None);
}

async fn the_first_answer_has_receipts(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    let since = alice.sync_token().await;
    reads(&bob, &room, "m.read", &event).await.ok();
    hears_receipt(&bob, &alice, &since, &room, "m.read", &event).await;
    let answer = alice.syncs().await.ok();
    assert!(receipt(&receipts(&answer, &room), &event, "m.read", &bob).is_some(), "no receipt in {answer}");
}

async fn a_later_receipt_takes_the_place_of_an_earlier_one(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let first = alice.says(&room, "one").await;
    let second = alice.says(&room, "two").await;
    let since = alice.sync_token().await;
    reads(&bob, &room, "m.read", &first).await.ok();
    reads(&bob, &room, "m.read", &second).await.ok();
    hears_receipt(&bob, &alice, &since, &room, "m.read", &second).await;
    let all = receipts(&alice.syncs().await.ok(), &room);
    assert!(receipt(&all, &first, "m.read", &bob).is_none(), "two receipts of one user: {all}");
    assert!(receipt(&all, &second, "m.read", &bob).is_some(), "no receipt in {all}");
}

async fn a_receipt_does_not_move_back(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let first = alice.says(&room, "one").await;
    let second = alice.says(&room, "two").await;
    let since = alice.sync_token().await;
    reads(&bob, &room, "m.read", &second).await.ok();
    hears_receipt(&bob, &alice, &since, &room, "m.read", &second).await;
    reads(&bob, &room, "m.read", &first).await.ok();
    let all = receipts(&alice.syncs().await.ok(), &room);
    assert!(receipt(&all, &second, "m.read", &bob).is_some(), "the receipt went from {all}");
}

async fn a_private_receipt_is_told_to_its_user_alone(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    let since = bob.sync_token().await;
    reads(&bob, &room, "m.read.private", &event).await.ok();
    hears_receipt(&bob, &bob, &since, &room, "m.read.private", &event).await;
    let answer = alice.syncs().await.ok();
    assert!(!answer.to_string().contains("m.read.private"), "somebody else's private receipt: {answer}");
}

async fn a_receipt_of_a_thread_names_it(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let root = alice.says(&room, "root").await;
    let event = in_thread(&alice, &room, &root).await;
    let since = alice.sync_token().await;
    reads(&bob, &room, "m.read", &event).with("thread_id", json!(root)).await.ok();
    let receipt = hears_receipt(&bob, &alice, &since, &room, "m.read", &event).await;
    assert_eq!(receipt["thread_id"], root);
}

async fn a_receipt_of_the_main_timeline_names_it(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    let since = alice.sync_token().await;
    reads(&bob, &room, "m.read", &event).with("thread_id", json!("main")).await.ok();
    let receipt = hears_receipt(&bob, &alice, &since, &room, "m.read", &event).await;
    assert_eq!(receipt["thread_id"], "main");
}

async fn a_receipt_for_the_room_outshines_that_of_a_thread(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    let since = alice.sync_token().await;
    reads(&bob, &room, "m.read", &event).await.ok();
    reads(&bob, &room, "m.read", &event).with("thread_id", json!("main")).await.ok();
    hears_receipt(&bob, &alice, &since, &room, "m.read", &event).await;
    let all = receipts(&alice.syncs().await.ok(), &room);
    let receipt = receipt(&all, &event, "m.read", &bob).expect("there is a receipt");
    assert_eq!(receipt.get("thread_id"), None);
}

async fn a_thread_that_is_no_text_is_refused(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    for thread in [json!(1), json!({}), json!(["main"])] {
        reads(&bob, &room, "m.read", &event).with("thread_id", thread).await.refused(400, "M_INVALID_PARAM");
    }
}

async fn an_empty_thread_is_refused(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    reads(&bob, &room, "m.read", &event).with("thread_id", json!("")).await.refused(400, "M_INVALID_PARAM");
}

async fn an_event_outside_of_the_thread_is_refused(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let root = alice.says(&room, "root").await;
    let inside = in_thread(&alice, &room, &root).await;
    let outside = alice.says(&room, "outside").await;
    for (event, thread) in [(&outside, root.as_str()), (&inside, "main")] {
        let request = reads(&bob, &room, "m.read", event).with("thread_id", json!(thread));
        request.await.refused(400, "M_INVALID_PARAM");
    }
    // The root belongs to both.
    for thread in [root.as_str(), "main"] {
        reads(&bob, &room, "m.read", &root).with("thread_id", json!(thread)).await.ok();
    }
}

async fn a_marker_has_no_thread(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    let request = reads(&bob, &room, "m.fully_read", &event).with("thread_id", json!("main"));
    request.await.refused(400, "M_INVALID_PARAM");
}

async fn an_unknown_type_of_receipt_is_refused(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    let answer = reads(&bob, &room, "org.example.heard", &event).await;
    answer.refused_as(&[(400, "M_INVALID_PARAM"), (400, "M_UNKNOWN")]);
}

async fn who_is_not_in_the_room_sends_no_receipts(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "hello").await;
    reads(&bob, &room, "m.read", &event).await.refused(403, "M_FORBIDDEN");
}

async fn a_receipt_needs_no_body(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    bob.post(path!("/rooms/{}/receipt/m.read/{}", room, event), json!({})).await.ok();
}

fn marks(user: &User, room: &Room, markers: Value) -> Request {
    user.post(path!("/rooms/{}/read_markers", room), markers)
}

async fn marker(user: &User, room: &Room) -> Value {
    user.get(path!("/user/{}/rooms/{}/account_data/m.fully_read", user.id, room)).await.ok()
}

async fn a_marker_is_account_data(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "hello").await;
    let since = alice.sync_token().await;
    assert_eq!(marks(&alice, &room, json!({ "m.fully_read": event })).await.ok(), json!({}));
    assert_eq!(marker(&alice, &room).await, json!({ "event_id": event }));
    let is_told = |answer: &Value| {
        let data =
            sync::section(answer, "join", &room).and_then(|room| room["account_data"]["events"].as_array());
        let mut data = data.into_iter().flatten();
        data.any(|data| data["type"] == "m.fully_read" && data["content"]["event_id"] == event.as_str())
    };
    alice.syncs_until(&since, "the marker", is_told).await;
}

async fn a_marker_does_not_move_back(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let first = alice.says(&room, "one").await;
    let second = alice.says(&room, "two").await;
    marks(&alice, &room, json!({ "m.fully_read": second })).await.ok();
    marks(&alice, &room, json!({ "m.fully_read": first })).await.ok();
    assert_eq!(marker(&alice, &room).await, json!({ "event_id": second }));
}

async fn a_marker_at_an_unknown_event_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let elsewhere = alice.creates_room().await;
    let event = alice.says(&elsewhere, "hello").await;
    let answer = marks(&alice, &room, json!({ "m.fully_read": event })).await;
    // That the event must belong to the room is said; how a request is refused that names another, is not.
    answer.refused_as(&[(404, "M_NOT_FOUND"), (404, "M_UNKNOWN")]);
}

async fn a_marker_may_be_set_as_a_receipt(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "hello").await;
    reads(&alice, &room, "m.fully_read", &event).await.ok();
    assert_eq!(marker(&alice, &room).await, json!({ "event_id": event }));
}

async fn markers_and_receipts_are_set_together(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let first = alice.says(&room, "one").await;
    let second = alice.says(&room, "two").await;
    let since = alice.sync_token().await;
    marks(&bob, &room, json!({ "m.fully_read": first, "m.read": second })).await.ok();
    hears_receipt(&bob, &alice, &since, &room, "m.read", &second).await;
    assert_eq!(marker(&bob, &room).await, json!({ "event_id": first }));
}

async fn a_private_receipt_is_set_with_markers(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    let since = bob.sync_token().await;
    marks(&bob, &room, json!({ "m.read.private": event })).await.ok();
    hears_receipt(&bob, &bob, &since, &room, "m.read.private", &event).await;
}

async fn a_filter_hides_receipts(server: Server) {
    let (alice, bob, room) = pair_in_room(&server).await;
    let event = alice.says(&room, "hello").await;
    let since = alice.sync_token().await;
    reads(&bob, &room, "m.read", &event).await.ok();
    hears_receipt(&bob, &alice, &since, &room, "m.read", &event).await;
    let filter = json!({ "room": { "ephemeral": { "not_types": ["m.receipt"] } } });
    let answer = alice.syncs().query("filter", filter).await.ok();
    assert_eq!(receipts(&answer, &room), Value::Null);
}

async fn a_marker_that_is_no_text_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    for kind in ["m.fully_read", "m.read", "m.read.private"] {
        marks(&alice, &room, json!({ kind: 1 }))
            .await
            .refused_as(&[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")]);
    }
}
