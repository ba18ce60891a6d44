//! [`PUT /rooms/{roomId}/state/{eventType}/{stateKey}`][put] and reading state.
//!
//! [put]: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey

use serde_json::{Value, json};

use crate::{actor::sync, server::Server, wire::Json as _};

tests![
    state_is_set_and_read,
    an_empty_state_key_may_be_left_out,
    a_state_key_may_hold_anything,
    state_is_replaced,
    the_event_has_the_content_that_it_replaces,
    members_hear_of_it,
    all_state_has_one_event_for_each_key,
    state_that_is_not_there_is_not_found,
    somebody_else_does_not_read_the_state,
    somebody_else_does_not_set_the_state,
    too_little_power_does_not_set_state,
    a_state_key_of_somebody_else_is_forbidden,
    ones_own_state_key_needs_the_usual_power,
    one_who_left_reads_the_state_of_then,
    one_who_left_does_not_set_the_state,
    an_unknown_room_has_no_state,
    a_body_that_is_not_an_object_is_refused,
    a_state_key_that_is_too_long_is_refused,
    the_create_event_is_set_only_once,
    creators_with_power_of_their_own_are_not_listed,
    the_same_state_again_takes_power,
    a_membership_is_set_as_state,
    the_membership_of_somebody_else_is_not_set_to_join,
    a_membership_that_is_unknown_is_refused,
    a_canonical_alias_must_exist,
    a_canonical_alias_must_be_of_the_room,
    a_canonical_alias_must_be_an_alias,
    the_whole_event_is_read_if_wanted,
    the_same_state_again_is_no_error,
    a_world_readable_room_is_read_by_anybody_with_a_session,
    an_unknown_format_is_refused,
];

async fn state_is_set_and_read(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.sets_state(&room, "m.room.name", "", json!({ "name": "Tea" })).await.ok();
    assert!(answer.text("/event_id").starts_with('$'));
    assert_eq!(alice.reads_state(&room, "m.room.name", "").await.ok(), json!({ "name": "Tea" }));
    let event = alice.reads_event(&room, &answer.text("/event_id")).await.ok();
    assert_eq!(event["state_key"], "");
    assert_eq!(event["type"], "m.room.name");
}

async fn an_empty_state_key_may_be_left_out(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/rooms/{}/state/m.room.name", room);
    alice.put(path.clone(), json!({ "name": "Tea" })).await.ok();
    assert_eq!(alice.get(path.clone()).await.ok(), json!({ "name": "Tea" }));
    assert_eq!(alice.get(format!("{path}/")).await.ok(), json!({ "name": "Tea" }));
}

async fn a_state_key_may_hold_anything(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    for key in ["green tea", "a/b", "ü", "100%", "?&=#"] {
        alice.sets_state(&room, "org.example.tea", key, json!({ "key": key })).await.ok();
        let found = alice.reads_state(&room, "org.example.tea", key).await.ok();
        assert_eq!(found, json!({ "key": key }));
    }
}

async fn state_is_replaced(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    alice.sets_state(&room, "org.example.tea", "", json!({ "kind": "green", "sugar": 1 })).await.ok();
    alice.sets_state(&room, "org.example.tea", "", json!({ "kind": "black" })).await.ok();
    assert_eq!(alice.reads_state(&room, "org.example.tea", "").await.ok(), json!({ "kind": "black" }));
}

async fn the_event_has_the_content_that_it_replaces(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let old = json!({ "kind": "green" });
    alice.sets_state(&room, "org.example.tea", "", old.clone()).await.ok();
    let since = alice.sync_token().await;
    let answer = alice.sets_state(&room, "org.example.tea", "", json!({ "kind": "black" })).await.ok();
    let event = alice.hears(&since, &room, &answer.text("/event_id")).await;
    assert_eq!(event["unsigned"]["prev_content"], old, "{event}");
}

async fn members_hear_of_it(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = bob.sync_token().await;
    let answer = alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "Tea" })).await.ok();
    let heard = bob.hears(&since, &room, &answer.text("/event_id")).await;
    assert_eq!(heard["state_key"], "");
    assert_eq!(heard["content"]["topic"], "Tea");
}

async fn all_state_has_one_event_for_each_key(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    for name in ["Tea", "Coffee"] {
        alice.sets_state(&room, "m.room.name", "", json!({ "name": name })).await.ok();
    }
    let state = alice.reads_all_state(&room).await.ok();
    let events = state.as_array().cloned().unwrap_or_default();
    let mut keys: Vec<_> =
        events.iter().map(|event| (event.text("/type"), event.text("/state_key"))).collect();
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count, "{state}");
    let name = events.iter().find(|event| event["type"] == "m.room.name").cloned().unwrap_or_default();
    assert_eq!(name["content"]["name"], "Coffee");
    for field in ["event_id", "sender", "origin_server_ts", "room_id", "content"] {
        assert!(events.iter().all(|event| event.get(field).is_some()), "{field}: {state}");
    }
}

async fn state_that_is_not_there_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    alice.reads_state(&room, "m.room.topic", "").await.refused(404, "M_NOT_FOUND");
    alice.reads_state(&room, "m.room.join_rules", "other").await.refused(404, "M_NOT_FOUND");
}

async fn somebody_else_does_not_read_the_state(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.reads_all_state(&room).await.refused(403, "M_FORBIDDEN");
    bob.reads_state(&room, "m.room.create", "").await.refused(403, "M_FORBIDDEN");
}

async fn somebody_else_does_not_set_the_state(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.sets_state(&room, "m.room.name", "", json!({ "name": "Bob's" })).await.refused(403, "M_FORBIDDEN");
    alice.reads_state(&room, "m.room.name", "").await.refused(404, "M_NOT_FOUND");
}

async fn too_little_power_does_not_set_state(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.sets_state(&room, "m.room.name", "", json!({ "name": "Bob's" })).await.refused(403, "M_FORBIDDEN");
    alice.sets_power(&room, "users", &bob.id, 50).await;
    bob.sets_state(&room, "m.room.name", "", json!({ "name": "Bob's" })).await.ok();
}

async fn a_state_key_of_somebody_else_is_forbidden(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let answer = alice.sets_state(&room, "org.example.tea", &bob.id, json!({})).await;
    answer.refused(403, "M_FORBIDDEN");
}

async fn ones_own_state_key_needs_the_usual_power(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.sets_power(&room, "events", "org.example.tea", 0).await;
    bob.sets_state(&room, "org.example.tea", &bob.id, json!({ "kind": "green" })).await.ok();
    bob.sets_state(&room, "org.example.coffee", &bob.id, json!({})).await.refused(403, "M_FORBIDDEN");
}

async fn one_who_left_reads_the_state_of_then(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("name", json!("Then")).member(&bob).await;
    bob.leaves(&room).await.ok();
    alice.sets_state(&room, "m.room.name", "", json!({ "name": "Now" })).await.ok();
    assert_eq!(bob.reads_state(&room, "m.room.name", "").await.ok()["name"], "Then");
    let state = bob.reads_all_state(&room).await.ok();
    let names = state.as_array().into_iter().flatten();
    let names = names.filter(|event| event["type"] == "m.room.name");
    assert_eq!(names.map(|event| event["content"]["name"].clone()).collect::<Vec<_>>(), ["Then"]);
}

async fn one_who_left_does_not_set_the_state(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.sets_power(&room, "users", &bob.id, 50).await;
    bob.leaves(&room).await.ok();
    bob.sets_state(&room, "m.room.name", "", json!({ "name": "Bob's" })).await.refused(403, "M_FORBIDDEN");
}

async fn an_unknown_room_has_no_state(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.reads_all_state(&server.nowhere()).await;
    answer.refused_as(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]);
}

async fn a_body_that_is_not_an_object_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.sets_state(&room, "org.example.tea", "", json!("green")).await;
    answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]);
    alice.sets_state(&room, "org.example.tea", "", json!({})).raw("}").await.refused(400, "M_NOT_JSON");
    alice.reads_state(&room, "org.example.tea", "").await.refused(404, "M_NOT_FOUND");
}

async fn a_state_key_that_is_too_long_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.sets_state(&room, "org.example.tea", &"k".repeat(256), json!({})).await;
    assert!([400, 413].contains(&answer.status), "{answer}");
    assert!(!answer.errcode().is_empty(), "{answer}");
}

async fn the_create_event_is_set_only_once(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.sets_state(&room, "m.room.create", "", json!({ "room_version": "10" })).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn creators_with_power_of_their_own_are_not_listed(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice
        .creates_room()
        .with("room_version", json!("12"))
        .with("creation_content", json!({ "additional_creators": [bob.id] }))
        .member(&bob)
        .await;
    let mut levels = alice.reads_state(&room, "m.room.power_levels", "").await.ok();
    for creator in [&alice, &bob] {
        levels["users"] = json!({ &creator.id: 100 });
        let answer = alice.sets_state(&room, "m.room.power_levels", "", levels.clone()).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
}

async fn the_same_state_again_takes_power(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.sets_power(&room, "users", &bob.id, 50).await;
    let topic = json!({ "topic": "Tea" });
    bob.sets_state(&room, "m.room.topic", "", topic.clone()).await.ok();
    alice.sets_power(&room, "users", &bob.id, 0).await;
    bob.sets_state(&room, "m.room.topic", "", topic).await.refused(403, "M_FORBIDDEN");
}

async fn a_membership_is_set_as_state(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.sets_state(&room, "m.room.member", &bob.id, json!({ "membership": "join" })).await.ok();
    assert_eq!(alice.reads_membership(&room, &bob).await, "join");
    alice.sets_state(&room, "m.room.member", &bob.id, json!({ "membership": "ban" })).await.ok();
    assert_eq!(alice.reads_membership(&room, &bob).await, "ban");
}

async fn the_membership_of_somebody_else_is_not_set_to_join(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let answer = alice.sets_state(&room, "m.room.member", &bob.id, json!({ "membership": "join" })).await;
    answer.refused(403, "M_FORBIDDEN");
    alice.reads_state(&room, "m.room.member", &bob.id).await.refused(404, "M_NOT_FOUND");
}

async fn a_membership_that_is_unknown_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let content = json!({ "membership": "honorary" });
    let answer = alice.sets_state(&room, "m.room.member", &alice.id, content).await;
    assert!([400, 403].contains(&answer.status), "{answer}");
    assert_eq!(alice.reads_membership(&room, &alice).await, "join");
}

async fn a_canonical_alias_must_exist(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let content = json!({ "alias": server.alias() });
    alice.sets_state(&room, "m.room.canonical_alias", "", content).await.refused(400, "M_BAD_ALIAS");
}

async fn a_canonical_alias_must_be_of_the_room(server: Server) {
    let alice = server.user("alice").await;
    let (room, other) = (alice.creates_room().await, alice.creates_room().await);
    let alias = server.alias();
    alice.put(path!("/directory/room/{}", alias), json!({ "room_id": other.0 })).await.ok();
    let content = json!({ "alt_aliases": [alias] });
    let answer = alice.sets_state(&room, "m.room.canonical_alias", "", content.clone()).await;
    answer.refused(400, "M_BAD_ALIAS");
    alice.sets_state(&other, "m.room.canonical_alias", "", content).await.ok();
}

async fn a_canonical_alias_must_be_an_alias(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let content = json!({ "alias": "nonsense" });
    let answer = alice.sets_state(&room, "m.room.canonical_alias", "", content).await;
    answer.refused_as(&[(400, "M_INVALID_PARAM"), (400, "M_BAD_ALIAS")]);
}

async fn the_whole_event_is_read_if_wanted(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("name", json!("Tea")).await;
    let event = alice.reads_state(&room, "m.room.name", "").query("format", "event").await.ok();
    assert_eq!(event["content"]["name"], "Tea");
    assert_eq!(event["sender"], alice.id);
    assert_eq!(event["state_key"], "");
    assert!(event.text("/event_id").starts_with('$'));
    let content = alice.reads_state(&room, "m.room.name", "").query("format", "content").await.ok();
    assert_eq!(content, json!({ "name": "Tea" }));
}

async fn the_same_state_again_is_no_error(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    for _ in 0..2 {
        alice.sets_state(&room, "m.room.name", "", json!({ "name": "Tea" })).await.ok();
    }
    assert_eq!(alice.reads_state(&room, "m.room.name", "").await.ok(), json!({ "name": "Tea" }));
}

async fn a_world_readable_room_is_read_by_anybody_with_a_session(server: Server) {
    let (alice, bob) = server.pair().await;
    let visibility = json!({ "history_visibility": "world_readable" });
    let room = alice.creates_room().state("m.room.history_visibility", visibility).await;
    let state: Value = bob.reads_all_state(&room).await.ok();
    assert!(state.as_array().is_some_and(|events| events.len() > 3), "{state}");
    bob.reads_state(&room, "m.room.create", "").await.ok();
    assert!(sync::section(&bob.syncs().await.ok(), "join", &room).is_none());
}

async fn an_unknown_format_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("name", json!("Tea")).await;
    let answer = alice.reads_state(&room, "m.room.name", "").query("format", "poem").await;
    answer.refused(400, "M_INVALID_PARAM");
}
