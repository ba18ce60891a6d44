//! [`POST /rooms/{roomId}/join`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidjoin)
//! and [`POST /join/{roomIdOrAlias}`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias)

use serde_json::json;

use crate::{
    actor::{Room, sync},
    server::Server,
    wire::Json as _,
};

tests![
    anybody_joins_a_public_room,
    nobody_joins_a_private_room_uninvited,
    an_invited_user_joins,
    joining_again_changes_nothing,
    the_reason_is_in_the_member_event,
    the_member_event_has_name_and_avatar,
    an_unknown_room_cannot_be_joined,
    a_banned_user_cannot_join,
    a_room_is_joined_by_its_alias,
    an_unknown_alias_is_not_found,
    a_malformed_room_id_is_refused,
    a_member_of_the_other_room_joins_a_restricted_room,
    somebody_else_does_not_join_a_restricted_room,
    nobody_says_themselves_who_authorises_them,
    a_body_is_not_needed,
    members_hear_of_it,
    the_one_who_joins_gets_the_state,
];

async fn anybody_joins_a_public_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    let answer = bob.joins(&room).await.ok();
    assert_eq!(answer["room_id"], room.0);
    assert_eq!(alice.reads_membership(&room, &bob).await, "join");
}

async fn nobody_joins_a_private_room_uninvited(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    bob.joins(&room).await.refused(403, "M_FORBIDDEN");
    alice.reads_state(&room, "m.room.member", &bob.id).await.refused(404, "M_NOT_FOUND");
}

async fn an_invited_user_joins(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    alice.invites(&bob, &room).await.ok();
    bob.joins(&room).await.ok();
    assert_eq!(bob.reads_membership(&room, &bob).await, "join");
}

async fn joining_again_changes_nothing(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.joins(&room).await.ok();
    assert_eq!(bob.reads_membership(&room, &bob).await, "join");
    let joined = bob.get("/joined_rooms").await.ok();
    assert_eq!(joined["joined_rooms"], json!([room.0]));
}

async fn the_reason_is_in_the_member_event(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.joins(&room).json(json!({ "reason": "curious" })).await.ok();
    let member = alice.reads_state(&room, "m.room.member", &bob.id).await.ok();
    assert_eq!(member["reason"], "curious");
}

async fn the_member_event_has_name_and_avatar(server: Server) {
    let (alice, bob) = server.pair().await;
    bob.sets_profile("displayname", json!("Bob the builder")).await.ok();
    bob.sets_profile("avatar_url", json!("mxc://example.org/bob")).await.ok();
    let room = alice.creates_room().public().await;
    bob.joins(&room).await.ok();
    let member = alice.reads_state(&room, "m.room.member", &bob.id).await.ok();
    assert_eq!(member["displayname"], "Bob the builder");
    assert_eq!(member["avatar_url"], "mxc://example.org/bob");
}

async fn an_unknown_room_cannot_be_joined(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.joins(&server.nowhere()).await;
    answer.refused_as(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND"), (404, "M_UNKNOWN")]);
}

async fn a_banned_user_cannot_join(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    alice.bans(&bob, &room).await.ok();
    bob.joins(&room).await.refused_as(&[(403, "M_FORBIDDEN"), (403, "M_BAD_STATE")]);
    assert_eq!(alice.reads_membership(&room, &bob).await, "ban");
}

async fn a_room_is_joined_by_its_alias(server: Server) {
    let (alice, bob) = server.pair().await;
    let name = server.unique("cafe");
    let room = alice.creates_room().public().with("room_alias_name", json!(name)).await;
    let alias = format!("#{name}:{}", server.name());
    let answer = bob.post(path!("/join/{}", alias), json!({})).await.ok();
    assert_eq!(answer["room_id"], room.0);
    assert_eq!(alice.reads_membership(&room, &bob).await, "join");
}

async fn an_unknown_alias_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let alias = format!("#{}:{}", server.unique("nowhere"), server.name());
    alice.post(path!("/join/{}", alias), json!({})).await.refused(404, "M_NOT_FOUND");
}

async fn a_malformed_room_id_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/join/nonsense", json!({})).await;
    answer.refused_as(&[(400, "M_INVALID_PARAM"), (400, "M_UNKNOWN"), (404, "M_NOT_FOUND")]);
}

/// A room for the members of another room.
fn restricted(to: &Room) -> serde_json::Value {
    json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": to.0 }] })
}

async fn a_member_of_the_other_room_joins_a_restricted_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let other = alice.creates_room().member(&bob).await;
    let room = alice.creates_room().state("m.room.join_rules", restricted(&other)).await;
    bob.joins(&room).await.ok();
    let member = alice.reads_state(&room, "m.room.member", &bob.id).await.ok();
    assert_eq!(member["membership"], "join");
    assert_eq!(member["join_authorised_via_users_server"], alice.id);
}

async fn somebody_else_does_not_join_a_restricted_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let other = alice.creates_room().await;
    let room = alice.creates_room().state("m.room.join_rules", restricted(&other)).await;
    bob.joins(&room).await.refused(403, "M_FORBIDDEN");
}

/// Which member of the room authorises a join is for the server to find out.
async fn nobody_says_themselves_who_authorises_them(server: Server) {
    let (alice, bob) = server.pair().await;
    for version in ["8", "10", "11"] {
        let other = alice.creates_room().await;
        let room = alice
            .creates_room()
            .with("room_version", json!(version))
            .state("m.room.join_rules", restricted(&other))
            .await;
        let content = json!({ "membership": "join", "join_authorised_via_users_server": alice.id });
        bob.joins(&room).json(content.clone()).await.refused(403, "M_FORBIDDEN");
        bob.sets_state(&room, "m.room.member", &bob.id, content).await.refused(403, "M_FORBIDDEN");
        alice.reads_state(&room, "m.room.member", &bob.id).await.refused(404, "M_NOT_FOUND");
    }
}

async fn a_body_is_not_needed(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.joins(&room).raw("").await.ok();
    assert_eq!(alice.reads_membership(&room, &bob).await, "join");
}

async fn members_hear_of_it(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    let since = alice.sync_token().await;
    bob.joins(&room).await.ok();
    let is_bob = |answer: &serde_json::Value| {
        sync::timeline(answer, &room)
            .iter()
            .any(|event| event["state_key"] == bob.id && event["content"]["membership"] == "join")
    };
    alice.syncs_until(&since, "bob's member event", is_bob).await;
}

async fn the_one_who_joins_gets_the_state(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().with("name", json!("Tea")).await;
    let since = bob.sync_token().await;
    bob.joins(&room).await.ok();
    let is_there = |answer: &serde_json::Value| sync::section(answer, "join", &room).is_some();
    let answer = bob.syncs_until(&since, "the room", is_there).await;
    let mut events = sync::state(&answer, &room);
    events.extend(sync::timeline(&answer, &room));
    for event_type in ["m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.name"] {
        assert!(events.iter().any(|event| event["type"] == event_type), "no {event_type} in {answer}");
    }
    let member = events.iter().find(|event| event["state_key"] == bob.id);
    assert_eq!(member.expect("no member event of bob")["content"].text("/membership"), "join");
}
