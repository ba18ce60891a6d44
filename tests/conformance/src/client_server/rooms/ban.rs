//! [`POST /rooms/{roomId}/ban`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidban)
//! and [`…/unban`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidunban)

use serde_json::json;

use crate::server::Server;

tests![
    a_banned_member_is_out,
    one_who_never_joined_can_be_banned,
    the_reason_is_in_the_member_event,
    too_little_power_cannot_ban,
    equal_power_cannot_ban,
    too_little_power_cannot_unban,
    an_unbanned_user_joins_again,
    one_who_is_not_banned_cannot_be_unbanned,
    a_kick_does_not_end_a_ban,
    the_user_must_be_named,
    one_who_is_not_a_member_cannot_ban,
    one_who_is_not_a_member_cannot_unban,
    an_unknown_room_bans_nobody,
];

async fn a_banned_member_is_out(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    assert_eq!(alice.bans(&bob, &room).await.ok(), json!({}));
    assert_eq!(alice.reads_membership(&room, &bob).await, "ban");
    let content = json!({ "msgtype": "m.text", "body": "hey" });
    bob.sends(&room, "m.room.message", content).await.refused(403, "M_FORBIDDEN");
    bob.leaves(&room).await.refused(403, "M_FORBIDDEN");
}

async fn one_who_never_joined_can_be_banned(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    alice.bans(&bob, &room).await.ok();
    bob.joins(&room).await.refused_as(&[(403, "M_FORBIDDEN"), (403, "M_BAD_STATE")]);
}

async fn the_reason_is_in_the_member_event(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.bans(&bob, &room).json(json!({ "user_id": bob.id, "reason": "spam" })).await.ok();
    let member = alice.reads_state(&room, "m.room.member", &bob.id).await.ok();
    assert_eq!(member["reason"], "spam");
}

async fn too_little_power_cannot_ban(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).member(&carl).await;
    bob.bans(&carl, &room).await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.reads_membership(&room, &carl).await, "join");
}

async fn equal_power_cannot_ban(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).member(&carl).await;
    alice.sets_power(&room, "users", &bob.id, 50).await;
    alice.sets_power(&room, "users", &carl.id, 50).await;
    bob.bans(&carl, &room).await.refused(403, "M_FORBIDDEN");
}

async fn too_little_power_cannot_unban(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).await;
    alice.bans(&carl, &room).await.ok();
    bob.unbans(&carl, &room).await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.reads_membership(&room, &carl).await, "ban");
}

async fn an_unbanned_user_joins_again(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    alice.bans(&bob, &room).await.ok();
    alice.unbans(&bob, &room).await.ok();
    assert_eq!(alice.reads_membership(&room, &bob).await, "leave");
    bob.joins(&room).await.ok();
}

async fn one_who_is_not_banned_cannot_be_unbanned(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.unbans(&bob, &room).await.refused_as(&[(403, "M_FORBIDDEN"), (403, "M_BAD_STATE")]);
    assert_eq!(alice.reads_membership(&room, &bob).await, "join");
}

async fn a_kick_does_not_end_a_ban(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.bans(&bob, &room).await.ok();
    alice.kicks(&bob, &room).await.refused_as(&[(403, "M_FORBIDDEN"), (403, "M_BAD_STATE")]);
    assert_eq!(alice.reads_membership(&room, &bob).await, "ban");
}

async fn the_user_must_be_named(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.post(path!("/rooms/{}/ban", room), json!({})).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
    let answer = alice.post(path!("/rooms/{}/unban", room), json!({})).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

async fn one_who_is_not_a_member_cannot_ban(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().public().member(&carl).await;
    bob.bans(&carl, &room).await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.reads_membership(&room, &carl).await, "join");
}

async fn one_who_is_not_a_member_cannot_unban(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    alice.bans(&bob, &room).await.ok();
    bob.unbans(&bob, &room).await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.reads_membership(&room, &bob).await, "ban");
}

async fn an_unknown_room_bans_nobody(server: Server) {
    let (alice, bob) = server.pair().await;
    let refusals = [(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND"), (404, "M_UNKNOWN")];
    alice.bans(&bob, &server.nowhere()).await.refused_as(&refusals);
    alice.unbans(&bob, &server.nowhere()).await.refused_as(&refusals);
}
