//! [`m.room.power_levels`](https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels)
//! and the [authorization rules](https://spec.matrix.org/v1.19/rooms/v11/#authorization-rules) on them.

use serde_json::{Value, json};

use crate::{
    actor::{Room, User},
    server::Server,
};

tests![
    a_member_has_no_power_by_default,
    power_is_given,
    power_is_not_given_above_ones_own,
    power_is_not_taken_from_an_equal,
    power_is_taken_from_oneself,
    a_level_above_ones_own_is_not_changed,
    levels_must_be_integers,
    levels_must_be_in_the_range_of_json,
    a_user_must_be_a_user_id,
    an_event_type_has_a_level_of_its_own,
    redacting_needs_its_own_level,
    creators_of_version_12_have_more_power_than_all,
    creators_of_version_12_are_not_among_the_users,
    encryption_and_tombstones_need_much_power,
];

async fn levels(user: &User, room: &Room) -> Value {
    user.reads_state(room, "m.room.power_levels", "").await.ok()
}

async fn a_member_has_no_power_by_default(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let found = levels(&bob, &room).await;
    assert!(found["users"][&bob.id].is_null(), "{found}");
    assert_eq!(found["users_default"].as_i64().unwrap_or_default(), 0);
    bob.sets_state(&room, "m.room.power_levels", "", found).await.refused(403, "M_FORBIDDEN");
}

async fn power_is_given(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.sets_power(&room, "users", &bob.id, 100).await;
    bob.sets_power(&room, "", "invite", 100).await;
    assert_eq!(levels(&alice, &room).await["invite"], 100);
}

async fn power_is_not_given_above_ones_own(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).member(&carl).await;
    alice.sets_power(&room, "events", "m.room.power_levels", 50).await;
    alice.sets_power(&room, "users", &bob.id, 50).await;
    let mut wanted = levels(&bob, &room).await;
    wanted["users"][&carl.id] = json!(51);
    bob.sets_state(&room, "m.room.power_levels", "", wanted.clone()).await.refused(403, "M_FORBIDDEN");
    wanted["users"][&carl.id] = json!(50);
    bob.sets_state(&room, "m.room.power_levels", "", wanted).await.ok();
}

async fn power_is_not_taken_from_an_equal(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("room_version", json!("11")).member(&bob).await;
    alice.sets_power(&room, "users", &bob.id, 100).await;
    let mut wanted = levels(&bob, &room).await;
    wanted["users"][&alice.id] = json!(0);
    bob.sets_state(&room, "m.room.power_levels", "", wanted).await.refused(403, "M_FORBIDDEN");
    assert_eq!(levels(&bob, &room).await["users"][&alice.id], 100);
}

async fn power_is_taken_from_oneself(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.sets_power(&room, "users", &bob.id, 100).await;
    bob.sets_power(&room, "users", &bob.id, 10).await;
    assert_eq!(levels(&bob, &room).await["users"][&bob.id], 10);
}

async fn a_level_above_ones_own_is_not_changed(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.sets_power(&room, "events", "m.room.power_levels", 50).await;
    alice.sets_power(&room, "", "ban", 75).await;
    alice.sets_power(&room, "users", &bob.id, 50).await;
    let mut wanted = levels(&bob, &room).await;
    wanted["ban"] = json!(25);
    bob.sets_state(&room, "m.room.power_levels", "", wanted).await.refused(403, "M_FORBIDDEN");
}

async fn levels_must_be_integers(server: Server) {
    let alice = server.user("alice").await;
    // Text was allowed before room version 10.
    let room = alice.creates_room().with("room_version", json!("11")).await;
    for level in [json!("50"), json!(true), json!(null), json!([50])] {
        let mut wanted = levels(&alice, &room).await;
        wanted["kick"] = level;
        let answer = alice.sets_state(&room, "m.room.power_levels", "", wanted).await;
        assert!([400, 403].contains(&answer.status), "{answer}");
    }
}

async fn levels_must_be_in_the_range_of_json(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let mut wanted = levels(&alice, &room).await;
    // Canonical JSON has no greater integer than 2^53 - 1.
    wanted["kick"] = json!(1_u64 << 53);
    let answer = alice.sets_state(&room, "m.room.power_levels", "", wanted).await;
    assert!([400, 403].contains(&answer.status), "{answer}");
}

async fn a_user_must_be_a_user_id(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let mut wanted = levels(&alice, &room).await;
    wanted["users"]["nobody"] = json!(10);
    let answer = alice.sets_state(&room, "m.room.power_levels", "", wanted).await;
    assert!([400, 403].contains(&answer.status), "{answer}");
}

async fn an_event_type_has_a_level_of_its_own(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.sets_power(&room, "events", "m.room.topic", 0).await;
    bob.sets_state(&room, "m.room.topic", "", json!({ "topic": "Bob's" })).await.ok();
    bob.sets_state(&room, "m.room.name", "", json!({ "name": "Bob's" })).await.refused(403, "M_FORBIDDEN");
}

async fn redacting_needs_its_own_level(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let event = alice.says(&room, "hello").await;
    alice.sets_power(&room, "", "redact", 10).await;
    alice.sets_power(&room, "users", &bob.id, 10).await;
    bob.redacts(&room, &event).await.ok();
    let event = alice.says(&room, "hello").await;
    alice.sets_power(&room, "events", "m.room.redaction", 20).await;
    bob.redacts(&room, &event).await.refused(403, "M_FORBIDDEN");
}

async fn creators_of_version_12_have_more_power_than_all(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("room_version", json!("12")).member(&bob).await;
    let found = levels(&alice, &room).await;
    assert!(found["users"][&alice.id].is_null(), "{found}");
    alice.sets_power(&room, "users", &bob.id, 1_000_000).await;
    bob.kicks(&alice, &room).await.refused(403, "M_FORBIDDEN");
    alice.sets_power(&room, "users", &bob.id, 0).await;
}

async fn creators_of_version_12_are_not_among_the_users(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("room_version", json!("12")).await;
    let mut wanted = levels(&alice, &room).await;
    wanted["users"] = json!({ alice.id.as_str(): 100 });
    let answer = alice.sets_state(&room, "m.room.power_levels", "", wanted).await;
    assert!([400, 403].contains(&answer.status), "{answer}");
}

async fn encryption_and_tombstones_need_much_power(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.sets_power(&room, "users", &bob.id, 50).await;
    let tombstone = json!({ "body": "moved", "replacement_room": "!other:elsewhere.example" });
    bob.sets_state(&room, "m.room.tombstone", "", tombstone).await.refused(403, "M_FORBIDDEN");
    let acl = json!({ "allow": ["*"] });
    bob.sets_state(&room, "m.room.server_acl", "", acl).await.refused(403, "M_FORBIDDEN");
}
