//! [Filters](https://spec.matrix.org/v1.19/client-server-api/#filtering) of `/sync`: the fields of room event filters.

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wire::Json as _,
};

tests![
    senders_are_left_out,
    types_are_left_out,
    types_have_wildcards,
    what_is_left_out_wins,
    events_with_links_are_chosen,
    a_timeline_is_left_out_by_room,
    state_is_left_out_by_room,
    ephemeral_events_are_left_out_by_type_and_by_room,
    account_data_of_rooms_is_left_out_by_type_and_by_room,
    events_that_are_left_out_do_not_count,
];

/// Says something as alice, as bob, and links to something as bob.
async fn talk(alice: &User, bob: &User) -> (Room, String, [String; 3]) {
    let room = alice.creates_room().member(bob).await;
    let since = alice.sync_token().await;
    let first = alice.says(&room, "from alice").await;
    let second = bob.says(&room, "from bob").await;
    let image = json!({ "msgtype": "m.image", "body": "tea", "url": "mxc://example.org/tea" });
    let third = bob.sends(&room, "m.room.message", image).await.ok().text("/event_id");
    alice.hears(&since, &room, &third).await;
    (room, since, [first, second, third])
}

/// The messages that a timeline tells where a filter is for it.
async fn messages(alice: &User, room: &Room, since: &str, timeline: Value) -> Vec<String> {
    let filter = json!({ "room": { "timeline": timeline } });
    let answer = alice.syncs_since(since).query("filter", filter).await.ok();
    let timeline = sync::timeline(&answer, room);
    let messages = timeline.iter().filter(|event| event["type"] == "m.room.message");
    messages.map(|event| event.text("/event_id")).collect()
}

async fn senders_are_left_out(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, since, [first, ..]) = talk(&alice, &bob).await;
    assert_eq!(messages(&alice, &room, &since, json!({ "not_senders": [bob.id] })).await, [first]);
}

async fn types_are_left_out(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, since, _) = talk(&alice, &bob).await;
    let found = messages(&alice, &room, &since, json!({ "not_types": ["m.room.message"] })).await;
    assert!(found.is_empty(), "{found:?}");
}

async fn types_have_wildcards(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, since, all) = talk(&alice, &bob).await;
    assert_eq!(messages(&alice, &room, &since, json!({ "types": ["m.room.*"] })).await, all);
    assert!(messages(&alice, &room, &since, json!({ "types": ["m.call.*"] })).await.is_empty());
    assert!(messages(&alice, &room, &since, json!({ "not_types": ["m.*"] })).await.is_empty());
}

async fn what_is_left_out_wins(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, since, [first, ..]) = talk(&alice, &bob).await;
    let both = json!({ "senders": [alice.id, bob.id], "not_senders": [bob.id] });
    assert_eq!(messages(&alice, &room, &since, both).await, [first]);
    let both = json!({ "types": ["m.room.message"], "not_types": ["m.room.message"] });
    assert!(messages(&alice, &room, &since, both).await.is_empty());
}

async fn events_with_links_are_chosen(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, since, [first, second, third]) = talk(&alice, &bob).await;
    assert_eq!(messages(&alice, &room, &since, json!({ "contains_url": true })).await, [third]);
    assert_eq!(messages(&alice, &room, &since, json!({ "contains_url": false })).await, [first, second]);
}

async fn a_timeline_is_left_out_by_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, since, all) = talk(&alice, &bob).await;
    assert!(messages(&alice, &room, &since, json!({ "not_rooms": [room.0] })).await.is_empty());
    assert!(messages(&alice, &room, &since, json!({ "rooms": [server.nowhere().0] })).await.is_empty());
    assert_eq!(messages(&alice, &room, &since, json!({ "rooms": [room.0] })).await, all);
}

async fn state_is_left_out_by_room(server: Server) {
    let alice = server.user("alice").await;
    let (one, two) = (alice.creates_room().await, alice.creates_room().await);
    let filter = json!({ "room": { "timeline": { "limit": 1 }, "state": { "not_rooms": [one.0] } } });
    let answer = alice.syncs().query("filter", filter).await.ok();
    assert!(sync::state(&answer, &one).is_empty(), "{answer}");
    assert!(!sync::state(&answer, &two).is_empty(), "{answer}");
}

async fn ephemeral_events_are_left_out_by_type_and_by_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    let event = alice.says(&room, "hello").await;
    bob.post(path!("/rooms/{}/receipt/m.read/{}", room, event), json!({})).await.ok();
    let ephemeral = |answer: &Value| {
        let section = sync::section(answer, "join", &room).cloned().unwrap_or_default();
        section["ephemeral"]["events"].as_array().cloned().unwrap_or_default()
    };
    let has_receipt = |answer: &Value| ephemeral(answer).iter().any(|event| event["type"] == "m.receipt");
    alice.syncs_until(&since, "the receipt", has_receipt).await;
    for (filter, expected) in [
        (json!({ "types": ["m.receipt"] }), true),
        (json!({ "types": ["m.typing"] }), false),
        (json!({ "not_types": ["m.receipt"] }), false),
        (json!({ "not_rooms": [room.0] }), false),
    ] {
        let wanted = json!({ "room": { "ephemeral": filter } });
        let answer = alice.syncs().query("filter", &wanted).await.ok();
        assert_eq!(has_receipt(&answer), expected, "{filter}: {answer}");
    }
}

async fn account_data_of_rooms_is_left_out_by_type_and_by_room(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/user/{}/rooms/{}/account_data/org.example.tea", alice.id, room);
    alice.put(path, json!({ "hot": true })).await.ok();
    for (filter, expected) in [
        (json!({}), true),
        (json!({ "types": ["org.example.*"] }), true),
        (json!({ "not_types": ["org.example.tea"] }), false),
        (json!({ "not_rooms": [room.0] }), false),
    ] {
        let wanted = json!({ "room": { "account_data": filter } });
        let answer = alice.syncs().query("filter", &wanted).await.ok();
        let section = sync::section(&answer, "join", &room).cloned().unwrap_or_default();
        let data = section["account_data"]["events"].as_array().cloned().unwrap_or_default();
        let found = data.iter().any(|event| event["type"] == "org.example.tea");
        assert_eq!(found, expected, "{filter}: {answer}");
    }
}

async fn events_that_are_left_out_do_not_count(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, since, [first, ..]) = talk(&alice, &bob).await;
    for _ in 0..4 {
        bob.says(&room, "more").await;
    }
    let last = bob.says(&room, "last").await;
    alice.hears(&since, &room, &last).await;
    let filter = json!({ "limit": 1, "senders": [alice.id], "types": ["m.room.message"] });
    assert_eq!(messages(&alice, &room, &since, filter).await, [first]);
}
