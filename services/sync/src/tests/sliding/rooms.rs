//! Tests rooms in answers.

use serde_json::{Value, json};

use super::{ALICE, BOB, Connection, World, all, ids, keys, rooms};

const ROOM: &str = "!room:test";

#[tokio::test]
async fn a_window_has_the_newest_rooms_and_grows_without_telling_any_again() {
    let world = World::new();
    for number in 0..6 {
        world.create(&format!("!{number}:test"), ALICE).await;
    }
    world.say("!2:test", ALICE, "newest").await;
    let replica = world.replica().await;
    let mut connection = Connection::new(&world, &replica);
    let answer = connection.ask(&all(2, 1, &[])).await;
    assert_eq!(answer["lists"]["all"]["count"], 6);
    assert_eq!(rooms(&answer), ["!2:test", "!5:test"]);
    assert_eq!(answer["rooms"]["!2:test"]["initial"], true);
    assert_eq!(answer["rooms"]["!2:test"]["num_live"], 0);
    let answer = connection.ask(&all(4, 1, &[])).await;
    assert_eq!(rooms(&answer), ["!3:test", "!4:test"]);
    let answer = connection.ask(&all(4, 1, &[])).await;
    assert_eq!(rooms(&answer), [""; 0]);
    // What happens lifts a room into the window: it is new there, with one live event.
    let said = world.say("!0:test", ALICE, "mention").await;
    let answer = connection.ask(&all(4, 2, &[])).await;
    assert!(rooms(&answer).contains(&"!0:test"), "{answer}");
    let room = &answer["rooms"]["!0:test"];
    assert_eq!((&room["initial"], &room["num_live"]), (&json!(true), &json!(1)));
    assert_eq!(ids(&room["timeline"]).last(), Some(&said.as_str()));
    // The others have more of their timeline told, as more is wanted.
    assert_eq!(answer["rooms"]["!2:test"]["unstable_expanded_timeline"], true);
    assert_eq!(answer["rooms"]["!2:test"]["num_live"], 0);
}

#[tokio::test]
async fn news_are_told_once_and_again_for_the_same_position() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    let replica = world.replica().await;
    let mut connection = Connection::new(&world, &replica);
    let body = all(1, 10, &[("m.room.topic", ""), ("m.room.member", "$ME")]);
    let answer = connection.ask(&body).await;
    let room = &answer["rooms"][ROOM];
    assert_eq!(keys(&room["required_state"]), [format!("m.room.member|{ALICE}")]);
    assert_eq!((&room["joined_count"], &room["limited"]), (&json!(2), &json!(false)));
    let before = connection.pos.clone();
    let said = world.say(ROOM, BOB, "one").await;
    let set = world.set(ROOM, BOB, "m.room.topic", "", json!({"topic": "t"})).await;
    let answer = connection.ask(&body).await;
    let room = &answer["rooms"][ROOM];
    assert_eq!(ids(&room["timeline"]), [said.as_str(), set.as_str()]);
    assert_eq!(ids(&room["required_state"]), [set.as_str()]);
    assert_eq!((&room["initial"], &room["joined_count"]), (&Value::Null, &Value::Null));
    assert_eq!((&room["num_live"], &room["notification_count"]), (&json!(2), &json!(1)));
    assert_eq!(rooms(&connection.ask(&body).await), [""; 0]);
    // It never got the answer, and asks with another body.
    connection.pos = before;
    let replica = world.replica().await;
    connection.replica = &replica;
    let answer = connection.ask(&all(1, 1, &[])).await;
    let room = &answer["rooms"][ROOM];
    assert_eq!((ids(&room["timeline"]), &room["limited"]), (vec![set.as_str()], &json!(true)));
}

#[tokio::test]
async fn other_state_and_more_events_are_told_at_once_and_less_is_not() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": "t"})).await;
    for number in 0..5 {
        world.say(ROOM, ALICE, &number.to_string()).await;
    }
    let replica = world.replica().await;
    let mut connection = Connection::new(&world, &replica);
    connection.ask(&all(1, 1, &[("m.room.create", "")])).await;
    let subscribed = |limit: u64| {
        let mut body = all(1, 1, &[("m.room.create", "")]);
        let wish = json!({"timeline_limit": limit, "required_state": [["m.room.topic", ""]]});
        body["room_subscriptions"] = json!({ ROOM: wish });
        body
    };
    let answer = connection.ask(&subscribed(4)).await;
    let room = &answer["rooms"][ROOM];
    assert_eq!(room["unstable_expanded_timeline"], true);
    assert_eq!((ids(&room["timeline"]).len(), &room["limited"]), (4, &json!(true)));
    assert_eq!(keys(&room["required_state"]), ["m.room.create|", "m.room.topic|"]);
    assert_eq!(room["initial"], Value::Null);
    assert_eq!(rooms(&connection.ask(&subscribed(2)).await), [""; 0]);
    assert_eq!(rooms(&connection.ask(&subscribed(4)).await), [""; 0], "four events were told");
    // News under the smaller wish void what was told by the greater one.
    world.say(ROOM, ALICE, "six").await;
    assert_eq!(ids(&connection.ask(&subscribed(2)).await["rooms"][ROOM]["timeline"]).len(), 1);
    let answer = connection.ask(&subscribed(4)).await;
    assert_eq!(answer["rooms"][ROOM]["unstable_expanded_timeline"], true);
}

#[tokio::test]
async fn members_are_told_as_the_timeline_needs_them() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    for user in ["@b:test", "@c:test", "@d:test"] {
        world.member(ROOM, user, user, "join").await;
    }
    world.say(ROOM, "@c:test", "one").await;
    let replica = world.replica().await;
    let mut connection = Connection::new(&world, &replica);
    let lazy = all(1, 1, &[("m.room.member", "$LAZY"), ("m.room.member", "$ME")]);
    let answer = connection.ask(&lazy).await;
    let told = |answer: &Value| keys(&answer["rooms"][ROOM]["required_state"]);
    assert_eq!(told(&answer), [format!("m.room.member|{ALICE}"), "m.room.member|@c:test".to_owned()]);
    assert_eq!(answer["rooms"][ROOM]["heroes"].as_array().map(Vec::len), Some(3));
    world.say(ROOM, "@b:test", "two").await;
    assert_eq!(told(&connection.ask(&lazy).await), ["m.room.member|@b:test"]);
    let everybody = all(1, 1, &[("m.room.member", "*")]);
    assert_eq!(told(&connection.ask(&everybody).await).len(), 4);
}

#[tokio::test]
async fn invites_are_stripped_and_joining_them_is_new() {
    let world = World::new();
    world.create(ROOM, BOB).await;
    world.set(ROOM, BOB, "m.room.name", "", json!({"name": "Bob's"})).await;
    world.member(ROOM, BOB, ALICE, "invite").await;
    let replica = world.replica().await;
    let mut connection = Connection::new(&world, &replica);
    let body = all(1, 3, &[("m.room.name", "")]);
    let answer = connection.ask(&body).await;
    let room = &answer["rooms"][ROOM];
    assert!(keys(&room["invite_state"]).contains(&"m.room.name|".to_owned()), "{room}");
    assert_eq!((&room["name"], &room["initial"]), (&json!("Bob's"), &json!(true)));
    assert_eq!((&room["timeline"], &room["required_state"]), (&Value::Null, &json!([])));
    world.say(ROOM, BOB, "not for the invited").await;
    assert_eq!(rooms(&connection.ask(&body).await), [""; 0]);
    world.member(ROOM, ALICE, ALICE, "join").await;
    let answer = connection.ask(&body).await;
    let room = &answer["rooms"][ROOM];
    assert_eq!((&room["initial"], &room["invite_state"]), (&json!(true), &Value::Null));
    assert_eq!(ids(&room["timeline"]).len(), 3);
}

#[tokio::test]
async fn that_one_left_is_told_wherever_one_left_and_nothing_after_it() {
    let world = World::new();
    for room in ["!left:test", "!kicked:test", "!never:test", "!other:test"] {
        world.create(room, BOB).await;
        world.member(room, ALICE, ALICE, "join").await;
    }
    world.member("!never:test", ALICE, ALICE, "leave").await;
    let replica = world.replica().await;
    let mut connection = Connection::new(&world, &replica);
    let state = [("m.room.topic", ""), ("m.room.member", "$ME")];
    let answer = connection.ask(&all(9, 1, &state)).await;
    assert_eq!(rooms(&answer), ["!kicked:test", "!left:test", "!other:test"]);
    world.member("!left:test", ALICE, ALICE, "leave").await;
    world.member("!kicked:test", BOB, ALICE, "leave").await;
    for room in ["!left:test", "!kicked:test"] {
        world.set(room, BOB, "m.room.topic", "", json!({"topic": "secret"})).await;
        world.say(room, BOB, "secret").await;
    }
    // Neither is in a window now.
    let mut none = all(1, 1, &state);
    none["lists"]["all"]["filters"] = json!({"is_encrypted": true});
    let answer = connection.ask(&none).await;
    assert_eq!(rooms(&answer), ["!kicked:test", "!left:test"]);
    assert!(!answer.to_string().contains("secret"), "{answer}");
    for room in ["!left:test", "!kicked:test"] {
        let own = keys(&answer["rooms"][room]["required_state"]);
        assert!(own.contains(&format!("m.room.member|{ALICE}")), "{answer}");
    }
    assert_eq!(rooms(&connection.ask(&none).await), [""; 0]);
    // Who was removed stays in lists; who left does not.
    let answer = connection.ask(&all(9, 1, &state)).await;
    assert_eq!(answer["lists"]["all"]["count"], 2);
    world.member("!left:test", ALICE, ALICE, "join").await;
    let answer = connection.ask(&all(9, 1, &state)).await;
    assert_eq!(answer["rooms"]["!left:test"]["initial"], true);
}

#[tokio::test]
async fn filters_choose_and_counts_tell_how_many() {
    let world = World::new();
    for room in ["!dm:test", "!secret:test", "!plain:test", "!child:test"] {
        world.create(room, ALICE).await;
    }
    let create = json!({"room_version": "12", "type": "m.space"});
    world.set("!space:test", ALICE, "m.room.create", "", create).await;
    world.member("!space:test", ALICE, ALICE, "join").await;
    world.set("!space:test", ALICE, "m.space.child", "!child:test", json!({"via": ["test"]})).await;
    world.set("!space:test", ALICE, "m.space.child", "!plain:test", json!({})).await;
    world.set("!secret:test", ALICE, "m.room.encryption", "", json!({"algorithm": "x"})).await;
    world.create("!invited:test", BOB).await;
    world.member("!invited:test", BOB, ALICE, "invite").await;
    world.set_account_data(ALICE, "", "m.direct", json!({ BOB: ["!dm:test"] })).await;
    world.set_account_data(ALICE, "!plain:test", "m.tag", json!({"tags": {"m.favourite": {}}})).await;
    let warm = world.replica().await;
    let token = world.login(ALICE, "D");
    let body = |filters: &Value| json!({"lists": {"a": {"ranges": [[0, 9]], "timeline_limit": 0, "filters": filters}}});
    warm.sliding(&token, &[], &body(&json!({}))).await;
    world.create("!late:test", ALICE).await;
    world.set("!late:test", ALICE, "m.room.encryption", "", json!({"algorithm": "x"})).await;
    warm.settle(&world).await;
    let cold = world.replica().await;
    for (filters, expected) in [
        (json!({"is_dm": true}), vec!["!dm:test"]),
        (json!({"is_encrypted": true}), vec!["!late:test", "!secret:test"]),
        (json!({"is_invite": true}), vec!["!invited:test"]),
        (json!({"room_types": ["m.space"]}), vec!["!space:test"]),
        (
            json!({"room_types": [null], "is_invite": false, "is_encrypted": false, "not_tags": ["m.favourite"]}),
            vec!["!child:test", "!dm:test"],
        ),
        (json!({"tags": ["m.favourite"]}), vec!["!plain:test"]),
        (json!({"tags": ["m.favourite"], "not_tags": ["m.favourite"]}), vec![]),
        (json!({"spaces": ["!space:test"]}), vec!["!child:test"]),
        (json!({"not_room_types": [null]}), vec!["!space:test"]),
    ] {
        for replica in [&warm, &cold] {
            let (_, answer) = replica.sliding(&token, &[], &body(&filters)).await;
            assert_eq!(rooms(&answer), expected, "{filters}");
            assert_eq!(answer["lists"]["a"]["count"], expected.len(), "{filters}");
        }
    }
}

#[tokio::test]
async fn filters_know_what_a_room_was_before_the_user_came() {
    let world = World::new();
    world.create("!own:test", ALICE).await;
    world.create("!secret:test", BOB).await;
    world.set("!secret:test", BOB, "m.room.encryption", "", json!({"algorithm": "x"})).await;
    let create = json!({"room_version": "12", "type": "m.space"});
    world.set("!space:test", BOB, "m.room.create", "", create).await;
    world.member("!space:test", BOB, BOB, "join").await;
    let said = world.say("!space:test", BOB, "one").await;
    let replica = world.replica().await;
    let mut connection = Connection::new(&world, &replica);
    let body = |filters: Value| json!({"lists": {"a": {"ranges": [[0, 9]], "timeline_limit": 1, "filters": filters}}});
    assert_eq!(rooms(&connection.ask(&body(json!({}))).await), ["!own:test"]);
    world.member("!space:test", ALICE, ALICE, "join").await;
    world.member("!secret:test", BOB, ALICE, "invite").await;
    let answer = connection.ask(&body(json!({"room_types": ["m.space"]}))).await;
    assert_eq!(rooms(&answer), ["!space:test"], "{answer}");
    // The message came before the user did, and counts.
    let stamp =
        world.facts.lock().events.iter().find(|stored| stored.event.event_id == said).map(|said| said.ts);
    assert_eq!(answer["rooms"]["!space:test"]["bump_stamp"].as_i64(), stamp);
    let answer = connection.ask(&body(json!({"is_encrypted": true}))).await;
    assert_eq!(rooms(&answer), ["!secret:test"], "{answer}");
}

#[tokio::test]
async fn extensions_tell_of_rooms_that_match_whatever_else_happens() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    let said = world.say(ROOM, ALICE, "one").await;
    world.set_account_data(ALICE, "", "m.direct", json!({})).await;
    world.set_account_data(ALICE, ROOM, "m.tag", json!({"tags": {}})).await;
    world.receipt(ROOM, BOB, "m.read", &said, "").await;
    let replica = world.replica().await;
    let mut connection = Connection::new(&world, &replica);
    let with = |extensions: Value| {
        let mut body = all(1, 1, &[]);
        body["extensions"] = extensions;
        body
    };
    let answer = connection.ask(&with(json!({}))).await;
    assert_eq!(answer["extensions"], json!({}));
    // Switched on late: everything is told.
    let body = with(
        json!({"account_data": {"enabled": true}, "receipts": {"enabled": true}, "typing": {"enabled": true}}),
    );
    let answer = connection.ask(&body).await;
    let kinds = |events: &Value| {
        let events = events.as_array().into_iter().flatten();
        events.map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let extensions = &answer["extensions"];
    assert_eq!(kinds(&extensions["account_data"]["global"]), ["m.direct", "m.push_rules"]);
    assert_eq!(kinds(&extensions["account_data"]["rooms"][ROOM]), ["m.tag"]);
    assert!(
        extensions["receipts"]["rooms"][ROOM]["content"][&said]["m.read"][BOB].is_object(),
        "{extensions}"
    );
    assert_eq!(rooms(&answer), [""; 0]);
    let nothing = json!({"account_data": {"global": [], "rooms": {}}, "receipts": {"rooms": {}}, "typing": {"rooms": {}}});
    assert_eq!(connection.ask(&body).await["extensions"], nothing);
    world.set_account_data(ALICE, ROOM, "m.tag", json!({"tags": {"u.x": {}}})).await;
    world.receipt(ROOM, ALICE, "m.read.private", &said, "").await;
    let answer = connection.ask(&body).await;
    let extensions = &answer["extensions"];
    assert_eq!(kinds(&extensions["account_data"]["rooms"][ROOM]), ["m.tag"]);
    assert!(extensions["receipts"]["rooms"][ROOM]["content"][&said]["m.read.private"][ALICE].is_object());
    assert!(extensions["receipts"]["rooms"][ROOM]["content"][&said]["m.read"].is_null());
    // Not of lists that are not in the scope.
    let body = with(
        json!({"account_data": {"enabled": true, "lists": []}, "receipts": {"enabled": true, "lists": ["x"]}}),
    );
    world.set_account_data(ALICE, ROOM, "m.tag", json!({"tags": {"u.y": {}}})).await;
    let extensions = connection.ask(&body).await["extensions"].clone();
    assert_eq!(extensions["account_data"]["rooms"], json!({}));
}

#[tokio::test]
async fn a_change_of_direct_rooms_is_told_of_those_rooms() {
    let world = World::new();
    for room in ["!one:test", "!two:test"] {
        world.create(room, ALICE).await;
    }
    world.set_account_data(ALICE, "", "m.direct", json!({ BOB: ["!one:test"] })).await;
    let replica = world.replica().await;
    let mut connection = Connection::new(&world, &replica);
    let body = all(9, 1, &[]);
    assert_eq!(connection.ask(&body).await["rooms"]["!one:test"]["is_dm"], true);
    world.set_account_data(ALICE, "", "m.direct", json!({ BOB: ["!two:test"] })).await;
    let before = connection.pos.clone();
    let answer = connection.ask(&body).await;
    assert_eq!(
        (&answer["rooms"]["!one:test"]["is_dm"], &answer["rooms"]["!two:test"]["is_dm"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(rooms(&connection.ask(&body).await), [""; 0]);
    // A replica that begins does not know what it was before; and it tells rooms that come into sight later, too.
    let cold = world.replica().await;
    (connection.replica, connection.pos) = (&cold, before);
    assert_eq!(rooms(&connection.ask(&all(1, 1, &[])).await), ["!two:test"]);
    assert_eq!(rooms(&connection.ask(&body).await), ["!one:test"]);
    let cold = world.replica().await;
    world.set_account_data(ALICE, "", "m.direct", json!({ BOB: ["!one:test"] })).await;
    connection.replica = &cold;
    assert_eq!(rooms(&connection.ask(&body).await), ["!one:test", "!two:test"]);
    assert_eq!(rooms(&connection.ask(&body).await), [""; 0]);
}
