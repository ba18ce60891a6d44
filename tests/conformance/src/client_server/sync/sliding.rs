//! [Sliding sync](https://github.com/matrix-org/matrix-spec-proposals/pull/4186), as clients in use speak it.

mod asks;
pub(in crate::client_server) mod encryption;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{actor::Room, server::Server, wire::Json as _};

use asks::{Connection, PATH, all, ids, keys, room_of};

tests![
    the_server_says_that_it_has_sliding_sync,
    the_first_answer_has_the_window_and_the_count,
    a_window_that_grows_tells_the_rooms_that_it_lacked,
    a_room_with_news_comes_into_the_window,
    an_event_comes_once_and_is_live,
    a_position_may_be_used_twice,
    an_unknown_position_is_refused,
    a_position_of_another_connection_is_refused,
    nothing_new_is_nothing_after_the_timeout,
    an_answer_comes_as_soon_as_there_is_news,
    a_greater_timeline_limit_is_told_at_once,
    other_required_state_is_told_at_once,
    a_subscription_and_a_list_are_one_wish,
    a_gap_is_limited_and_can_be_filled,
    a_position_is_one_of_the_timeline,
    required_state_is_as_it_is_now,
    members_are_told_lazily,
    a_room_without_a_name_has_heroes,
    an_invite_has_its_stripped_state,
    a_join_after_an_invite_is_a_new_room,
    that_one_left_is_told_and_nothing_after_it,
    who_is_banned_is_told_so,
    somebody_elses_room_is_not_told,
    a_filter_chooses_direct_rooms,
    a_filter_chooses_encrypted_rooms_and_invites,
    a_filter_chooses_types_of_rooms,
    a_filter_chooses_the_rooms_of_a_space,
    the_bump_stamp_moves_by_messages_alone,
    account_data_is_told_if_wanted,
    receipts_are_told_if_wanted,
    typing_is_told_if_wanted,
    too_many_lists_are_refused,
    unknown_extensions_are_passed_over,
    a_token_is_wanted,
];

async fn the_server_says_that_it_has_sliding_sync(server: Server) {
    let alice = server.user("alice").await;
    let versions = alice.get("/_matrix/client/versions").await.ok();
    assert_eq!(versions["unstable_features"]["org.matrix.simplified_msc3575"], true, "{versions}");
}

async fn the_first_answer_has_the_window_and_the_count(server: Server) {
    let alice = server.user("alice").await;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(alice.creates_room().await);
    }
    alice.says(&rooms[0], "the newest").await;
    let mut connection = Connection::new(&alice);
    let body = all(2, 1, &json!([["m.room.create", ""]]));
    let answer = connection
        .begins("the newest rooms", &body, |answer| answer["rooms"].get(&rooms[0].0).is_some())
        .await;
    assert_eq!(answer["lists"]["all"]["count"], 3, "{answer}");
    assert!(room_of(&answer, &rooms[1]).is_none() && room_of(&answer, &rooms[2]).is_some(), "{answer}");
    let room = room_of(&answer, &rooms[0]).expect("the newest room");
    assert_eq!(room["initial"], true, "{room}");
    assert_eq!(keys(&room["required_state"]), ["m.room.create|"], "{room}");
    assert_eq!(room["timeline"].as_array().map(Vec::len), Some(1), "{room}");
    assert_eq!((&room["joined_count"], &room["limited"]), (&json!(1), &json!(true)), "{room}");
    assert!(room["prev_batch"].is_string() && room["bump_stamp"].is_u64(), "{room}");
    assert_eq!(room["num_live"].as_u64().unwrap_or(0), 0, "{room}");
}

async fn a_window_that_grows_tells_the_rooms_that_it_lacked(server: Server) {
    let alice = server.user("alice").await;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(alice.creates_room().await);
    }
    let mut connection = Connection::new(&alice);
    let last = &rooms[2];
    connection
        .begins("the last room", &all(1, 1, &json!([])), |answer| room_of(answer, last).is_some())
        .await;
    let answer = connection.asks(&all(3, 1, &json!([])), 20_000).await;
    assert!(room_of(&answer, &rooms[0]).is_some() && room_of(&answer, &rooms[1]).is_some(), "{answer}");
    assert!(room_of(&answer, last).is_none(), "{answer}");
}

async fn a_room_with_news_comes_into_the_window(server: Server) {
    let alice = server.user("alice").await;
    let (old, new) = (alice.creates_room().await, alice.creates_room().await);
    let mut connection = Connection::new(&alice);
    let body = all(1, 1, &json!([]));
    connection.begins("the last room", &body, |answer| room_of(answer, &new).is_some()).await;
    let said = alice.says(&old, "hello").await;
    let answer = connection.until("the old room", &body, |answer| room_of(answer, &old).is_some()).await;
    let room = room_of(&answer, &old).expect("the old room");
    assert_eq!((&room["initial"], &room["num_live"]), (&json!(true), &json!(1)), "{room}");
    assert_eq!(ids(&room["timeline"]), [said], "{room}");
}

async fn an_event_comes_once_and_is_live(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let mut connection = Connection::new(&alice);
    let body = all(5, 5, &json!([]));
    connection.begins("the room", &body, |answer| room_of(answer, &room).is_some()).await;
    let said = bob.says(&room, "hello").await;
    let is_heard =
        |answer: &Value| room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said));
    let answer = connection.until("the event", &body, is_heard).await;
    let told = room_of(&answer, &room).expect("the room");
    assert!(!told["initial"].as_bool().unwrap_or(false), "{told}");
    assert!(told["num_live"].as_u64().is_some_and(|live| live >= 1), "{told}");
    let answer = connection.asks(&body, 0).await;
    assert!(room_of(&answer, &room).is_none(), "{answer}");
}

async fn a_position_may_be_used_twice(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let mut connection = Connection::new(&alice);
    let body = all(5, 5, &json!([]));
    connection.begins("the room", &body, |answer| room_of(answer, &room).is_some()).await;
    let pos = connection.pos.clone();
    let said = alice.says(&room, "hello").await;
    let is_heard =
        |answer: &Value| room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said));
    for _ in 0..2 {
        connection.pos.clone_from(&pos);
        connection.until("the event", &body, is_heard).await;
    }
}

async fn an_unknown_position_is_refused(server: Server) {
    let alice = server.user("alice").await;
    alice.post(PATH, json!({})).query("pos", "nonsense").await.refused(400, "M_UNKNOWN_POS");
}

async fn a_position_of_another_connection_is_refused(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let mut connection = Connection::new(&alice);
    let body = all(5, 5, &json!([]));
    let answer = connection.begins("the room", &body, |answer| room_of(answer, &room).is_some()).await;
    let pos = answer.text("/pos");
    bob.post(PATH, body.clone()).query("pos", &pos).await.refused(400, "M_UNKNOWN_POS");
    let mut other = body;
    other["conn_id"] = json!("other");
    alice.post(PATH, other).query("pos", &pos).await.refused(400, "M_UNKNOWN_POS");
}

async fn nothing_new_is_nothing_after_the_timeout(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let mut connection = Connection::new(&alice);
    let body = all(5, 5, &json!([]));
    connection.begins("the room", &body, |answer| room_of(answer, &room).is_some()).await;
    connection.comes_to_rest(&body).await;
    let begun = Instant::now();
    let answer = connection.asks(&body, 300).await;
    assert!(begun.elapsed() >= Duration::from_millis(290), "{answer}");
    assert!(room_of(&answer, &room).is_none(), "{answer}");
}

async fn an_answer_comes_as_soon_as_there_is_news(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let mut connection = Connection::new(&alice);
    let body = all(5, 5, &json!([]));
    connection.begins("the room", &body, |answer| room_of(answer, &room).is_some()).await;
    connection.comes_to_rest(&body).await;
    let begun = Instant::now();
    let (answer, _) = tokio::join!(connection.asks(&body, 30_000), alice.says(&room, "hello"));
    assert!(room_of(&answer, &room).is_some() && begun.elapsed() < Duration::from_secs(20), "{answer}");
}

async fn a_greater_timeline_limit_is_told_at_once(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let mut said = Vec::new();
    for number in 0..3 {
        said.push(alice.says(&room, &number.to_string()).await);
    }
    let mut connection = Connection::new(&alice);
    let is_heard =
        |answer: &Value| room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said[2]));
    connection.begins("the last event", &all(1, 1, &json!([])), is_heard).await;
    let begun = Instant::now();
    let answer = connection.asks(&all(1, 3, &json!([])), 30_000).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited");
    let told = room_of(&answer, &room).expect("the room");
    assert_eq!(ids(&told["timeline"]), said, "{told}");
    assert_eq!(
        (&told["unstable_expanded_timeline"], &told["limited"]),
        (&json!(true), &json!(true)),
        "{told}"
    );
}

async fn other_required_state_is_told_at_once(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("topic", json!("of interest")).await;
    let mut connection = Connection::new(&alice);
    let body = all(1, 1, &json!([["m.room.create", ""]]));
    connection.begins("the room", &body, |answer| room_of(answer, &room).is_some()).await;
    let begun = Instant::now();
    let body = all(1, 1, &json!([["m.room.create", ""], ["m.room.topic", ""]]));
    let is_told = |answer: &Value| {
        room_of(answer, &room)
            .is_some_and(|room| keys(&room["required_state"]).contains(&"m.room.topic|".to_owned()))
    };
    connection.until("the topic", &body, is_told).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited");
}

async fn a_subscription_and_a_list_are_one_wish(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("topic", json!("of interest")).await;
    let said = alice.says(&room, "hello").await;
    let mut connection = Connection::new(&alice);
    let mut body = all(1, 1, &json!([["m.room.create", ""]]));
    let wish = json!({"timeline_limit": 4, "required_state": [["m.room.topic", ""]]});
    body["room_subscriptions"] = json!({ (room.0.as_str()): wish });
    let is_heard =
        |answer: &Value| room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said));
    let answer = connection.begins("the event", &body, is_heard).await;
    let told = room_of(&answer, &room).expect("the room");
    assert_eq!(ids(&told["timeline"]).len(), 4, "{told}");
    assert_eq!(keys(&told["required_state"]), ["m.room.create|", "m.room.topic|"], "{told}");
}

async fn a_gap_is_limited_and_can_be_filled(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let mut connection = Connection::new(&alice);
    let body = all(1, 2, &json!([]));
    connection.begins("the room", &body, |answer| room_of(answer, &room).is_some()).await;
    let since = alice.sync_token().await;
    let mut said = Vec::new();
    for number in 0..4 {
        said.push(alice.says(&room, &number.to_string()).await);
    }
    alice.hears(&since, &room, &said[3]).await;
    let answer = connection
        .until("the last event", &body, |answer| {
            room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said[3]))
        })
        .await;
    let told = room_of(&answer, &room).expect("the room");
    assert_eq!((ids(&told["timeline"]), &told["limited"]), (said[2..].to_vec(), &json!(true)), "{told}");
    let page = alice.reads_messages(&room).query("from", told.text("/prev_batch")).await.ok();
    assert_eq!(page.list("/chunk")[0]["event_id"], said[1], "{page}");
}

async fn a_position_is_one_of_the_timeline(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let said = alice.says(&room, "hello").await;
    let is_heard =
        |answer: &Value| room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said));
    let answer = Connection::new(&alice).begins("the event", &all(1, 1, &json!([])), is_heard).await;
    let page = alice.reads_messages(&room).query("from", answer.text("/pos")).await.ok();
    assert_eq!(page.list("/chunk")[0]["event_id"], said, "{page}");
}

async fn required_state_is_as_it_is_now(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("topic", json!("before")).await;
    alice.sets_state(&room, "m.room.topic", "", json!({"topic": "after"})).await.ok();
    let said = alice.says(&room, "last").await;
    let mut connection = Connection::new(&alice);
    let wanted = json!([["m.room.topic", ""], ["m.room.member", "$ME"]]);
    let is_heard =
        |answer: &Value| room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said));
    let answer = connection.begins("the last event", &all(1, 9, &wanted), is_heard).await;
    let told = room_of(&answer, &room).expect("the room");
    assert_eq!(
        keys(&told["required_state"]),
        [format!("m.room.member|{}", alice.id), "m.room.topic|".to_owned()]
    );
    let topic = told.list("/required_state").iter().find(|event| event["type"] == "m.room.topic");
    assert_eq!(topic.expect("a topic")["content"]["topic"], "after", "{told}");
    alice.sets_state(&room, "m.room.topic", "", json!({"topic": "later"})).await.ok();
    let answer = connection
        .until("the topic", &all(1, 9, &wanted), |answer| {
            room_of(answer, &room)
                .is_some_and(|room| room["required_state"][0]["content"]["topic"] == "later")
        })
        .await;
    let told = room_of(&answer, &room).expect("the room");
    assert_eq!(told["timeline"].as_array().map(Vec::len), Some(1), "{told}");
}

async fn members_are_told_lazily(server: Server) {
    let (alice, bob) = server.pair().await;
    let carol = server.user("carol").await;
    let room = alice.creates_room().member(&bob).member(&carol).await;
    let said = bob.says(&room, "hello").await;
    let mut connection = Connection::new(&alice);
    let body = all(1, 1, &json!([["m.room.member", "$LAZY"], ["m.room.member", "$ME"]]));
    let is_heard =
        |answer: &Value| room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said));
    let answer = connection.begins("what bob said", &body, is_heard).await;
    let told = keys(&room_of(&answer, &room).expect("the room")["required_state"]);
    let member = |id: &str| format!("m.room.member|{id}");
    assert!(told.contains(&member(&alice.id)) && told.contains(&member(&bob.id)), "{answer}");
    assert!(!told.contains(&member(&carol.id)), "{answer}");
    carol.says(&room, "hello").await;
    let is_told = |answer: &Value| {
        room_of(answer, &room).is_some_and(|room| keys(&room["required_state"]).contains(&member(&carol.id)))
    };
    connection.until("carol", &body, is_told).await;
}

async fn a_room_without_a_name_has_heroes(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let mut connection = Connection::new(&alice);
    let body = all(1, 1, &json!([]));
    let is_there = |answer: &Value| room_of(answer, &room).is_some_and(|room| room["joined_count"] == 2);
    let answer = connection.begins("both members", &body, is_there).await;
    let told = room_of(&answer, &room).expect("the room");
    assert_eq!(told.list("/heroes")[0]["user_id"], json!(bob.id), "{told}");
    alice.sets_state(&room, "m.room.name", "", json!({"name": "Named"})).await.ok();
    let is_named = |answer: &Value| room_of(answer, &room).is_some_and(|room| room["name"] == "Named");
    connection.until("the name", &body, is_named).await;
}

async fn an_invite_has_its_stripped_state(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("name", json!("Alice's")).await;
    alice.invites(&bob, &room).await.ok();
    let mut connection = Connection::new(&bob);
    let answer = connection
        .begins("the invite", &all(9, 9, &json!([])), |answer| room_of(answer, &room).is_some())
        .await;
    let told = room_of(&answer, &room).expect("the room");
    let own = told.list("/invite_state").iter().find(|event| event["state_key"] == json!(bob.id));
    assert_eq!(own.expect("the invite")["content"]["membership"], "invite", "{told}");
    assert_eq!((&told["name"], &told["initial"]), (&json!("Alice's"), &json!(true)), "{told}");
    assert!(told["timeline"].as_array().is_none_or(Vec::is_empty), "{told}");
}

async fn a_join_after_an_invite_is_a_new_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let said = alice.says(&room, "before").await;
    alice.invites(&bob, &room).await.ok();
    let mut connection = Connection::new(&bob);
    let body = all(9, 9, &json!([]));
    connection.begins("the invite", &body, |answer| room_of(answer, &room).is_some()).await;
    bob.joins(&room).await.ok();
    let is_in =
        |answer: &Value| room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said));
    let answer = connection.until("what was said before", &body, is_in).await;
    let told = room_of(&answer, &room).expect("the room");
    assert_eq!((&told["initial"], &told["invite_state"]), (&json!(true), &Value::Null), "{told}");
}

/// Whether an answer tells that a user has a membership in a room, in its state or its timeline.
fn tells_membership(answer: &Value, room: &Room, user: &str, membership: &str) -> bool {
    let Some(told) = room_of(answer, room) else { return false };
    let events =
        ["required_state", "timeline"].into_iter().filter_map(|part| told[part].as_array()).flatten();
    let mut own = events.filter(|event| event["type"] == "m.room.member" && event["state_key"] == user);
    own.any(|event| event["content"]["membership"] == membership)
}

async fn that_one_left_is_told_and_nothing_after_it(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().member(&bob).await;
    let other = bob.creates_room().await;
    let wanted = json!([["m.room.member", "$ME"], ["m.room.topic", ""]]);
    let body = all(9, 9, &wanted);
    let mut connection = Connection::new(&bob);
    let are_there = |answer: &Value| room_of(answer, &room).is_some() && room_of(answer, &other).is_some();
    connection.begins("both rooms", &body, are_there).await;
    bob.leaves(&room).await.ok();
    alice.sets_state(&room, "m.room.topic", "", json!({"topic": "a secret"})).await.ok();
    alice.says(&room, "a secret").await;
    let answer = connection
        .until("the leave", &body, |answer| tells_membership(answer, &room, &bob.id, "leave"))
        .await;
    assert!(!answer.to_string().contains("a secret"), "{answer}");
    let answer = connection.asks(&body, 0).await;
    assert!(room_of(&answer, &room).is_none(), "{answer}");
    // A connection that begins never hears of it.
    let answer = Connection::new(&bob)
        .begins("the other room", &body, |answer| room_of(answer, &other).is_some())
        .await;
    assert!(room_of(&answer, &room).is_none(), "{answer}");
    assert_eq!(answer["lists"]["all"]["count"], 1, "{answer}");
}

async fn who_is_banned_is_told_so(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let body = all(9, 9, &json!([["m.room.member", "$ME"]]));
    let mut connection = Connection::new(&bob);
    connection.begins("the room", &body, |answer| room_of(answer, &room).is_some()).await;
    alice.bans(&bob, &room).await.ok();
    alice.says(&room, "a secret").await;
    let answer =
        connection.until("the ban", &body, |answer| tells_membership(answer, &room, &bob.id, "ban")).await;
    assert!(!answer.to_string().contains("a secret"), "{answer}");
    let answer =
        Connection::new(&bob).begins("the room", &body, |answer| room_of(answer, &room).is_some()).await;
    assert!(tells_membership(&answer, &room, &bob.id, "ban"), "{answer}");
}

async fn somebody_elses_room_is_not_told(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, own) = (alice.creates_room().await, bob.creates_room().await);
    let mut body = all(9, 9, &json!([["*", "*"]]));
    body["room_subscriptions"] =
        json!({ (room.0.as_str()): {"timeline_limit": 9, "required_state": [["*", "*"]]} });
    let mut connection = Connection::new(&bob);
    let answer = connection.begins("bob's room", &body, |answer| room_of(answer, &own).is_some()).await;
    assert!(room_of(&answer, &room).is_none(), "{answer}");
}

/// The rooms of a list with a filter, once its count is as expected.
async fn filtered(connection: &mut Connection<'_>, filters: Value, expected: &[&Room]) {
    let mut body = all(9, 0, &json!([]));
    body["lists"]["all"]["filters"] = filters.clone();
    let answer = connection
        .begins(&format!("{} rooms for {filters}", expected.len()), &body, |answer| {
            answer["lists"]["all"]["count"] == expected.len()
                && expected.iter().all(|room| room_of(answer, room).is_some())
        })
        .await;
    assert_eq!(answer["rooms"].as_object().map_or(0, serde_json::Map::len), expected.len(), "{answer}");
}

async fn a_filter_chooses_direct_rooms(server: Server) {
    let (alice, bob) = server.pair().await;
    let (direct, other) = (alice.creates_room().await, alice.creates_room().await);
    let path = format!("/user/{}/account_data/m.direct", alice.id);
    alice.put(path, json!({ (bob.id.as_str()): [direct.0] })).await.ok();
    let mut connection = Connection::new(&alice);
    filtered(&mut connection, json!({"is_dm": true}), &[&direct]).await;
    filtered(&mut connection, json!({"is_dm": false}), &[&other]).await;
}

async fn a_filter_chooses_encrypted_rooms_and_invites(server: Server) {
    let (alice, bob) = server.pair().await;
    let content = json!({"algorithm": "m.megolm.v1.aes-sha2"});
    let encrypted = alice.creates_room().state("m.room.encryption", content).await;
    let plain = alice.creates_room().await;
    let invited = bob.creates_room().await;
    bob.invites(&alice, &invited).await.ok();
    let mut connection = Connection::new(&alice);
    filtered(&mut connection, json!({"is_encrypted": true}), &[&encrypted]).await;
    filtered(&mut connection, json!({"is_invite": true}), &[&invited]).await;
    filtered(&mut connection, json!({"is_invite": false, "is_encrypted": false}), &[&plain]).await;
}

async fn a_filter_chooses_types_of_rooms(server: Server) {
    let alice = server.user("alice").await;
    let space = alice.creates_room().with("creation_content", json!({"type": "m.space"})).await;
    let plain = alice.creates_room().await;
    let mut connection = Connection::new(&alice);
    filtered(&mut connection, json!({"room_types": ["m.space"]}), &[&space]).await;
    filtered(&mut connection, json!({"room_types": [null]}), &[&plain]).await;
    filtered(&mut connection, json!({"not_room_types": ["m.space"]}), &[&plain]).await;
    filtered(&mut connection, json!({"room_types": [null, "m.space"], "not_room_types": [null]}), &[&space])
        .await;
}

async fn a_filter_chooses_the_rooms_of_a_space(server: Server) {
    let alice = server.user("alice").await;
    let space = alice.creates_room().with("creation_content", json!({"type": "m.space"})).await;
    let (child, _other) = (alice.creates_room().await, alice.creates_room().await);
    let via = json!({"via": [server.name()]});
    alice.sets_state(&space, "m.space.child", &child.0, via).await.ok();
    let mut connection = Connection::new(&alice);
    filtered(&mut connection, json!({"spaces": [space.0]}), &[&child]).await;
}

async fn the_bump_stamp_moves_by_messages_alone(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let said = alice.says(&room, "hello").await;
    let body = all(1, 9, &json!([]));
    let mut connection = Connection::new(&alice);
    let is_heard =
        |answer: &Value| room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said));
    let answer = connection.begins("the message", &body, is_heard).await;
    let stamp = |answer: &Value| room_of(answer, &room).and_then(|room| room["bump_stamp"].as_u64());
    let first = stamp(&answer);
    alice.sets_state(&room, "m.room.topic", "", json!({"topic": "t"})).await.ok();
    let answer = connection.until("the topic", &body, |answer| room_of(answer, &room).is_some()).await;
    assert!(stamp(&answer).is_none() || stamp(&answer) == first, "{answer}");
    let said = alice.says(&room, "hello").await;
    let is_heard =
        |answer: &Value| room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said));
    let answer = connection.until("the message", &body, is_heard).await;
    assert!(stamp(&answer) > first, "{answer}");
}

fn with(extensions: Value) -> Value {
    let mut body = all(9, 1, &json!([]));
    body["extensions"] = extensions;
    body
}

async fn account_data_is_told_if_wanted(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let of_user = format!("/user/{}/account_data/org.example.global", alice.id);
    let of_room = format!("/user/{}/rooms/{}/account_data/org.example.room", alice.id, room.0);
    alice.put(&*of_user, json!({"a": 1})).await.ok();
    alice.put(&*of_room, json!({"b": 1})).await.ok();
    let mut connection = Connection::new(&alice);
    let find = |events: &Value, kind: &str| {
        events.as_array().into_iter().flatten().find(|event| event["type"] == kind).cloned()
    };
    let global = |answer: &Value| find(&answer["extensions"]["account_data"]["global"], "org.example.global");
    let room_data =
        |answer: &Value| find(&answer["extensions"]["account_data"]["rooms"][&room.0], "org.example.room");
    let body = with(json!({"account_data": {"enabled": true}}));
    let answer = connection
        .begins("account data", &body, |answer| global(answer).is_some() && room_data(answer).is_some())
        .await;
    assert!(find(&answer["extensions"]["account_data"]["global"], "m.push_rules").is_some(), "{answer}");
    alice.put(&*of_room, json!({"b": 2})).await.ok();
    let answer = connection.until("changed data", &body, |answer| room_data(answer).is_some()).await;
    assert_eq!(room_data(&answer).expect("data")["content"], json!({"b": 2}), "{answer}");
    assert!(global(&answer).is_none(), "{answer}");
    let answer = Connection::new(&alice).asks(&with(json!({})), 0).await;
    assert!(answer["extensions"].get("account_data").is_none(), "{answer}");
}

async fn receipts_are_told_if_wanted(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let said = alice.says(&room, "hello").await;
    let mut connection = Connection::new(&alice);
    let body = with(json!({"receipts": {"enabled": true}}));
    let is_heard =
        |answer: &Value| room_of(answer, &room).is_some_and(|room| ids(&room["timeline"]).contains(&said));
    connection.begins("the message", &body, is_heard).await;
    bob.post(format!("/rooms/{}/receipt/m.read/{said}", room.0), json!({})).await.ok();
    let receipt = |answer: &Value| {
        let event = &answer["extensions"]["receipts"]["rooms"][&room.0];
        event["content"][&said]["m.read"][&bob.id].is_object()
    };
    connection.until("the receipt", &body, receipt).await;
    // A connection that begins is told of those at the events that it is told.
    Connection::new(&alice).begins("the receipt", &body, receipt).await;
}

async fn typing_is_told_if_wanted(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let mut connection = Connection::new(&alice);
    let body = with(json!({"typing": {"enabled": true}}));
    connection.begins("the room", &body, |answer| room_of(answer, &room).is_some()).await;
    let path = format!("/rooms/{}/typing/{}", room.0, bob.id);
    let typists = |answer: &Value| {
        let event = &answer["extensions"]["typing"]["rooms"][&room.0];
        event["content"]["user_ids"].as_array().map(Vec::len)
    };
    bob.put(&*path, json!({"typing": true, "timeout": 30_000})).await.ok();
    connection.until("typing", &body, |answer| typists(answer) == Some(1)).await;
    bob.put(&*path, json!({"typing": false})).await.ok();
    connection.until("the end of typing", &body, |answer| typists(answer) == Some(0)).await;
}

async fn too_many_lists_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let lists: serde_json::Map<String, Value> = (0..101)
        .map(|number| {
            (number.to_string(), json!({"ranges": [[0, 1]], "timeline_limit": 1, "required_state": []}))
        })
        .collect();
    let refusals = [(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON")];
    alice.post(PATH, json!({ "lists": lists })).await.refused_as(&refusals);
}

async fn unknown_extensions_are_passed_over(server: Server) {
    let alice = server.user("alice").await;
    let body = json!({"extensions": {"org.example.unheard_of": {"enabled": true}}, "org.example.more": 1});
    alice.post(PATH, body).await.ok();
}

async fn a_token_is_wanted(server: Server) {
    let alice = server.user("alice").await;
    alice.with_token(None).post(PATH, json!({})).await.refused(401, "M_MISSING_TOKEN");
}
