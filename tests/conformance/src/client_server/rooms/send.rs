//! [`PUT /rooms/{roomId}/send/{eventType}/{txnId}`][spec]
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid

use serde_json::json;

use crate::{server::Server, wire::Json as _};

tests![
    a_sent_event_can_be_read_with_its_fields,
    members_hear_of_it,
    a_repeated_transaction_gives_the_same_event_once,
    another_path_is_another_transaction,
    another_device_has_transactions_of_its_own,
    one_who_is_not_a_member_may_not_send,
    too_little_power_may_not_send,
    an_unknown_room_is_forbidden_or_not_found,
    an_event_that_is_too_large_is_refused,
    a_body_that_is_not_json_is_refused,
    a_body_that_is_not_an_object_is_refused,
];

async fn a_sent_event_can_be_read_with_its_fields(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "hello").await;
    let found = alice.reads_event(&room, &event).await.ok();
    assert_eq!(found["event_id"], event);
    assert_eq!(found["room_id"], room.0);
    assert_eq!(found["sender"], alice.id);
    assert_eq!(found["type"], "m.room.message");
    assert_eq!(found["content"], json!({ "msgtype": "m.text", "body": "hello" }));
    assert!(found["origin_server_ts"].is_u64(), "{found}");
    assert!(!found.has("/state_key"), "{found}");
}

async fn members_hear_of_it(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = bob.sync_token().await;
    let event = alice.says(&room, "hello").await;
    let heard = bob.hears(&since, &room, &event).await;
    assert_eq!(heard["content"]["body"], "hello");
    assert_eq!(heard["sender"], alice.id);
}

async fn a_repeated_transaction_gives_the_same_event_once(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let since = alice.sync_token().await;
    let path = path!("/rooms/{}/send/m.room.message/one", room);
    let content = json!({ "msgtype": "m.text", "body": "once" });
    let first = alice.put(path.clone(), content.clone()).await.ok();
    let second = alice.put(path, content).await.ok();
    assert_eq!(first["event_id"], second["event_id"]);
    let last = alice.says(&room, "last").await;
    alice.hears(&since, &room, &last).await;
    let page = alice.reads_messages(&room).query("limit", 10).await.ok();
    let ids: Vec<_> = page.list("/chunk").iter().map(|event| event.text("/event_id")).collect();
    assert_eq!(ids[..2], [last.clone(), first.text("/event_id")]);
    assert_eq!(ids.iter().filter(|id| first["event_id"] == id.as_str()).count(), 1, "{ids:?}");
}

async fn another_path_is_another_transaction(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let one = alice.put(path!("/rooms/{}/send/org.example.one/t", room), json!({})).await.ok();
    let two = alice.put(path!("/rooms/{}/send/org.example.two/t", room), json!({})).await.ok();
    assert_ne!(one["event_id"], two["event_id"]);
}

async fn another_device_has_transactions_of_its_own(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let room = alice.creates_room().await;
    let path = path!("/rooms/{}/send/m.room.message/t", room);
    let one = alice.put(path.clone(), json!({ "msgtype": "m.text", "body": "one" })).await.ok();
    let two = phone.put(path, json!({ "msgtype": "m.text", "body": "two" })).await.ok();
    assert_ne!(one["event_id"], two["event_id"]);
}

async fn one_who_is_not_a_member_may_not_send(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.sends(&room, "m.room.message", json!({ "msgtype": "m.text", "body": "let me in" }))
        .await
        .refused(403, "M_FORBIDDEN");
}

async fn too_little_power_may_not_send(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.sets_power(&room, "events", "org.example.rare", 50).await;
    bob.sends(&room, "org.example.rare", json!({})).await.refused(403, "M_FORBIDDEN");
    alice.sends(&room, "org.example.rare", json!({})).await.ok();
}

async fn an_unknown_room_is_forbidden_or_not_found(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice
        .sends(&server.nowhere(), "m.room.message", json!({ "msgtype": "m.text", "body": "anybody?" }))
        .await;
    answer.refused_as(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]);
}

async fn an_event_that_is_too_large_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let body = "x".repeat(66_000);
    alice
        .sends(&room, "m.room.message", json!({ "msgtype": "m.text", "body": body }))
        .await
        .refused(413, "M_TOO_LARGE");
}

async fn a_body_that_is_not_json_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    alice.sends(&room, "m.room.message", json!({})).raw("{nonsense").await.refused(400, "M_NOT_JSON");
}

async fn a_body_that_is_not_an_object_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.sends(&room, "m.room.message", json!([1, 2])).await;
    answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]);
}
