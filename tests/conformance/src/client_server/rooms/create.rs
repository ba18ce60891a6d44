//! [`POST /createRoom`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom)

use std::{collections::BTreeSet, future::IntoFuture as _};

use serde_json::{Value, json};

use crate::{
    actor::{Room, User},
    server::Server,
    wire::Json as _,
};

tests![
    an_empty_request_makes_a_room,
    the_creator_is_a_member_with_power,
    a_private_chat_has_the_state_of_its_preset,
    a_public_chat_has_the_state_of_its_preset,
    in_a_trusted_chat_those_invited_have_the_power_of_the_creator,
    visibility_chooses_the_preset,
    a_room_is_unlisted_by_default,
    a_listed_room_is_listed,
    the_name_is_in_the_state,
    the_topic_is_in_the_state,
    the_name_goes_over_the_initial_state,
    the_initial_state_goes_over_the_preset,
    the_initial_state_may_have_state_keys,
    an_alias_is_made_and_is_canonical,
    a_taken_alias_is_in_use,
    those_invited_are_invited,
    a_direct_chat_says_so_in_the_invite,
    the_content_of_the_create_event_is_extended,
    the_creator_and_the_version_are_not_overridden,
    the_version_is_the_one_that_was_asked_for,
    an_unknown_version_is_unsupported,
    a_text_that_is_no_version_is_unsupported,
    a_version_that_is_not_text_is_refused,
    a_visibility_that_is_none_is_refused,
    levels_may_be_texts_until_version_9,
    power_levels_are_overridden,
    power_levels_that_are_malformed_are_refused,
    a_state_that_the_creator_may_not_set_is_invalid,
    an_unknown_preset_is_refused,
    an_invalid_invite_is_refused,
    a_body_that_is_not_json_is_refused,
    a_body_that_is_not_an_object_is_refused,
    a_name_that_is_not_text_is_refused,
    an_alias_that_is_invalid_is_refused,
    the_events_are_in_the_order_of_the_specification,
    the_creator_hears_of_the_room,
    two_rooms_are_two,
    many_rooms_alike_are_made_at_once,
    a_guest_makes_no_room_or_is_forbidden,
];

async fn content(user: &User, room: &Room, event_type: &str) -> Value {
    user.reads_state(room, event_type, "").await.ok()
}

async fn an_empty_request_makes_a_room(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/createRoom", json!({})).await.ok();
    let room = answer.text("/room_id");
    assert!(room.starts_with('!'), "{room}");
    let joined = alice.get("/joined_rooms").await.ok();
    assert_eq!(joined["joined_rooms"], json!([room]));
}

async fn the_creator_is_a_member_with_power(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("room_version", json!("11")).await;
    assert_eq!(alice.reads_membership(&room, &alice).await, "join");
    let levels = content(&alice, &room, "m.room.power_levels").await;
    assert_eq!(levels["users"][&alice.id], 100, "{levels}");
}

async fn a_private_chat_has_the_state_of_its_preset(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("preset", json!("private_chat")).await;
    assert_eq!(content(&alice, &room, "m.room.join_rules").await["join_rule"], "invite");
    let visibility = content(&alice, &room, "m.room.history_visibility").await;
    assert_eq!(visibility["history_visibility"], "shared");
    assert_eq!(content(&alice, &room, "m.room.guest_access").await["guest_access"], "can_join");
}

async fn a_public_chat_has_the_state_of_its_preset(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().public().await;
    assert_eq!(content(&alice, &room, "m.room.join_rules").await["join_rule"], "public");
    let visibility = content(&alice, &room, "m.room.history_visibility").await;
    assert_eq!(visibility["history_visibility"], "shared");
    let access = alice.reads_state(&room, "m.room.guest_access", "").await;
    // No event means the same.
    if access.status != 404 {
        assert_eq!(access.ok()["guest_access"], "forbidden");
    }
}

async fn in_a_trusted_chat_those_invited_have_the_power_of_the_creator(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("preset", json!("trusted_private_chat"));
    let room = room.with("room_version", json!("11")).member(&bob).await;
    let levels = content(&alice, &room, "m.room.power_levels").await;
    assert_eq!(levels["users"][&bob.id], levels["users"][&alice.id], "{levels}");
    assert_eq!(content(&alice, &room, "m.room.join_rules").await["join_rule"], "invite");
}

async fn visibility_chooses_the_preset(server: Server) {
    let alice = server.user("alice").await;
    for (visibility, rule) in [("public", "public"), ("private", "invite")] {
        let answer = alice.post("/createRoom", json!({ "visibility": visibility })).await.ok();
        let room = Room(answer.text("/room_id"));
        assert_eq!(content(&alice, &room, "m.room.join_rules").await["join_rule"], rule);
    }
}

async fn a_room_is_unlisted_by_default(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().public().await;
    let answer = alice.get(path!("/directory/list/room/{}", room)).await.ok();
    assert_eq!(answer["visibility"], "private");
}

async fn a_listed_room_is_listed(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().public().with("visibility", json!("public")).await;
    let answer = alice.get(path!("/directory/list/room/{}", room)).await.ok();
    assert_eq!(answer["visibility"], "public");
}

async fn the_name_is_in_the_state(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("name", json!("The Grand Duke Pub")).await;
    assert_eq!(content(&alice, &room, "m.room.name").await["name"], "The Grand Duke Pub");
}

async fn the_topic_is_in_the_state(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("topic", json!("All about happy hour")).await;
    assert_eq!(content(&alice, &room, "m.room.topic").await["topic"], "All about happy hour");
}

async fn the_name_goes_over_the_initial_state(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("name", json!("Pub"));
    let room = room.state("m.room.name", json!({ "name": "Café" })).await;
    assert_eq!(content(&alice, &room, "m.room.name").await["name"], "Pub");
}

async fn the_initial_state_goes_over_the_preset(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().public();
    let room = room.state("m.room.join_rules", json!({ "join_rule": "invite" })).await;
    assert_eq!(content(&alice, &room, "m.room.join_rules").await["join_rule"], "invite");
}

async fn the_initial_state_may_have_state_keys(server: Server) {
    let alice = server.user("alice").await;
    let state = json!([
        { "type": "org.example.tea", "state_key": "green", "content": { "left": 3 } },
        { "type": "org.example.tea", "content": { "left": 0 } },
    ]);
    let room = alice.creates_room().with("initial_state", state).await;
    assert_eq!(alice.reads_state(&room, "org.example.tea", "green").await.ok(), json!({ "left": 3 }));
    assert_eq!(content(&alice, &room, "org.example.tea").await, json!({ "left": 0 }));
}

async fn an_alias_is_made_and_is_canonical(server: Server) {
    let alice = server.user("alice").await;
    let name = server.unique("pub");
    let room = alice.creates_room().with("room_alias_name", json!(name)).await;
    let alias = format!("#{name}:{}", server.name());
    assert_eq!(content(&alice, &room, "m.room.canonical_alias").await["alias"], alias);
    assert_eq!(alice.get(path!("/directory/room/{}", alias)).await.ok()["room_id"], room.0);
}

async fn a_taken_alias_is_in_use(server: Server) {
    let alice = server.user("alice").await;
    let name = server.unique("pub");
    alice.creates_room().with("room_alias_name", json!(name)).await;
    let answer = alice.post("/createRoom", json!({ "room_alias_name": name })).await;
    answer.refused(400, "M_ROOM_IN_USE");
}

async fn those_invited_are_invited(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().with("invite", json!([bob.id, carl.id])).await;
    assert_eq!(alice.reads_membership(&room, &bob).await, "invite");
    assert_eq!(alice.reads_membership(&room, &carl).await, "invite");
    bob.joins(&room).await.ok();
}

async fn a_direct_chat_says_so_in_the_invite(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("invite", json!([bob.id])).with("is_direct", json!(true)).await;
    let member = alice.reads_state(&room, "m.room.member", &bob.id).await.ok();
    assert_eq!(member["is_direct"], true);
    let room = alice.creates_room().with("invite", json!([bob.id])).await;
    let member = alice.reads_state(&room, "m.room.member", &bob.id).await.ok();
    assert_ne!(member["is_direct"], true);
}

async fn the_content_of_the_create_event_is_extended(server: Server) {
    let alice = server.user("alice").await;
    let extra = json!({ "m.federate": false, "type": "org.example.club" });
    let room = alice.creates_room().with("creation_content", extra).await;
    let create = content(&alice, &room, "m.room.create").await;
    assert_eq!(create["m.federate"], false);
    assert_eq!(create["type"], "org.example.club");
}

async fn the_creator_and_the_version_are_not_overridden(server: Server) {
    let alice = server.user("alice").await;
    let extra = json!({ "creator": "@mallory:elsewhere.example", "room_version": "1" });
    let room = alice.creates_room().with("creation_content", extra).with("room_version", json!("10")).await;
    let create = content(&alice, &room, "m.room.create").await;
    assert_eq!(create["creator"], alice.id);
    assert_eq!(create["room_version"], "10");
}

async fn the_version_is_the_one_that_was_asked_for(server: Server) {
    let alice = server.user("alice").await;
    for version in ["3", "4", "5", "6", "9", "10", "12"] {
        let room = alice.creates_room().with("room_version", json!(version)).await;
        assert_eq!(content(&alice, &room, "m.room.create").await["room_version"], version);
        alice.says(&room, "hello").await;
    }
}

async fn an_unknown_version_is_unsupported(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/createRoom", json!({ "room_version": "org.example.99" })).await;
    answer.refused(400, "M_UNSUPPORTED_ROOM_VERSION");
}

async fn a_text_that_is_no_version_is_unsupported(server: Server) {
    let alice = server.user("alice").await;
    for version in ["my_bad_version", "", &"1".repeat(33), "\u{1f375}"] {
        let answer = alice.post("/createRoom", json!({ "room_version": version })).await;
        answer.refused(400, "M_UNSUPPORTED_ROOM_VERSION");
    }
}

async fn a_visibility_that_is_none_is_refused(server: Server) {
    let alice = server.user("alice").await;
    for visibility in [json!("nope"), json!(""), json!(1), json!([])] {
        let answer = alice.post("/createRoom", json!({ "visibility": visibility })).await;
        answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")]);
    }
}

async fn levels_may_be_texts_until_version_9(server: Server) {
    let (alice, bob) = server.pair().await;
    let levels = json!({ "events_default": "25", "users": { &alice.id: "100" } });
    for (version, status) in [("9", 200), ("10", 400)] {
        let body = json!({
            "room_version": version, "preset": "public_chat", "power_level_content_override": levels,
        });
        let answer = alice.post("/createRoom", body).await;
        assert_eq!(answer.status, status, "{version}: {answer}");
        if status == 200 {
            let room = Room(answer.ok().text("/room_id"));
            bob.joins(&room).await.ok();
            let text = json!({ "msgtype": "m.text", "body": "hello" });
            bob.sends(&room, "m.room.message", text).await.refused(403, "M_FORBIDDEN");
        }
    }
}

async fn a_version_that_is_not_text_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/createRoom", json!({ "room_version": 11 })).await;
    answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_UNSUPPORTED_ROOM_VERSION"), (400, "M_INVALID_PARAM")]);
}

async fn power_levels_are_overridden(server: Server) {
    let (alice, bob) = server.pair().await;
    let levels = json!({ "events_default": 25, "events": { "m.room.topic": 0 } });
    let room = alice.creates_room().with("power_level_content_override", levels).member(&bob).await;
    let found = content(&alice, &room, "m.room.power_levels").await;
    assert_eq!(found["events_default"], 25, "{found}");
    assert_eq!(found["events"]["m.room.topic"], 0, "{found}");
    let text = json!({ "msgtype": "m.text", "body": "hello" });
    bob.sends(&room, "m.room.message", text).await.refused(403, "M_FORBIDDEN");
    bob.sets_state(&room, "m.room.topic", "", json!({ "topic": "Tea" })).await.ok();
}

async fn power_levels_that_are_malformed_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let body = json!({ "power_level_content_override": { "users": "everybody" } });
    let answer = alice.post("/createRoom", body).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn a_state_that_the_creator_may_not_set_is_invalid(server: Server) {
    let alice = server.user("alice").await;
    let body = json!({
        "room_version": "11",
        "name": "Pub",
        "power_level_content_override": { "users": { alice.id.as_str(): 10 }, "events": { "m.room.name": 50 } },
    });
    let answer = alice.post("/createRoom", body).await;
    answer.refused(400, "M_INVALID_ROOM_STATE");
}

async fn an_unknown_preset_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/createRoom", json!({ "preset": "org.example.party" })).await;
    answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_UNKNOWN"), (400, "M_INVALID_PARAM")]);
}

async fn an_invalid_invite_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/createRoom", json!({ "invite": ["nobody"] })).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn a_body_that_is_not_json_is_refused(server: Server) {
    let alice = server.user("alice").await;
    alice.post("/createRoom", json!({})).raw("{\"name\":").await.refused(400, "M_NOT_JSON");
}

async fn a_body_that_is_not_an_object_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/createRoom", json!(["name"])).await;
    answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]);
}

async fn a_name_that_is_not_text_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/createRoom", json!({ "name": ["Pub"] })).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn an_alias_that_is_invalid_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/createRoom", json!({ "room_alias_name": "a:b" })).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn the_events_are_in_the_order_of_the_specification(server: Server) {
    let (alice, bob) = server.pair().await;
    let name = server.unique("pub");
    let room = alice.creates_room().with("name", json!("Pub")).with("invite", json!([bob.id]));
    let room = room.with("room_alias_name", json!(name)).state("org.example.tea", json!({})).await;
    let page = alice.get(path!("/rooms/{}/messages", room)).query("dir", "f").query("limit", 50);
    let page = page.await.ok();
    let found: Vec<_> = page.list("/chunk").iter().map(|event| event.text("/type")).collect();
    let position = |event_type: &str| {
        let position = found.iter().position(|found| found == event_type);
        position.unwrap_or_else(|| panic!("no {event_type} in {found:?}"))
    };
    let order = ["m.room.create", "m.room.member", "m.room.power_levels", "m.room.canonical_alias"];
    assert_eq!(order.map(position), [0, 1, 2, 3], "{found:?}");
    let later = ["m.room.join_rules", "org.example.tea", "m.room.name"].map(position);
    assert!(later.is_sorted(), "{found:?}");
    assert_eq!(page.list("/chunk").last().map(|event| event["state_key"].clone()), Some(json!(bob.id)));
}

async fn the_creator_hears_of_the_room(server: Server) {
    let alice = server.user("alice").await;
    let since = alice.sync_token().await;
    let room = alice.creates_room().await;
    let is_there = |answer: &Value| crate::actor::sync::section(answer, "join", &room).is_some();
    alice.syncs_until(&since, "the room", is_there).await;
}

async fn two_rooms_are_two(server: Server) {
    let alice = server.user("alice").await;
    let (one, two) = (alice.creates_room().await, alice.creates_room().await);
    assert_ne!(one, two);
    let joined = alice.get("/joined_rooms").await.ok();
    assert_eq!(joined.list("/joined_rooms").len(), 2);
}

/// Nothing but chance makes the create events of equal requests differ, where they name the room.
async fn many_rooms_alike_are_made_at_once(server: Server) {
    let alice = server.user("alice").await;
    for version in ["11", "12"] {
        let body = json!({ "name": "same", "room_version": version });
        let requests = (0..16).map(|_| alice.post("/createRoom", body.clone()).into_future());
        let answers = futures::future::join_all(requests).await;
        let rooms: BTreeSet<String> =
            answers.into_iter().map(|answer| answer.ok().text("/room_id")).collect();
        assert_eq!(rooms.len(), 16, "{rooms:?}");
    }
}

async fn a_guest_makes_no_room_or_is_forbidden(server: Server) {
    let guest = server.guest().await;
    let answer = guest.post("/createRoom", json!({})).await;
    answer.refused_as(&[(403, "M_GUEST_ACCESS_FORBIDDEN"), (403, "M_FORBIDDEN")]);
}
