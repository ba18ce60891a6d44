//! [`GET /rooms/{roomId}/members`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers),
//! [`…/joined_members`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members)
//! and [`GET /joined_rooms`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3joined_rooms)

use serde_json::{Value, json};

use crate::{server::Server, wire::Json as _};

tests![
    every_membership_is_told,
    memberships_are_chosen,
    memberships_are_left_out,
    members_at_a_time_are_told,
    somebody_else_is_not_told,
    one_who_left_is_told_who_was_there,
    joined_members_have_names,
    joined_members_are_only_those_who_joined,
    joined_members_are_not_told_to_somebody_else,
    joined_rooms_are_only_those_that_one_is_in,
    joined_rooms_are_none_at_first,
    a_time_that_never_was_is_refused,
    who_left_is_not_told_who_is_there,
];

fn memberships(answer: &Value) -> Vec<(String, String)> {
    let events = answer.list("/chunk").iter();
    let mut found: Vec<_> =
        events.map(|event| (event.text("/state_key"), event.text("/content/membership"))).collect();
    found.sort();
    found
}

fn wanted(of: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut wanted: Vec<_> = of.iter().map(|(user, how)| ((*user).to_owned(), (*how).to_owned())).collect();
    wanted.sort();
    wanted
}

async fn every_membership_is_told(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).with("invite", json!([])).await;
    alice.invites(&carl, &room).await.ok();
    let answer = alice.reads_members(&room).await.ok();
    assert_eq!(memberships(&answer), wanted(&[(&alice.id, "join"), (&bob.id, "join"), (&carl.id, "invite")]));
    assert!(answer.list("/chunk").iter().all(|event| event["type"] == "m.room.member"), "{answer}");
}

async fn memberships_are_chosen(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).await;
    alice.invites(&carl, &room).await.ok();
    bob.leaves(&room).await.ok();
    let chosen = |membership: &str| alice.reads_members(&room).query("membership", membership);
    assert_eq!(memberships(&chosen("join").await.ok()), wanted(&[(&alice.id, "join")]));
    assert_eq!(memberships(&chosen("invite").await.ok()), wanted(&[(&carl.id, "invite")]));
    assert_eq!(memberships(&chosen("leave").await.ok()), wanted(&[(&bob.id, "leave")]));
    assert_eq!(memberships(&chosen("ban").await.ok()), wanted(&[]));
}

async fn memberships_are_left_out(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.leaves(&room).await.ok();
    let answer = alice.reads_members(&room).query("not_membership", "leave").await.ok();
    assert_eq!(memberships(&answer), wanted(&[(&alice.id, "join")]));
}

async fn members_at_a_time_are_told(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    let at = alice.sync_token().await;
    bob.joins(&room).await.ok();
    let answer = alice.reads_members(&room).query("at", at).await.ok();
    assert_eq!(memberships(&answer), wanted(&[(&alice.id, "join")]));
}

async fn somebody_else_is_not_told(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.reads_members(&room).await.refused(403, "M_FORBIDDEN");
    bob.reads_members(&server.nowhere()).await.refused(403, "M_FORBIDDEN");
}

async fn one_who_left_is_told_who_was_there(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().public().await;
    bob.joins(&room).await.ok();
    bob.leaves(&room).await.ok();
    carl.joins(&room).await.ok();
    let answer = bob.reads_members(&room).await.ok();
    assert_eq!(memberships(&answer), wanted(&[(&alice.id, "join"), (&bob.id, "leave")]));
}

async fn joined_members_have_names(server: Server) {
    let (alice, bob) = server.pair().await;
    bob.sets_profile("displayname", json!("Bob the builder")).await.ok();
    let room = alice.creates_room().member(&bob).await;
    let answer = alice.get(path!("/rooms/{}/joined_members", room)).await.ok();
    assert_eq!(answer["joined"][&bob.id]["display_name"], "Bob the builder");
    assert!(answer["joined"][&alice.id].is_object(), "{answer}");
}

async fn joined_members_are_only_those_who_joined(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).await;
    alice.invites(&carl, &room).await.ok();
    bob.leaves(&room).await.ok();
    let answer = alice.get(path!("/rooms/{}/joined_members", room)).await.ok();
    let joined = answer["joined"].as_object().cloned().unwrap_or_default();
    assert_eq!(joined.keys().collect::<Vec<_>>(), [&alice.id]);
}

async fn joined_members_are_not_told_to_somebody_else(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.get(path!("/rooms/{}/joined_members", room)).await.refused(403, "M_FORBIDDEN");
}

async fn joined_rooms_are_only_those_that_one_is_in(server: Server) {
    let (alice, bob) = server.pair().await;
    let (one, two) = (alice.creates_room().member(&bob).await, alice.creates_room().member(&bob).await);
    alice.creates_room().with("invite", json!([bob.id])).await;
    bob.leaves(&one).await.ok();
    assert_eq!(bob.get("/joined_rooms").await.ok()["joined_rooms"], json!([two.0]));
}

async fn joined_rooms_are_none_at_first(server: Server) {
    let alice = server.user("alice").await;
    assert_eq!(alice.get("/joined_rooms").await.ok(), json!({ "joined_rooms": [] }));
}

async fn a_time_that_never_was_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.reads_members(&room).query("at", "nonsense").await;
    answer.refused_as(&[(400, "M_INVALID_PARAM"), (400, "M_UNKNOWN")]);
}

async fn who_left_is_not_told_who_is_there(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.leaves(&room).await.ok();
    bob.get(path!("/rooms/{}/joined_members", room)).await.refused(403, "M_FORBIDDEN");
    bob.get(path!("/rooms/{}/joined_members", server.nowhere())).await.refused(403, "M_FORBIDDEN");
}
