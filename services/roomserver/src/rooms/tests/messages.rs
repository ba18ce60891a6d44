use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{ClientTransaction, HistoryVisibility, Intent, Pdu, input_room_event::Body, output_room_event},
};
use serde_json::json;

use super::{ALICE, Answer, BOB, CAROL, World, intent};

#[test]
fn two_users_chat() {
    let mut world = World::new();
    let room = world.public_room();
    world.member(&room, BOB, BOB, "join").event_id();
    let first = world.says(&room, ALICE, "hello").event_id();
    let second = world.says(&room, BOB, "hi").event_id();
    let (a, b) = (world.json(&first), world.json(&second));
    assert_eq!(b["prev_events"], json!([first]));
    assert_eq!(b["depth"].as_i64(), Some(a["depth"].as_i64().unwrap() + 1));
    assert_eq!(b["auth_events"].as_array().unwrap().len(), 2);
    assert_eq!(b["room_id"], json!(room));
    assert_eq!(world.row(&room).joined_members, 2);
    let Some(output_room_event::Body::NewEvent(last)) = world.bodies().pop() else { panic!() };
    assert_eq!(last.event_id, second);
    assert_eq!(last.latest_event_ids, [second]);
    assert_eq!(last.visibility(), HistoryVisibility::Shared);
    assert!(last.delta.unwrap().changes.is_empty());
}

#[test]
fn transaction_is_kept_with_the_event() {
    let mut world = World::new();
    let room = world.public_room();
    let mut message = intent(ALICE, "m.room.message", None, json!({ "body": "x" }));
    let txn = ClientTransaction {
        user_id: ALICE.to_owned(),
        device_id: "DEV".to_owned(),
        txn_id: "t1".to_owned(),
        scope: "send".to_owned(),
    };
    message.txn = Some(txn.clone());
    let id = world.submit(&room, Body::Intent(message)).event_id();
    let row = world.tables.events.values().find(|row| row.event.event_id == id.as_str()).unwrap();
    assert_eq!((row.txn_device_id.as_deref(), row.txn_id.as_deref()), (Some("DEV"), Some("t1")));
    let Some(output_room_event::Body::NewEvent(last)) = world.bodies().pop() else { panic!() };
    assert_eq!(last.txn, Some(txn));
}

#[test]
fn refusals_say_why() {
    let mut world = World::new();
    let room = world.public_room();
    assert_eq!(world.says(&room, BOB, "x").refused(), ErrorReason::NotJoined);
    assert_eq!(world.says("!nowhere", ALICE, "x").refused(), ErrorReason::RoomUnknown);
    assert_eq!(world.says(&room, "@eve:elsewhere.org", "x").refused(), ErrorReason::InvalidParam);
    assert_eq!(world.says(&room, "alice", "x").refused(), ErrorReason::InvalidParam);
    world.member(&room, BOB, BOB, "join").event_id();
    let topic = world.set(&room, BOB, ("m.room.topic", ""), json!({ "topic": "x" }));
    assert_eq!(topic.refused(), ErrorReason::Forbidden);
    assert_eq!(world.set(&room, BOB, ("x", ALICE), json!({})).refused(), ErrorReason::Forbidden);
    let create = world.set(&room, ALICE, ("m.room.create", ""), json!({}));
    assert_eq!(create.refused(), ErrorReason::InvalidParam);
    world.member(&room, ALICE, BOB, "ban").event_id();
    assert_eq!(world.says(&room, BOB, "x").refused(), ErrorReason::Banned);
    assert_eq!(world.member(&room, BOB, BOB, "join").refused(), ErrorReason::Banned);
    let pdu = world.submit(&room, Body::Pdu(Pdu::default()));
    assert_eq!(pdu.refused(), ErrorReason::InvalidParam);
}

#[test]
fn limits_of_the_specification_hold() {
    let mut world = World::new();
    let room = world.public_room();
    let long = "x".repeat(256);
    assert_eq!(world.send(&room, ALICE, &long, json!({})).refused(), ErrorReason::TooLarge);
    assert_eq!(world.set(&room, ALICE, ("t", &long), json!({})).refused(), ErrorReason::TooLarge);
    world.set(&room, ALICE, ("t", &long[..255]), json!({})).event_id();
    assert_eq!(world.says(&room, ALICE, &"x".repeat(65_536)).refused(), ErrorReason::TooLarge);
    assert_eq!(world.says(&room, ALICE, &"x".repeat(1 << 20)).refused(), ErrorReason::TooLarge);
    world.says(&room, ALICE, &"x".repeat(64_000)).event_id();
    for ts in [-1, 1 << 53, i64::MIN, i64::MAX] {
        let mut message = intent(ALICE, "m", None, json!({}));
        message.origin_server_ts = ts;
        assert_eq!(world.submit(&room, Body::Intent(message)).refused(), ErrorReason::InvalidParam);
    }
}

#[test]
fn unchanged_state_is_not_repeated_when_asked() {
    let mut world = World::new();
    let room = world.public_room();
    let mut topic = intent(ALICE, "m.room.topic", Some(""), json!({ "topic": "tea", "a": 1 }));
    topic.skip_if_unchanged = true;
    let first = world.submit(&room, Body::Intent(topic.clone()));
    let count = world.outputs.len();
    // The same content, written in another way.
    topic.content = br#"{ "topic":"te\u0061" , "a":1}"#.to_vec().into();
    let again = world.submit(&room, Body::Intent(topic.clone()));
    assert_eq!(first, again);
    assert_eq!(world.outputs.len(), count);
    topic.skip_if_unchanged = false;
    assert_ne!(world.submit(&room, Body::Intent(topic.clone())).event_id(), first.event_id());
    topic.skip_if_unchanged = true;
    topic.sender = BOB.to_owned();
    assert_eq!(world.submit(&room, Body::Intent(topic)).refused(), ErrorReason::NotJoined);
}

#[test]
fn unchanged_state_takes_the_power_to_change_it() {
    let mut world = World::new();
    let room = world.public_room();
    world.member(&room, BOB, BOB, "join").event_id();
    let unchanged = |world: &mut World, (event_type, key): (&str, &str), content| {
        let intent = intent(BOB, event_type, Some(key), content);
        world.submit(&room, Body::Intent(Intent { skip_if_unchanged: true, ..intent }))
    };
    let topic = json!({ "topic": "tea" });
    let kick = json!({ "membership": "leave" });
    let levels = |level: i64| json!({ "users": { BOB: level } });
    world.set(&room, ALICE, ("m.room.power_levels", ""), levels(50)).event_id();
    world.member(&room, CAROL, CAROL, "join").event_id();
    for again in [false, true] {
        let first = unchanged(&mut world, ("m.room.topic", ""), topic.clone()).event_id();
        assert!(world.event(&first).is_some(), "{again}");
        unchanged(&mut world, ("m.room.member", CAROL), kick.clone()).event_id();
    }
    world.set(&room, ALICE, ("m.room.power_levels", ""), levels(0)).event_id();
    assert_eq!(unchanged(&mut world, ("m.room.topic", ""), topic).refused(), ErrorReason::Forbidden);
    assert_eq!(
        unchanged(&mut world, ("m.room.member", CAROL), kick.clone()).refused(),
        ErrorReason::Forbidden
    );
    // Who leaves twice has left.
    let left = unchanged(&mut world, ("m.room.member", BOB), kick.clone());
    assert_eq!(unchanged(&mut world, ("m.room.member", BOB), kick), left);
}

#[test]
fn visibility_follows_the_state_before_the_event() {
    let mut world = World::new();
    let room = world.public_room();
    let mut seen = Vec::new();
    for setting in ["joined", "world_readable", "invited", "nonsense"] {
        let content = json!({ "history_visibility": setting });
        world.set(&room, ALICE, ("m.room.history_visibility", ""), content).event_id();
        world.says(&room, ALICE, "x").event_id();
    }
    for body in world.bodies().split_off(5) {
        let output_room_event::Body::NewEvent(event) = body else { panic!() };
        seen.push(event.visibility());
    }
    use HistoryVisibility::{Invited, Joined, Shared, WorldReadable};
    // The event that changes it counts by the more permissive of the two.
    assert_eq!(seen, [Shared, Joined, WorldReadable, WorldReadable, WorldReadable, Invited, Shared, Shared]);
}

#[test]
fn change_of_power_counts_at_once() {
    let mut world = World::new();
    let room = world.public_room();
    world.member(&room, BOB, BOB, "join").event_id();
    world.member(&room, CAROL, CAROL, "join").event_id();
    world.says(&room, BOB, "before").event_id();
    let mute = json!({ "users": { CAROL: 10 }, "events_default": 10 });
    world.set(&room, ALICE, ("m.room.power_levels", ""), mute).event_id();
    assert_eq!(world.says(&room, BOB, "after").refused(), ErrorReason::Forbidden);
    world.says(&room, CAROL, "after").event_id();
    world.member(&room, BOB, BOB, "leave").event_id();
    assert_eq!(world.says(&room, BOB, "gone").refused(), ErrorReason::NotJoined);
}

#[test]
fn delta_names_what_was_replaced() {
    let mut world = World::new();
    let room = world.public_room();
    let first = world.set(&room, ALICE, ("t", "k"), json!({ "n": 1 })).event_id();
    let second = world.set(&room, ALICE, ("t", "k"), json!({ "n": 2 })).event_id();
    let Some(output_room_event::Body::NewEvent(last)) = world.bodies().pop() else { panic!() };
    let change = last.delta.unwrap().changes.pop().unwrap();
    assert_eq!((change.r#type, change.state_key), ("t".to_owned(), "k".to_owned()));
    assert_eq!((change.event_id, change.replaces_event_id), (second.clone(), first.clone()));
    let nid = |id: &str| world.event(id).unwrap().nid;
    assert_eq!(world.tables.events[&nid(&second)].event.replaces_nid, Some(nid(&first)));
}

#[test]
fn accepted_answer_carries_the_position() {
    let mut world = World::new();
    let room = world.public_room();
    let Answer::Accepted { seq, .. } = world.says(&room, ALICE, "x") else { panic!() };
    assert_eq!(seq, world.outputs.last().unwrap().record.seq);
    assert_eq!(world.outputs.last().unwrap().record.prev_room_seq, seq - 1);
}
