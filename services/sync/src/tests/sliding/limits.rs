//! Tests refusals, and which positions are known.

use serde_json::{Value, json};

use super::{ALICE, Connection, World, all};

async fn refused(body: Value) -> (u16, String) {
    let world = World::new();
    let replica = world.replica().await;
    let (status, answer) = replica.sliding(&world.login(ALICE, "D"), &[], &body).await;
    (status, answer["errcode"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn what_is_beyond_the_limits_is_refused_and_what_is_unknown_is_not() {
    let invalid = (400, "M_INVALID_PARAM".to_owned());
    let list = |count: usize| {
        let lists: serde_json::Map<_, _> = (0..count)
            .map(|number| (number.to_string(), json!({"ranges": [[0, 1]], "timeline_limit": 1})))
            .collect();
        json!({ "lists": lists })
    };
    assert_eq!(refused(list(100)).await.0, 200);
    assert_eq!(refused(list(101)).await, invalid);
    let subscriptions = |count: usize| {
        let rooms: serde_json::Map<_, _> =
            (0..count).map(|number| (format!("!{number}:test"), json!({"timeline_limit": 1}))).collect();
        json!({ "room_subscriptions": rooms })
    };
    assert_eq!(refused(subscriptions(100)).await.0, 200, "rooms that the user never was in are passed over");
    assert_eq!(refused(subscriptions(101)).await, invalid);
    let ranges = |ranges: Value| json!({"lists": {"a": {"ranges": ranges, "timeline_limit": 1}}});
    assert_eq!(refused(ranges(json!(vec![[0, 1]; 101]))).await, invalid);
    assert_eq!(refused(ranges(json!([[5, 4]]))).await, invalid);
    assert_eq!(refused(ranges(json!([[0, u64::MAX]]))).await.0, 200);
    assert_eq!(refused(json!({"conn_id": "x".repeat(16)})).await.0, 200);
    assert_eq!(refused(json!({"conn_id": "x".repeat(17)})).await, invalid);
    let limit = |limit: u64| json!({"lists": {"a": {"ranges": [[0, 1]], "timeline_limit": limit}}});
    assert_eq!(refused(limit(1_000)).await.0, 200);
    assert_eq!(refused(limit(1_001)).await, invalid);
    assert_eq!(refused(json!({"extensions": {"unheard.of": {"enabled": true}}, "new": 1})).await.0, 200);
    assert_eq!(refused(json!({"lists": []})).await, (400, "M_BAD_JSON".to_owned()));
}

#[tokio::test]
async fn a_position_is_known_to_its_connection_alone_and_in_its_generation() {
    let world = World::new();
    world.create("!room:test", ALICE).await;
    let replica = world.replica().await;
    let mut connection = Connection::new(&world, &replica);
    connection.ask(&all(1, 1, &[])).await;
    let pos = connection.pos.clone().unwrap();
    let ask = async |token: String, pos: &str, body: Value| {
        let (status, answer) = replica.sliding(&token, &[("pos", pos)], &body).await;
        (status, answer["errcode"].as_str().unwrap_or_default().to_owned())
    };
    let unknown = (400, "M_UNKNOWN_POS".to_owned());
    assert_eq!(ask(world.login(ALICE, "D"), &pos, all(1, 1, &[])).await.0, 200);
    assert_eq!(ask(world.login(ALICE, "E"), &pos, all(1, 1, &[])).await, unknown);
    assert_eq!(ask(world.login("@mallory:test", "D"), &pos, all(1, 1, &[])).await, unknown);
    assert_eq!(ask(world.login(ALICE, "D"), &pos, json!({"conn_id": "other"})).await, unknown);
    assert_eq!(ask(world.login(ALICE, "D"), "nonsense", all(1, 1, &[])).await, unknown);
    assert_eq!(ask(world.login(ALICE, "D"), &pos[..pos.len() - 2], all(1, 1, &[])).await, unknown);
    world.facts.lock().generation += 1;
    let restored = world.replica().await;
    let (status, answer) =
        restored.sliding(&world.login(ALICE, "D"), &[("pos", &pos)], &all(1, 1, &[])).await;
    assert_eq!((status, answer["errcode"].as_str()), (400, Some("M_UNKNOWN_POS")));
}

#[tokio::test]
async fn the_merged_dialect_says_the_same_in_its_own_words() {
    let world = World::new();
    world.create("!room:test", ALICE).await;
    world.create("!invited:test", super::BOB).await;
    world.member("!invited:test", super::BOB, ALICE, "invite").await;
    let said = world.say("!room:test", ALICE, "one").await;
    let replica = world.replica().await;
    let token = world.login(ALICE, "D");
    let state = json!({"include": [{"type": "m.room.create"}, {"type": "m.room.member"}], "lazy_members": false,
        "exclude": [{"type": "m.room.member", "state_key": ALICE}]});
    let mut body = json!({"lists": {"all": {"timeline_limit": 1, "required_state": state}}});
    let (status, answer) = replica.post("v4/sync", &token, &[], &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["lists"], json!({"all": {"count": 2}}));
    let room = &answer["rooms"]["!room:test"];
    assert_eq!(super::keys(&room["required_state"]), ["m.room.create|"]);
    assert_eq!(super::ids(&room["timeline"]), [said.as_str()]);
    assert_eq!((&room["membership"], &room["lists"]), (&json!("join"), &json!(["all"])));
    assert_eq!(room["notification_count"], Value::Null);
    let invited = &answer["rooms"]["!invited:test"];
    assert_eq!(invited["membership"], "invite");
    assert!(invited["stripped_state"].is_array() && invited["invite_state"].is_null());
    body["pos"] = answer["pos"].clone();
    body["lists"]["all"]["timeline_limit"] = json!(3);
    let (_, answer) = replica.post("v4/sync", &token, &[], &body).await;
    assert_eq!(answer["rooms"]["!room:test"]["expanded_timeline"], true);
    assert_eq!(super::ids(&answer["rooms"]["!room:test"]["timeline"]).len(), 3);
}
