//! [Profiles](https://spec.matrix.org/v1.19/client-server-api/#profiles)

use std::future::IntoFuture as _;

use futures::future::{join, join_all};
use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wait::eventually,
    wire::Json as _,
};

tests![
    a_name_and_an_avatar_are_set_and_read,
    anybody_reads_a_profile,
    one_field_is_read_alone,
    somebody_else_cannot_set_a_profile,
    an_unknown_user_is_not_found,
    a_field_that_is_not_set_is_not_found,
    a_deleted_field_is_gone,
    a_field_of_ones_own_is_set_and_read,
    a_field_must_be_in_the_body,
    a_name_must_be_text,
    the_name_goes_to_the_rooms,
    members_hear_of_a_new_name,
    a_name_and_an_avatar_at_once_reach_all_rooms,
    the_last_of_many_names_reaches_all_rooms,
    a_new_name_brings_nobody_back,
    a_join_at_the_same_time_has_the_new_name,
    the_same_name_again_makes_no_member_event,
    a_reason_is_not_that_of_a_new_name,
    a_profile_that_is_too_large_is_refused,
    a_key_that_is_too_long_is_refused,
    no_token_cannot_set_a_profile,
];

async fn a_name_and_an_avatar_are_set_and_read(server: Server) {
    let alice = server.user("alice").await;
    assert_eq!(alice.sets_profile("displayname", json!("Alice")).await.ok(), json!({}));
    assert_eq!(alice.sets_profile("avatar_url", json!("mxc://example.org/a")).await.ok(), json!({}));
    let profile = alice.reads_profile(&alice).await.ok();
    assert_eq!(profile["displayname"], "Alice");
    assert_eq!(profile["avatar_url"], "mxc://example.org/a");
}

async fn anybody_reads_a_profile(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.sets_profile("displayname", json!("Alice")).await.ok();
    assert_eq!(bob.reads_profile(&alice).await.ok()["displayname"], "Alice");
    let nobody = server.anybody().get(path!("/profile/{}", alice.id)).await;
    assert_eq!(nobody.ok()["displayname"], "Alice");
}

async fn one_field_is_read_alone(server: Server) {
    let alice = server.user("alice").await;
    alice.sets_profile("displayname", json!("Alice")).await.ok();
    let answer = alice.get(path!("/profile/{}/displayname", alice.id)).await.ok();
    assert_eq!(answer, json!({ "displayname": "Alice" }));
}

async fn somebody_else_cannot_set_a_profile(server: Server) {
    let (alice, bob) = server.pair().await;
    let path = path!("/profile/{}/displayname", alice.id);
    bob.put(path, json!({ "displayname": "Bob's" })).await.refused(403, "M_FORBIDDEN");
    assert_ne!(alice.reads_profile(&alice).await.body["displayname"], "Bob's");
}

async fn an_unknown_user_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let nobody = server.nobody();
    alice.get(path!("/profile/{}", nobody)).await.refused(404, "M_NOT_FOUND");
    alice.get(path!("/profile/{}/displayname", nobody)).await.refused(404, "M_NOT_FOUND");
}

async fn a_field_that_is_not_set_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.get(path!("/profile/{}/org.example.nothing", alice.id)).await;
    answer.refused(404, "M_NOT_FOUND");
}

async fn a_deleted_field_is_gone(server: Server) {
    let alice = server.user("alice").await;
    alice.sets_profile("org.example.motto", json!("tea")).await.ok();
    assert_eq!(alice.delete(path!("/profile/{}/org.example.motto", alice.id)).await.ok(), json!({}));
    assert!(!alice.reads_profile(&alice).await.ok().has("/org.example.motto"));
}

async fn a_field_of_ones_own_is_set_and_read(server: Server) {
    let (alice, bob) = server.pair().await;
    let value = json!({ "words": ["green", "tea"], "since": 2017 });
    alice.sets_profile("org.example.motto", value.clone()).await.ok();
    assert_eq!(bob.reads_profile(&alice).await.ok()["org.example.motto"], value);
    let answer = bob.get(path!("/profile/{}/org.example.motto", alice.id)).await.ok();
    assert_eq!(answer, json!({ "org.example.motto": value }));
}

async fn a_field_must_be_in_the_body(server: Server) {
    let alice = server.user("alice").await;
    let path = path!("/profile/{}/org.example.motto", alice.id);
    let answer = alice.put(path, json!({ "org.example.other": "tea" })).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

async fn a_name_must_be_text(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.sets_profile("displayname", json!(17)).await;
    answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")]);
}

async fn the_name_goes_to_the_rooms(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    alice.sets_profile("displayname", json!("Alice the second")).await.ok();
    let is_new = |answer: &Value| {
        let events = sync::timeline(answer, &room);
        events.iter().any(|event| event["content"]["displayname"] == "Alice the second")
    };
    let answer = alice.syncs().await.ok();
    if !is_new(&answer) {
        alice.syncs_until(&answer.text("/next_batch"), "the new name", is_new).await;
    }
    let member = alice.reads_state(&room, "m.room.member", &alice.id).await.ok();
    assert_eq!(member["displayname"], "Alice the second");
    assert_eq!(member["membership"], "join");
}

async fn members_hear_of_a_new_name(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    bob.sets_profile("displayname", json!("Bob the second")).await.ok();
    let is_new = |answer: &Value| {
        let events = sync::timeline(answer, &room);
        events.iter().any(|event| event["content"]["displayname"] == "Bob the second")
    };
    alice.syncs_until(&since, "the new name", is_new).await;
}

/// The contents of a user's member events in rooms.
async fn members(user: &User, rooms: &[Room], of: &User) -> Value {
    let reads = rooms.iter().map(|room| user.reads_state(room, "m.room.member", &of.id).into_future());
    join_all(reads).await.into_iter().map(|answer| answer.ok()).collect()
}

/// All of them have this name and this avatar.
fn all_are(members: &Value, name: &str, avatar: &str) -> bool {
    members.as_array().is_some_and(|members| {
        members.iter().all(|member| member["displayname"] == name && member["avatar_url"] == avatar)
    })
}

async fn rooms(user: &User, count: usize) -> Vec<Room> {
    join_all((0..count).map(|_| user.creates_room().public().into_future())).await
}

async fn a_name_and_an_avatar_at_once_reach_all_rooms(server: Server) {
    let alice = server.user("alice").await;
    let rooms = rooms(&alice, 10).await;
    for round in ["one", "two", "three"] {
        let (name, avatar) = (json!(format!("Alice {round}")), json!(format!("mxc://example.org/{round}")));
        let (named, pictured) = join(
            alice.sets_profile("displayname", name.clone()).into_future(),
            alice.sets_profile("avatar_url", avatar.clone()).into_future(),
        )
        .await;
        named.ok();
        pictured.ok();
        let (name, avatar) = (name.as_str().unwrap_or_default(), avatar.as_str().unwrap_or_default());
        let are_new = |members: &Value| all_are(members, name, avatar);
        eventually("the new name and avatar in all rooms", || members(&alice, &rooms, &alice), are_new).await;
    }
}

async fn the_last_of_many_names_reaches_all_rooms(server: Server) {
    let alice = server.user("alice").await;
    let rooms = rooms(&alice, 10).await;
    alice.sets_profile("avatar_url", json!("mxc://example.org/a")).await.ok();
    let names = (0..5).map(|n| alice.sets_profile("displayname", json!(format!("Alice {n}"))).into_future());
    for answer in join_all(names).await {
        answer.ok();
    }
    let name = alice.reads_profile(&alice).await.ok().text("/displayname");
    let are_new = |members: &Value| all_are(members, &name, "mxc://example.org/a");
    eventually("the last name in all rooms", || members(&alice, &rooms, &alice), are_new).await;
}

async fn a_new_name_brings_nobody_back(server: Server) {
    let (alice, bob) = server.pair().await;
    let rooms = rooms(&alice, 12).await;
    for room in &rooms {
        bob.joins(room).await.ok();
    }
    let named = bob.sets_profile("displayname", json!("Bob the second")).into_future();
    let left = join_all(rooms.iter().map(|room| bob.leaves(room).into_future()));
    let (named, left) = join(named, left).await;
    named.ok();
    for answer in left {
        answer.ok();
    }
    // A name that goes to a room in which the user stayed has gone to all of them.
    let stayed = alice.creates_room().public().await;
    bob.joins(&stayed).await.ok();
    bob.sets_profile("displayname", json!("Bob the third")).await.ok();
    let is_third = |members: &Value| members[0]["displayname"] == "Bob the third";
    let stayed = [stayed];
    eventually("the new name", || members(&alice, &stayed, &bob), is_third).await;
    for member in members(&alice, &rooms, &bob).await.as_array().into_iter().flatten() {
        assert_eq!(member["membership"], "leave");
    }
}

async fn a_join_at_the_same_time_has_the_new_name(server: Server) {
    let (alice, bob) = server.pair().await;
    let rooms = rooms(&alice, 12).await;
    let named = bob.sets_profile("displayname", json!("Bob the second")).into_future();
    let joined = join_all(rooms.iter().map(|room| bob.joins(room).into_future()));
    let (named, joined) = join(named, joined).await;
    named.ok();
    for answer in joined {
        answer.ok();
    }
    let are_new = |members: &Value| {
        let members = members.as_array().into_iter().flatten();
        members.clone().count() == 12
            && members.clone().all(|member| member["displayname"] == "Bob the second")
    };
    eventually("the new name in all rooms", || members(&alice, &rooms, &bob), are_new).await;
}

/// The member events of a user in the timeline of a room.
async fn member_events(user: &User, room: &Room, of: &User) -> Vec<Value> {
    let page = user.reads_messages(room).query("limit", 100).await.ok();
    let is_theirs = |event: &&Value| event["type"] == "m.room.member" && event["state_key"] == of.id;
    page.list("/chunk").iter().filter(is_theirs).cloned().collect()
}

async fn the_same_name_again_makes_no_member_event(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    for name in ["Alice", "Alice", "Alice the second"] {
        alice.sets_profile("displayname", json!(name)).await.ok();
    }
    let rooms = [room];
    let is_second = |members: &Value| members[0]["displayname"] == "Alice the second";
    eventually("the second name", || members(&alice, &rooms, &alice), is_second).await;
    let events = member_events(&alice, &rooms[0], &alice).await;
    // A name that is replaced before it has come to the room need not come there.
    let alices = events.iter().filter(|event| event["content"]["displayname"] == "Alice");
    assert!(alices.count() <= 1, "{events:?}");
}

async fn a_reason_is_not_that_of_a_new_name(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.joins(&room).json(json!({ "reason": "curious" })).await.ok();
    bob.sets_profile("displayname", json!("Bob the second")).await.ok();
    let rooms = [room];
    let is_second = |members: &Value| members[0]["displayname"] == "Bob the second";
    let members = eventually("the new name", || members(&alice, &rooms, &bob), is_second).await;
    assert!(!members.has("/0/reason"), "{members}");
}

async fn a_profile_that_is_too_large_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.sets_profile("org.example.motto", json!("x".repeat(66_000))).await;
    answer.refused_as(&[(400, "M_PROFILE_TOO_LARGE"), (413, "M_TOO_LARGE")]);
}

async fn a_key_that_is_too_long_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let key = "k".repeat(256);
    alice.sets_profile(&key, json!("x")).await.refused(400, "M_KEY_TOO_LARGE");
}

async fn no_token_cannot_set_a_profile(server: Server) {
    let alice = server.user("alice").await;
    let path = path!("/profile/{}/displayname", alice.id);
    let answer = server.anybody().put(path, json!({ "displayname": "Nobody" })).await;
    answer.refused(401, "M_MISSING_TOKEN");
}
