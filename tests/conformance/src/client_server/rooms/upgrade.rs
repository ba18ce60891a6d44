//! [`POST /rooms/{roomId}/upgrade`][spec]
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidupgrade

use std::future::IntoFuture as _;

use serde_json::{Value, json};

use crate::{
    actor::{Room, User},
    server::Server,
    wire::{Json as _, Request},
};

tests![
    the_rooms_point_at_each_other,
    the_state_that_matters_is_taken_over,
    bans_are_taken_over,
    aliases_move,
    only_moderators_speak_in_the_old_room,
    power_is_needed,
    an_unknown_version_is_refused,
    an_unknown_room_is_refused,
    creators_of_the_new_room_are_not_listed,
    additional_creators_are_as_asked,
    power_is_not_gained_by_upgrading,
    power_above_the_usual_is_kept,
    of_many_upgrades_at_once_one_wins,
    an_upgraded_room_is_not_upgraded_to_another_version,
    settings_go_with_who_upgrades_a_room,
    settings_go_with_who_joins_the_new_room,
];

fn upgrades(user: &User, room: &Room, version: &str) -> Request {
    user.post(path!("/rooms/{}/upgrade", room), json!({ "new_version": version }))
}

async fn upgraded(user: &User, room: &Room, version: &str) -> Room {
    Room(upgrades(user, room, version).await.ok().text("/replacement_room"))
}

async fn content(user: &User, room: &Room, event_type: &str) -> Value {
    user.reads_state(room, event_type, "").await.ok()
}

async fn the_rooms_point_at_each_other(server: Server) {
    let alice = server.user("alice").await;
    for version in ["11", "12"] {
        let creation = json!({ "type": "org.example.kind", "m.federate": false });
        let old =
            alice.creates_room().with("room_version", json!("10")).with("creation_content", creation).await;
        let new = upgraded(&alice, &old, version).await;
        assert_eq!(content(&alice, &old, "m.room.tombstone").await["replacement_room"], new.0);
        let create = content(&alice, &new, "m.room.create").await;
        assert_eq!((&create["room_version"], &create["type"]), (&json!(version), &json!("org.example.kind")));
        assert_eq!(create["predecessor"]["room_id"], old.0, "{create}");
        assert_eq!(create["m.federate"], false, "{create}");
    }
}

async fn the_state_that_matters_is_taken_over(server: Server) {
    let alice = server.user("alice").await;
    let state = [
        ("m.room.topic", json!({ "topic": "Beer" })),
        ("m.room.avatar", json!({ "url": "mxc://example.org/avatar" })),
        ("m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2" })),
        (
            "m.room.server_acl",
            json!({ "allow": ["*"], "deny": ["evil.example.org"], "allow_ip_literals": true }),
        ),
        ("m.room.history_visibility", json!({ "history_visibility": "joined" })),
        ("m.room.guest_access", json!({ "guest_access": "forbidden" })),
        ("m.room.join_rules", json!({ "join_rule": "knock" })),
    ];
    let mut old = alice.creates_room().with("name", json!("Pub"));
    for (event_type, content) in state.clone() {
        old = old.state(event_type, content);
    }
    let old = old.await;
    let new = upgraded(&alice, &old, "11").await;
    assert_eq!(content(&alice, &new, "m.room.name").await["name"], "Pub");
    for (event_type, expected) in state {
        let told = content(&alice, &new, event_type).await;
        for (key, value) in expected.as_object().expect("an object") {
            assert_eq!(told.get(key), Some(value), "{event_type}");
        }
    }
}

async fn bans_are_taken_over(server: Server) {
    let (alice, bob) = server.pair().await;
    let old = alice.creates_room().public().await;
    alice.bans(&bob, &old).await.ok();
    let new = upgraded(&alice, &old, "11").await;
    bob.joins(&new).await.refused_as(&[(403, "M_FORBIDDEN"), (403, "M_BAD_STATE")]);
}

async fn aliases_move(server: Server) {
    let alice = server.user("alice").await;
    let name = server.unique("upgraded");
    let old = alice.creates_room().with("room_alias_name", json!(name)).await;
    let new = upgraded(&alice, &old, "11").await;
    let alias = format!("#{name}:{}", server.name());
    assert_eq!(alice.get(path!("/directory/room/{}", alias)).await.ok()["room_id"], new.0);
    assert_eq!(content(&alice, &new, "m.room.canonical_alias").await["alias"], alias);
}

async fn only_moderators_speak_in_the_old_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let old = alice.creates_room().public().member(&bob).await;
    upgraded(&alice, &old, "11").await;
    bob.sends(&old, "m.room.message", json!({ "msgtype": "m.text", "body": "x" }))
        .await
        .refused(403, "M_FORBIDDEN");
    alice.says(&old, "farewell").await;
}

async fn power_is_needed(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().member(&bob).await;
    upgrades(&bob, &room, "11").await.refused(403, "M_FORBIDDEN");
    let stranger = server.user("carol").await;
    upgrades(&stranger, &room, "11").await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.reads_state(&room, "m.room.tombstone", "").await.status, 404);
}

async fn an_unknown_version_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    for version in ["no-such-version", "my_bad_version", "", &"1".repeat(33)] {
        upgrades(&alice, &room, version).await.refused(400, "M_UNSUPPORTED_ROOM_VERSION");
    }
    let missing = alice.post(path!("/rooms/{}/upgrade", room), json!({})).await;
    missing.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

async fn an_unknown_room_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = upgrades(&alice, &server.nowhere(), "11").await;
    answer.refused_as(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]);
}

async fn creators_of_the_new_room_are_not_listed(server: Server) {
    let (alice, bob) = server.pair().await;
    let old = alice.creates_room().public().with("room_version", json!("11")).member(&bob).await;
    alice.sets_power(&old, "users", &bob.id, 100).await;
    let new = upgraded(&bob, &old, "12").await;
    let users = content(&bob, &new, "m.room.power_levels").await["users"].clone();
    assert!(users.get(&bob.id).is_none(), "{users}");
    assert_eq!(users[&alice.id], 100, "{users}");
}

async fn additional_creators_are_as_asked(server: Server) {
    let (alice, bob) = server.pair().await;
    let old = alice.creates_room().public().with("room_version", json!("11")).member(&bob).await;
    alice.sets_power(&old, "users", &bob.id, 100).await;
    let request = upgrades(&alice, &old, "12").with("additional_creators", json!([bob.id]));
    let new = Room(request.await.ok().text("/replacement_room"));
    let create = content(&alice, &new, "m.room.create").await;
    assert_eq!(create["additional_creators"], json!([bob.id]));
    let users = content(&alice, &new, "m.room.power_levels").await["users"].clone();
    assert!(users.get(&alice.id).is_none() && users.get(&bob.id).is_none(), "{users}");
}

/// A moderator who may end a room has the power of a moderator in the new one.
async fn power_is_not_gained_by_upgrading(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    for (from, to) in [("10", "11"), ("11", "10")] {
        let old = alice.creates_room().public().with("room_version", json!(from)).member(&bob).await;
        carl.joins(&old).await.ok();
        let mut levels = content(&alice, &old, "m.room.power_levels").await;
        levels["users"] = json!({ &alice.id: 100, &bob.id: 50 });
        levels["events"]["m.room.tombstone"] = json!(50);
        alice.sets_state(&old, "m.room.power_levels", "", levels.clone()).await.ok();
        let new = upgraded(&bob, &old, to).await;
        let told = content(&bob, &new, "m.room.power_levels").await;
        assert_eq!(told["users"], levels["users"], "{from} to {to}: {told}");
        bob.sets_state(&new, "m.room.history_visibility", "", json!({ "history_visibility": "joined" }))
            .await
            .refused(403, "M_FORBIDDEN");
        alice.joins(&new).await.ok();
        alice.kicks(&bob, &new).await.ok();
    }
}

async fn power_above_the_usual_is_kept(server: Server) {
    let (alice, bob) = server.pair().await;
    let levels = json!({ "users": { &alice.id: 300, &bob.id: 100, "@high:example.org": 200 } });
    let make = || {
        let room = alice.creates_room().public().with("room_version", json!("11")).member(&bob);
        room.with("power_level_content_override", levels.clone())
    };
    let new = upgraded(&bob, &make().await, "11").await;
    assert_eq!(content(&bob, &new, "m.room.power_levels").await["users"], levels["users"]);
    // Who makes a room of version 12 stands above all levels and is not listed; the others have the level they had.
    let new = upgraded(&bob, &make().await, "12").await;
    let users = content(&bob, &new, "m.room.power_levels").await["users"].clone();
    assert_eq!(users, json!({ &alice.id: 300, "@high:example.org": 200 }));
}

async fn of_many_upgrades_at_once_one_wins(server: Server) {
    let (alice, bob) = server.pair().await;
    let name = server.unique("raced");
    let old = alice
        .creates_room()
        .public()
        .with("room_version", json!("10"))
        .with("room_alias_name", json!(name))
        .member(&bob)
        .await;
    alice.sets_power(&old, "users", &bob.id, 100).await;
    let requests = (0..5).flat_map(|_| [&alice, &bob]).map(|user| upgrades(user, &old, "11").into_future());
    let answers = futures::future::join_all(requests).await;
    let mut replacements = std::collections::BTreeSet::new();
    for answer in answers {
        if answer.status == 200 {
            replacements.insert(answer.body.text("/replacement_room"));
        } else {
            assert!(answer.status < 500 && !answer.errcode().is_empty(), "{answer}");
        }
    }
    assert_eq!(replacements.len(), 1, "{replacements:?}");
    let new = content(&alice, &old, "m.room.tombstone").await.text("/replacement_room");
    assert!(replacements.contains(&new), "{new} {replacements:?}");
    let alias = format!("#{name}:{}", server.name());
    assert_eq!(alice.get(path!("/directory/room/{}", alias)).await.ok()["room_id"], new);
    // Nobody is in a room that replaces nothing.
    let mut joined = std::collections::BTreeSet::new();
    for user in [&alice, &bob] {
        let answer = user.get("/joined_rooms").await.ok();
        joined.extend(answer.list("/joined_rooms").iter().filter_map(Value::as_str).map(str::to_owned));
    }
    assert_eq!(joined, [old.0, new].into(), "{joined:?}");
}

async fn an_upgraded_room_is_not_upgraded_to_another_version(server: Server) {
    let alice = server.user("alice").await;
    let old = alice.creates_room().with("room_version", json!("10")).await;
    let new = upgraded(&alice, &old, "11").await;
    // Who sends the request again because the answer did not come gets it.
    assert_eq!(upgraded(&alice, &old, "11").await, new);
    // Another wish is refused, or answered by what has been made.
    let other = upgrades(&alice, &old, "12").await;
    if other.status == 200 {
        assert_eq!(other.body.text("/replacement_room"), new.0, "{other}");
    } else {
        assert!(other.status < 500 && !other.errcode().is_empty(), "{other}");
    }
    assert_eq!(content(&alice, &old, "m.room.tombstone").await["replacement_room"], new.0);
}

/// Has the user mute a room by both kinds of rules, mark it as direct and tag it.
async fn settles(user: &User, room: &Room) {
    let actions = json!({ "actions": ["notify"] });
    user.put(path!("/pushrules/global/room/{}", room), actions).await.ok();
    let condition = json!({ "kind": "event_match", "key": "room_id", "pattern": room.0 });
    let rule = json!({ "actions": [], "conditions": [condition] });
    user.put(path!("/pushrules/global/override/{}", room), rule).await.ok();
    let direct = json!({ "@carl:example.org": [room.0] });
    user.put(path!("/user/{}/account_data/m.direct", user.id), direct).await.ok();
    user.put(path!("/user/{}/rooms/{}/tags/u.tea", user.id, room), json!({ "order": 0.5 })).await.ok();
}

/// The user has for the new room what they had for the old one.
async fn is_settled(user: &User, old: &Room, new: &Room) {
    let rule = user.get(path!("/pushrules/global/room/{}", new)).await.ok();
    assert_eq!(rule["actions"], json!(["notify"]), "{rule}");
    let rules = user.get("/pushrules/").await.ok();
    let asks = |rule: &&Value| {
        let conditions = rule["conditions"].as_array().into_iter().flatten();
        conditions.clone().any(|condition| condition["pattern"] == new.0)
    };
    let rule = rules.list("/global/override").iter().find(asks).expect("an override");
    assert_eq!(rule["actions"], json!([]), "{rule}");
    let direct = user.get(path!("/user/{}/account_data/m.direct", user.id)).await.ok();
    assert!(direct.list("/@carl:example.org").contains(&json!(new.0)), "{direct}");
    assert!(direct.list("/@carl:example.org").contains(&json!(old.0)), "{direct}");
    let tags = user.get(path!("/user/{}/rooms/{}/tags", user.id, new)).await.ok();
    assert_eq!(tags, json!({ "tags": { "u.tea": { "order": 0.5 } } }));
}

async fn settings_go_with_who_upgrades_a_room(server: Server) {
    let alice = server.user("alice").await;
    let old = alice.creates_room().await;
    settles(&alice, &old).await;
    let new = upgraded(&alice, &old, "11").await;
    is_settled(&alice, &old, &new).await;
}

async fn settings_go_with_who_joins_the_new_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let old = alice.creates_room().public().member(&bob).await;
    settles(&bob, &old).await;
    let new = upgraded(&alice, &old, "11").await;
    bob.joins(&new).await.ok();
    is_settled(&bob, &old, &new).await;
}
