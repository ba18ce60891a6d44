//! [`POST /rooms/{roomId}/invite`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite)

use serde_json::{Value, json};

use crate::{
    actor::{User, sync},
    server::Server,
    wire::{Json as _, Request},
};

tests![
    the_invited_user_hears_of_it,
    the_invite_has_stripped_state,
    the_reason_is_in_the_member_event,
    a_member_is_not_invited_again,
    a_banned_user_cannot_be_invited,
    one_who_is_not_a_member_cannot_invite,
    too_little_power_cannot_invite,
    a_member_without_power_invites_by_default,
    the_user_must_be_named,
    a_malformed_user_is_refused,
    an_invited_user_declines,
    the_inviter_takes_it_back,
    an_invited_user_does_not_read_the_room,
    an_unknown_room_invites_nobody,
    who_wants_no_invites_is_not_invited,
    an_invite_is_not_told_to_who_wants_none,
];

async fn the_invited_user_hears_of_it(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let since = bob.sync_token().await;
    alice.invites(&bob, &room).await.ok();
    assert_eq!(alice.reads_membership(&room, &bob).await, "invite");
    let is_there = |answer: &Value| sync::section(answer, "invite", &room).is_some();
    let answer = bob.syncs_until(&since, "the invite", is_there).await;
    assert!(sync::section(&answer, "join", &room).is_none(), "{answer}");
}

async fn the_invite_has_stripped_state(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("name", json!("Tea")).with("invite", json!([bob.id])).await;
    let is_there = |answer: &Value| sync::section(answer, "invite", &room).is_some();
    let answer = bob.syncs().await.ok();
    assert!(is_there(&answer), "{answer}");
    let section = sync::section(&answer, "invite", &room).cloned().unwrap_or_default();
    let events = section.list("/invite_state/events");
    let find = |event_type: &str, key: &str| {
        let found = events.iter().find(|event| event["type"] == event_type && event["state_key"] == key);
        found.unwrap_or_else(|| panic!("no {event_type} in {section}")).clone()
    };
    assert_eq!(find("m.room.name", "")["content"]["name"], "Tea");
    assert_eq!(find("m.room.join_rules", "")["content"]["join_rule"], "invite");
    assert_eq!(find("m.room.create", "")["sender"], alice.id);
    let member = find("m.room.member", &bob.id);
    assert_eq!(member["content"]["membership"], "invite");
    assert_eq!(member["sender"], alice.id);
}

async fn the_reason_is_in_the_member_event(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let body = json!({ "user_id": bob.id, "reason": "you will like it" });
    alice.invites(&bob, &room).json(body).await.ok();
    let member = alice.reads_state(&room, "m.room.member", &bob.id).await.ok();
    assert_eq!(member["reason"], "you will like it");
}

async fn a_member_is_not_invited_again(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.invites(&bob, &room).await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.reads_membership(&room, &bob).await, "join");
}

async fn a_banned_user_cannot_be_invited(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    alice.bans(&bob, &room).await.ok();
    alice.invites(&bob, &room).await.refused_as(&[(403, "M_FORBIDDEN"), (403, "M_BAD_STATE")]);
}

async fn one_who_is_not_a_member_cannot_invite(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().public().await;
    bob.invites(&carl, &room).await.refused(403, "M_FORBIDDEN");
}

async fn too_little_power_cannot_invite(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).await;
    alice.sets_power(&room, "", "invite", 50).await;
    bob.invites(&carl, &room).await.refused(403, "M_FORBIDDEN");
    alice.invites(&carl, &room).await.ok();
}

async fn a_member_without_power_invites_by_default(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).await;
    bob.invites(&carl, &room).await.ok();
    carl.joins(&room).await.ok();
}

async fn the_user_must_be_named(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.post(path!("/rooms/{}/invite", room), json!({})).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

async fn a_malformed_user_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.post(path!("/rooms/{}/invite", room), json!({ "user_id": "nobody" })).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn an_invited_user_declines(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    alice.invites(&bob, &room).await.ok();
    let since = bob.sync_token().await;
    bob.leaves(&room).await.ok();
    assert_eq!(alice.reads_membership(&room, &bob).await, "leave");
    let is_left = |answer: &Value| sync::section(answer, "leave", &room).is_some();
    bob.syncs_until(&since, "the room as left", is_left).await;
    bob.joins(&room).await.refused(403, "M_FORBIDDEN");
}

async fn the_inviter_takes_it_back(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    alice.invites(&bob, &room).await.ok();
    alice.kicks(&bob, &room).await.ok();
    bob.joins(&room).await.refused(403, "M_FORBIDDEN");
}

async fn an_invited_user_does_not_read_the_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "before the invite").await;
    alice.invites(&bob, &room).await.ok();
    bob.reads_all_state(&room).await.refused(403, "M_FORBIDDEN");
    bob.reads_event(&room, &event).await.refused_as(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
}

async fn an_unknown_room_invites_nobody(server: Server) {
    let (alice, bob) = server.pair().await;
    let answer = alice.invites(&bob, &server.nowhere()).await;
    answer.refused_as(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]);
}

/// [Invite permission](https://spec.matrix.org/v1.19/client-server-api/#invite-permission).
fn permits_invites(user: &User, content: Value) -> Request {
    user.put(path!("/user/{}/account_data/m.invite_permission_config", user.id), content)
}

async fn who_wants_no_invites_is_not_invited(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    permits_invites(&bob, json!({ "default_action": "block" })).await.ok();
    alice.invites(&bob, &room).await.refused(403, "M_INVITE_BLOCKED");
    let member = json!({ "membership": "invite" });
    let request = alice.sets_state(&room, "m.room.member", &bob.id, member);
    request.await.refused(403, "M_INVITE_BLOCKED");
    assert_eq!(alice.reads_state(&room, "m.room.member", &bob.id).await.status, 404);
    // A room may be made without them, or not at all.
    let created = alice.post("/createRoom", json!({ "invite": [bob.id] })).await;
    if created.status != 200 {
        created.refused(403, "M_INVITE_BLOCKED");
    }
    permits_invites(&bob, json!({})).await.ok();
    alice.invites(&bob, &room).await.ok();
}

async fn an_invite_is_not_told_to_who_wants_none(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let since = bob.sync_token().await;
    alice.invites(&bob, &room).await.ok();
    let is_there = |answer: &Value| sync::section(answer, "invite", &room).is_some();
    bob.syncs_until(&since, "the invite", is_there).await;
    let token = bob.sync_token().await;
    permits_invites(&bob, json!({ "default_action": "block" })).await.ok();
    let is_set = |answer: &Value| {
        let events = answer["account_data"]["events"].as_array();
        events.into_iter().flatten().any(|event| event["type"] == "m.invite_permission_config")
    };
    bob.syncs_until(&token, "the setting", is_set).await;
    for answer in [bob.syncs().await.ok(), bob.syncs_since(&since).await.ok()] {
        assert!(!is_there(&answer), "{answer}");
    }
    assert_eq!(bob.joins(&room).await.ok()["room_id"], room.0);
}
