use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        InputRoomEvent, Intent, RoomControl, UpgradeRoom, input_room_event::Body, room_control::Action,
    },
};
use serde_json::{Value, json};

use crate::fakes::{ROOM, World, assert_error, assert_ok, content};

fn world(levels: Value) -> World {
    let world = World::with_room(&[("alice", "join"), ("bob", "join")]);
    world.add_state(ROOM, "m.room.create", "", json!({ "room_version": "11", "type": "m.space" }));
    world.add_state(ROOM, "m.room.power_levels", "", levels);
    world.add_state(ROOM, "m.room.name", "", json!({ "name": "Pub" }));
    world.add_state(ROOM, "m.room.canonical_alias", "", json!({ "alias": "#pub:example.org" }));
    world.add_state(ROOM, "m.space.child", "!child:x", json!({ "via": ["x"] }));
    world.add_state(ROOM, "m.space.child", "!gone:x", json!({}));
    let mut known = world.known.lock().unwrap();
    known.aliases.insert("#pub:example.org".to_owned(), ROOM.to_owned());
    known.published.insert(ROOM.to_owned());
    known.versions.insert(ROOM.to_owned(), "11".to_owned());
    known.members.insert((ROOM.to_owned(), String::new()), "join".to_owned());
    drop(known);
    world
}

fn of<'a>(intents: &'a [Intent], event_type: &str) -> Vec<&'a Intent> {
    intents.iter().filter(|intent| intent.r#type == event_type).collect()
}

#[tokio::test]
async fn a_room_is_replaced_in_two_steps() {
    let world = world(json!({ "users": { "@alice:example.org": 100 } }));
    let body = json!({ "new_version": "12", "additional_creators": ["@bob:example.org"] });
    let answer = world.post("alice", &format!("/rooms/{ROOM}/upgrade"), body).await;
    assert_ok(&answer);
    let new_id = answer.1["replacement_room"].as_str().unwrap();
    let inputs = world.inputs();
    assert_eq!(inputs.len(), 2, "{inputs:?}");
    let upgrade = upgrade(&inputs[0]);
    let Some(Body::Batch(batch)) = &inputs[1].body else { panic!("{inputs:?}") };
    // The room server keeps what makes the new room, and who asked writes the same.
    assert_eq!(upgrade.batch.as_ref(), Some(batch));
    assert_eq!((upgrade.new_room_id.as_str(), inputs[1].room_id.as_str()), (new_id, new_id));
    assert_eq!((inputs[0].room_id.as_str(), upgrade.user_id.as_str()), (ROOM, "@alice:example.org"));
    assert_eq!((batch.room_version.as_str(), batch.published, upgrade.published), ("12", true, true));
    let create: Value = serde_json::from_slice(&batch.create_pdu).unwrap();
    assert_eq!(create["content"]["predecessor"], json!({ "room_id": ROOM }));
    assert_eq!(create["content"]["type"], "m.space");
    assert_eq!(create["content"]["additional_creators"], json!(["@bob:example.org"]));
    let intents = &batch.intents;
    assert_eq!(intents[0].r#type, "m.room.member");
    assert!(intents[0].with_profile);
    assert_eq!(intents.last().unwrap().r#type, "m.room.power_levels");
    assert_eq!(content(intents.last().unwrap()), json!({ "users": {} }));
    assert_eq!(content(of(intents, "m.room.name")[0]), json!({ "name": "Pub" }));
    assert_eq!(content(of(intents, "m.room.canonical_alias")[0]), json!({ "alias": "#pub:example.org" }));
    assert_eq!(of(intents, "m.space.child").len(), 1);

    assert_eq!(upgrade.aliases, ["#pub:example.org"]);
    assert_eq!(content(of(&upgrade.closing, "m.room.canonical_alias")[0]), json!({}));
    let levels = json!({ "users": { "@alice:example.org": 100 }, "events_default": 50, "invite": 50 });
    assert_eq!(content(of(&upgrade.closing, "m.room.power_levels")[0]), levels);
    let expected = |event_type: &str| {
        upgrade.expected.iter().find(|entry| entry.r#type == event_type).map(|entry| entry.event_id.as_str())
    };
    assert_eq!(expected("m.room.name"), Some("$event1"));
    assert_eq!(expected("m.room.power_levels"), Some("$event1"));
    assert_eq!(expected("m.room.tombstone"), Some(""));
    assert_eq!(expected("m.room.join_rules"), Some(""));
    assert_eq!(expected("m.room.create"), None);
}

fn upgrade(input: &InputRoomEvent) -> UpgradeRoom {
    match &input.body {
        Some(Body::Control(RoomControl { action: Some(Action::Upgrade(upgrade)) })) => upgrade.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_room_that_has_changed_meanwhile_is_read_again() {
    let world = world(json!({ "users": { "@alice:example.org": 100 } }));
    world.refuse_next(ErrorReason::BadState);
    let path = format!("/rooms/{ROOM}/upgrade");
    assert_ok(&world.post("alice", &path, json!({ "new_version": "11" })).await);
    let inputs = world.inputs();
    assert_eq!(inputs.len(), 3);
    assert_ne!(upgrade(&inputs[0]).new_room_id, upgrade(&inputs[1]).new_room_id);
    assert_eq!(inputs[2].room_id, upgrade(&inputs[1]).new_room_id);
}

#[tokio::test]
async fn who_comes_second_gets_the_same_room() {
    let world = world(json!({ "users": { "@alice:example.org": 100 } }));
    world.add_state(ROOM, "m.room.tombstone", "", json!({ "replacement_room": "!new:example.org" }));
    world.add_room("!new:example.org", &[("alice", "join")]);
    let create = json!({ "room_version": "11", "predecessor": { "room_id": ROOM } });
    world.add_state("!new:example.org", "m.room.create", "", create);
    let path = format!("/rooms/{ROOM}/upgrade");
    let answer = world.post("alice", &path, json!({ "new_version": "11" })).await;
    assert_ok(&answer);
    assert_eq!(answer.1, json!({ "replacement_room": "!new:example.org" }));
    assert_error(&world.post("alice", &path, json!({ "new_version": "12" })).await, 400, "M_BAD_STATE");
    assert!(world.inputs().is_empty());
}

#[tokio::test]
async fn who_may_not_end_a_room_cannot_replace_it() {
    let world = world(json!({ "users": { "@alice:example.org": 100 } }));
    let path = format!("/rooms/{ROOM}/upgrade");
    let version = json!({ "new_version": "11" });
    assert_error(&world.post("bob", &path, version.clone()).await, 403, "M_FORBIDDEN");
    assert_error(&world.post("carol", &path, version.clone()).await, 403, "M_FORBIDDEN");
    assert_error(&world.post("alice", "/rooms/!none:x/upgrade", version.clone()).await, 403, "M_FORBIDDEN");
    for unknown in ["13", "1", "x"] {
        let answer = world.post("alice", &path, json!({ "new_version": unknown })).await;
        assert_error(&answer, 400, "M_UNSUPPORTED_ROOM_VERSION");
    }
    assert_error(&world.post("alice", &path, json!({})).await, 400, "M_BAD_JSON");
    assert!(world.inputs().is_empty());
    // The verdict on the tombstone counts, whatever was thought before.
    world.refuse_next(ErrorReason::Forbidden);
    assert_error(&world.post("alice", &path, version).await, 403, "M_FORBIDDEN");
}
