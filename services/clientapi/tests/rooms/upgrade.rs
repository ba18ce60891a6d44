use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{Intent, input_room_event::Body, room_control::Action},
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
async fn a_room_is_replaced_step_by_step() {
    let world = world(json!({ "users": { "@alice:example.org": 100 } }));
    let body = json!({ "new_version": "12", "additional_creators": ["@bob:example.org"] });
    let answer = world.post("alice", &format!("/rooms/{ROOM}/upgrade"), body).await;
    assert_ok(&answer);
    let new_id = answer.1["replacement_room"].as_str().unwrap();
    let inputs = world.inputs();
    let Some(Body::Batch(batch)) = &inputs[0].body else { panic!("{inputs:?}") };
    assert_eq!((batch.room_version.as_str(), batch.published), ("12", true));
    let create: Value = serde_json::from_slice(&batch.create_pdu).unwrap();
    assert_eq!(create["content"]["predecessor"], json!({ "room_id": ROOM }));
    assert_eq!(create["content"]["type"], "m.space");
    assert_eq!(create["content"]["additional_creators"], json!(["@bob:example.org"]));
    let intents = &batch.intents;
    assert_eq!(intents[0].r#type, "m.room.member");
    assert_eq!(intents.last().unwrap().r#type, "m.room.power_levels");
    assert_eq!(content(intents.last().unwrap()), json!({ "users": {} }));
    assert_eq!(content(of(intents, "m.room.name")[0]), json!({ "name": "Pub" }));
    assert_eq!(of(intents, "m.space.child").len(), 1);

    let rest = inputs[1..].iter().map(|input| (input.room_id.as_str(), input.body.clone().unwrap()));
    let mut said = Vec::new();
    for (room, body) in rest {
        let room = if room == new_id { "new" } else { "old" };
        said.push(match body {
            Body::Intent(intent) => format!("{room} {} {}", intent.r#type, content(&intent)),
            Body::Control(control) => match control.action.unwrap() {
                Action::DeleteAlias(_) => format!("{room} delete alias"),
                Action::SetAlias(_) => format!("{room} set alias"),
                Action::SetVisibility(set) => format!("{room} published {}", set.published),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        });
    }
    let tombstone = json!({ "body": "This room has been replaced", "replacement_room": new_id });
    let levels = json!({ "users": { "@alice:example.org": 100 }, "events_default": 50, "invite": 50 });
    assert_eq!(
        said,
        [
            format!("old m.room.tombstone {tombstone}"),
            "old delete alias".to_owned(),
            "new set alias".to_owned(),
            "old m.room.canonical_alias {}".to_owned(),
            format!("new m.room.canonical_alias {}", json!({ "alias": "#pub:example.org" })),
            "old published false".to_owned(),
            format!("old m.room.power_levels {levels}"),
        ]
    );
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
    world.accept_next();
    world.refuse_next(ErrorReason::Forbidden);
    assert_error(&world.post("alice", &path, version).await, 403, "M_FORBIDDEN");
}
