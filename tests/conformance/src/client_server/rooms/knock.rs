//! [`POST /knock/{roomIdOrAlias}`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3knockroomidoralias)

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wire::Json as _,
};

tests![
    a_knock_is_a_membership,
    the_one_who_knocks_hears_of_it,
    the_reason_is_in_the_member_event,
    a_room_that_is_not_for_knocking_is_forbidden,
    a_member_does_not_knock,
    a_banned_user_does_not_knock,
    a_knock_is_answered_by_an_invite,
    a_knock_is_turned_down_by_a_kick,
    a_knock_is_taken_back_by_leaving,
    a_knock_does_not_let_in,
    an_unknown_room_is_not_found,
    an_invited_user_does_not_knock,
    a_room_is_knocked_on_by_its_alias,
];

async fn knock_room(alice: &User) -> Room {
    alice.creates_room().state("m.room.join_rules", json!({ "join_rule": "knock" })).await
}

async fn a_knock_is_a_membership(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = knock_room(&alice).await;
    let answer = bob.knocks(&room).await.ok();
    assert_eq!(answer["room_id"], room.0);
    assert_eq!(alice.reads_membership(&room, &bob).await, "knock");
}

async fn the_one_who_knocks_hears_of_it(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = knock_room(&alice).await;
    let since = bob.sync_token().await;
    bob.knocks(&room).await.ok();
    let is_there = |answer: &Value| sync::section(answer, "knock", &room).is_some();
    let answer = bob.syncs_until(&since, "the knock", is_there).await;
    let section = sync::section(&answer, "knock", &room).cloned().unwrap_or_default();
    let events = section.list("/knock_state/events");
    let join_rules = events.iter().find(|event| event["type"] == "m.room.join_rules");
    assert_eq!(join_rules.expect("no join rules")["content"]["join_rule"], "knock");
}

async fn the_reason_is_in_the_member_event(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = knock_room(&alice).await;
    bob.knocks(&room).json(json!({ "reason": "is there tea?" })).await.ok();
    let member = alice.reads_state(&room, "m.room.member", &bob.id).await.ok();
    assert_eq!(member["reason"], "is there tea?");
}

async fn a_room_that_is_not_for_knocking_is_forbidden(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    bob.knocks(&room).await.refused(403, "M_FORBIDDEN");
}

async fn a_member_does_not_knock(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = knock_room(&alice).await;
    alice.invites(&bob, &room).await.ok();
    bob.joins(&room).await.ok();
    bob.knocks(&room).await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.reads_membership(&room, &bob).await, "join");
}

async fn a_banned_user_does_not_knock(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = knock_room(&alice).await;
    alice.bans(&bob, &room).await.ok();
    bob.knocks(&room).await.refused_as(&[(403, "M_FORBIDDEN"), (403, "M_BAD_STATE")]);
}

async fn a_knock_is_answered_by_an_invite(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = knock_room(&alice).await;
    bob.knocks(&room).await.ok();
    alice.invites(&bob, &room).await.ok();
    bob.joins(&room).await.ok();
    assert_eq!(alice.reads_membership(&room, &bob).await, "join");
}

async fn a_knock_is_turned_down_by_a_kick(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = knock_room(&alice).await;
    bob.knocks(&room).await.ok();
    alice.kicks(&bob, &room).await.ok();
    assert_eq!(alice.reads_membership(&room, &bob).await, "leave");
}

async fn a_knock_is_taken_back_by_leaving(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = knock_room(&alice).await;
    bob.knocks(&room).await.ok();
    bob.leaves(&room).await.ok();
    assert_eq!(alice.reads_membership(&room, &bob).await, "leave");
}

async fn a_knock_does_not_let_in(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = knock_room(&alice).await;
    bob.knocks(&room).await.ok();
    bob.joins(&room).await.refused(403, "M_FORBIDDEN");
    let content = json!({ "msgtype": "m.text", "body": "hello" });
    bob.sends(&room, "m.room.message", content).await.refused(403, "M_FORBIDDEN");
    bob.reads_all_state(&room).await.refused(403, "M_FORBIDDEN");
}

async fn an_unknown_room_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    alice.knocks(&server.nowhere()).await.refused_as(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
}

async fn an_invited_user_does_not_knock(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = knock_room(&alice).await;
    alice.invites(&bob, &room).await.ok();
    bob.knocks(&room).await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.reads_membership(&room, &bob).await, "invite");
}

async fn a_room_is_knocked_on_by_its_alias(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = knock_room(&alice).await;
    let alias = server.alias();
    alice.put(path!("/directory/room/{}", alias), json!({ "room_id": room.0 })).await.ok();
    assert_eq!(bob.post(path!("/knock/{}", alias), json!({})).await.ok()["room_id"], room.0);
    assert_eq!(alice.reads_membership(&room, &bob).await, "knock");
    bob.post(path!("/knock/{}", server.alias()), json!({})).await.refused(404, "M_NOT_FOUND");
}
