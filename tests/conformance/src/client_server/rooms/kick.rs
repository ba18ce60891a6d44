//! [`POST /rooms/{roomId}/kick`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidkick)

use serde_json::json;

use crate::server::Server;

tests![
    a_kicked_member_has_left,
    the_reason_and_the_sender_are_in_the_member_event,
    too_little_power_cannot_kick,
    equal_power_cannot_kick,
    one_who_is_not_a_member_cannot_kick,
    one_who_is_not_in_the_room_cannot_be_kicked,
    one_who_was_kicked_from_a_public_room_joins_again,
    the_user_must_be_named,
    an_unknown_room_kicks_nobody,
    a_malformed_user_is_refused,
];

async fn a_kicked_member_has_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    assert_eq!(alice.kicks(&bob, &room).await.ok(), json!({}));
    assert_eq!(alice.reads_membership(&room, &bob).await, "leave");
    let content = json!({ "msgtype": "m.text", "body": "hey" });
    bob.sends(&room, "m.room.message", content).await.refused(403, "M_FORBIDDEN");
}

async fn the_reason_and_the_sender_are_in_the_member_event(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.kicks(&bob, &room).json(json!({ "user_id": bob.id, "reason": "noise" })).await.ok();
    let state = alice.reads_all_state(&room).await.ok();
    let events = state.as_array().cloned().unwrap_or_default();
    let member = events.iter().find(|event| event["state_key"] == bob.id).cloned().unwrap_or_default();
    assert_eq!(member["content"]["reason"], "noise");
    assert_eq!(member["sender"], alice.id);
}

async fn too_little_power_cannot_kick(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).member(&carl).await;
    bob.kicks(&carl, &room).await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.reads_membership(&room, &carl).await, "join");
}

async fn equal_power_cannot_kick(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).member(&carl).await;
    alice.sets_power(&room, "users", &bob.id, 50).await;
    alice.sets_power(&room, "users", &carl.id, 50).await;
    bob.kicks(&carl, &room).await.refused(403, "M_FORBIDDEN");
    alice.sets_power(&room, "users", &carl.id, 49).await;
    bob.kicks(&carl, &room).await.ok();
}

async fn one_who_is_not_a_member_cannot_kick(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.kicks(&alice, &room).await.refused(403, "M_FORBIDDEN");
}

async fn one_who_is_not_in_the_room_cannot_be_kicked(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    alice.kicks(&bob, &room).await.refused(403, "M_FORBIDDEN");
}

async fn one_who_was_kicked_from_a_public_room_joins_again(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.joins(&room).await.ok();
    alice.kicks(&bob, &room).await.ok();
    bob.joins(&room).await.ok();
    assert_eq!(alice.reads_membership(&room, &bob).await, "join");
}

async fn the_user_must_be_named(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.post(path!("/rooms/{}/kick", room), json!({ "reason": "noise" })).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

async fn an_unknown_room_kicks_nobody(server: Server) {
    let (alice, bob) = server.pair().await;
    let answer = alice.kicks(&bob, &server.nowhere()).await;
    answer.refused_as(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND"), (404, "M_UNKNOWN")]);
}

async fn a_malformed_user_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    for action in ["kick", "ban", "unban"] {
        for user in [json!("nobody"), json!(1), json!(null)] {
            let answer = alice.post(path!("/rooms/{}/{}", room, action), json!({ "user_id": user })).await;
            assert_eq!(answer.status, 400, "{answer}");
        }
    }
}
