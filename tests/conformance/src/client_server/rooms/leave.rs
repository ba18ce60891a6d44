//! [`POST /rooms/{roomId}/leave`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidleave)

use serde_json::{Value, json};

use crate::{actor::sync, server::Server};

tests![
    a_member_leaves,
    the_reason_is_in_the_member_event,
    one_who_left_hears_nothing_more,
    one_who_left_does_not_send,
    one_who_left_a_public_room_joins_again,
    one_who_left_is_told_by_sync_once,
    one_who_was_never_there_cannot_leave,
    an_unknown_room_cannot_be_left,
    the_last_one_leaves,
];

async fn a_member_leaves(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    assert_eq!(bob.leaves(&room).await.ok(), json!({}));
    assert_eq!(alice.reads_membership(&room, &bob).await, "leave");
    assert_eq!(bob.get("/joined_rooms").await.ok()["joined_rooms"], json!([]));
}

async fn the_reason_is_in_the_member_event(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.leaves(&room).json(json!({ "reason": "no tea" })).await.ok();
    let member = alice.reads_state(&room, "m.room.member", &bob.id).await.ok();
    assert_eq!(member["reason"], "no tea");
}

async fn one_who_left_hears_nothing_more(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.leaves(&room).await.ok();
    let since = bob.sync_token().await;
    let event = alice.says(&room, "after he left").await;
    // Something else that bob hears of, after which the message would have been there.
    let other = alice.creates_room().with("invite", json!([bob.id])).await;
    let is_there = |answer: &Value| sync::section(answer, "invite", &other).is_some();
    let answer = bob.syncs_until(&since, "the other room", is_there).await;
    assert!(!answer.to_string().contains(&event), "{answer}");
    bob.reads_event(&room, &event).await.refused_as(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
}

async fn one_who_left_does_not_send(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.leaves(&room).await.ok();
    let content = json!({ "msgtype": "m.text", "body": "one more thing" });
    bob.sends(&room, "m.room.message", content).await.refused(403, "M_FORBIDDEN");
}

async fn one_who_left_a_public_room_joins_again(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.joins(&room).await.ok();
    bob.leaves(&room).await.ok();
    bob.joins(&room).await.ok();
    assert_eq!(alice.reads_membership(&room, &bob).await, "join");
}

async fn one_who_left_is_told_by_sync_once(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = bob.sync_token().await;
    bob.leaves(&room).await.ok();
    let is_left = |answer: &Value| sync::section(answer, "leave", &room).is_some();
    let answer = bob.syncs_until(&since, "the room as left", is_left).await;
    assert!(sync::section(&answer, "join", &room).is_none(), "{answer}");
    let next = answer["next_batch"].as_str().unwrap_or_default();
    let again = bob.syncs_since(next).await.ok();
    assert!(!is_left(&again), "{again}");
}

async fn one_who_was_never_there_cannot_leave(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.leaves(&room).await.refused(403, "M_FORBIDDEN");
}

async fn an_unknown_room_cannot_be_left(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.leaves(&server.nowhere()).await;
    answer.refused_as(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND"), (404, "M_UNKNOWN")]);
}

async fn the_last_one_leaves(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().public().await;
    alice.leaves(&room).await.ok();
    // Nobody here could authorize a join any more, but who left may still read what they saw.
    alice.reads_state(&room, "m.room.create", "").await.ok();
}
