//! [`PUT /rooms/{roomId}/redact/{eventId}/{txnId}`][spec]
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid

use serde_json::json;

use crate::{server::Server, wire::Json as _};

tests![
    a_redacted_event_loses_its_content,
    it_says_by_what_it_was_redacted,
    members_hear_of_the_redaction,
    ones_own_event_needs_no_power,
    the_event_of_somebody_else_needs_power,
    one_who_is_not_a_member_cannot_redact,
    a_repeated_transaction_gives_the_same_event,
    a_redacted_event_is_redacted_in_messages,
    a_member_event_keeps_its_membership,
    an_event_of_another_room_is_not_redacted,
];

async fn a_redacted_event_loses_its_content(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "oops").await;
    alice.redacts(&room, &event).await.ok();
    let found = alice.reads_event(&room, &event).await.ok();
    assert_eq!(found["content"], json!({}));
    assert_eq!(found["type"], "m.room.message");
    assert_eq!(found["sender"], alice.id);
}

async fn it_says_by_what_it_was_redacted(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "oops").await;
    let request = alice.redacts(&room, &event).json(json!({ "reason": "typing" }));
    let redaction = request.await.ok().text("/event_id");
    let found = alice.reads_event(&room, &event).await.ok();
    let because = found.at("/unsigned/redacted_because");
    assert_eq!(because["event_id"], redaction);
    assert_eq!(because["sender"], alice.id);
    assert_eq!(because["content"]["reason"], "typing");
}

async fn members_hear_of_the_redaction(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let event = alice.says(&room, "oops").await;
    let since = bob.sync_token().await;
    let redaction = alice.redacts(&room, &event).await.ok().text("/event_id");
    let heard = bob.hears(&since, &room, &redaction).await;
    assert_eq!(heard["type"], "m.room.redaction");
    // Which event: in the content since room version 11, and beside it for all clients.
    assert_eq!(heard["redacts"], event);
    assert_eq!(heard["content"]["redacts"], event);
}

async fn ones_own_event_needs_no_power(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let event = bob.says(&room, "oops").await;
    bob.redacts(&room, &event).await.ok();
    assert_eq!(alice.reads_event(&room, &event).await.ok()["content"], json!({}));
}

async fn the_event_of_somebody_else_needs_power(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let event = alice.says(&room, "mine").await;
    bob.redacts(&room, &event).await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.reads_event(&room, &event).await.ok()["content"]["body"], "mine");
    alice.sets_power(&room, "users", &bob.id, 50).await;
    bob.redacts(&room, &event).await.ok();
    assert_eq!(alice.reads_event(&room, &event).await.ok()["content"], json!({}));
}

async fn one_who_is_not_a_member_cannot_redact(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    let event = alice.says(&room, "mine").await;
    bob.redacts(&room, &event).await.refused(403, "M_FORBIDDEN");
}

async fn a_repeated_transaction_gives_the_same_event(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "oops").await;
    let path = path!("/rooms/{}/redact/{}/one", room, event);
    let first = alice.put(path.clone(), json!({})).await.ok();
    let second = alice.put(path, json!({})).await.ok();
    assert_eq!(first["event_id"], second["event_id"]);
}

async fn a_redacted_event_is_redacted_in_messages(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "oops").await;
    alice.redacts(&room, &event).await.ok();
    let page = alice.reads_messages(&room).await.ok();
    let found = page.list("/chunk").iter().find(|found| found["event_id"] == event);
    let found = found.cloned().unwrap_or_default();
    assert_eq!(found["content"], json!({}));
    assert!(found.has("/unsigned/redacted_because"), "{found}");
}

async fn a_member_event_keeps_its_membership(server: Server) {
    let alice = server.user("alice").await;
    alice.sets_profile("displayname", json!("Alice")).await.ok();
    let room = alice.creates_room().await;
    let members = alice.reads_members(&room).await.ok();
    let event = members.list("/chunk")[0].text("/event_id");
    alice.redacts(&room, &event).await.ok();
    let member = alice.reads_state(&room, "m.room.member", &alice.id).await.ok();
    assert_eq!(member["membership"], "join");
    assert!(!member.has("/displayname"), "{member}");
}

async fn an_event_of_another_room_is_not_redacted(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let event = alice.says(&room, "this stays").await;
    let of_bob = bob.creates_room().await;
    bob.redacts(&of_bob, &event).await.refused(404, "M_NOT_FOUND");
    let found = alice.reads_event(&room, &event).await.ok();
    assert_eq!(found["content"]["body"], "this stays", "{found}");
}
