use plexus_proto::common::v1::ErrorReason;
use serde_json::{Value, json};

use super::{ALICE, Answer, BOB, World};

fn related(kind: &str, target: &str, key: Option<&str>) -> Value {
    let mut content = json!({ "body": "x", "m.relates_to": { "rel_type": kind, "event_id": target } });
    if let Some(key) = key {
        content["m.relates_to"]["key"] = json!(key);
    }
    content
}

fn reacts(world: &mut World, room: &str, user: &str, target: &str, key: &str) -> Answer {
    world.send(room, user, "m.reaction", related("m.annotation", target, Some(key)))
}

#[test]
fn nobody_annotates_twice_alike() {
    let mut world = World::new();
    let room = world.public_room();
    world.member(&room, BOB, BOB, "join").event_id();
    let target = world.says(&room, ALICE, "hello").event_id();
    let other = world.says(&room, ALICE, "hello").event_id();
    let first = reacts(&mut world, &room, BOB, &target, "👍").event_id();
    let again = reacts(&mut world, &room, BOB, &target, "👍");
    assert_eq!(again.refused(), ErrorReason::DuplicateAnnotation);
    // Another user, key, event or type is another annotation.
    reacts(&mut world, &room, ALICE, &target, "👍").event_id();
    reacts(&mut world, &room, BOB, &target, "👎").event_id();
    reacts(&mut world, &room, BOB, &other, "👍").event_id();
    world.send(&room, BOB, "org.x", related("m.annotation", &target, Some("👍"))).event_id();
    // What does not fit the schema annotates nothing.
    for odd in [json!(1), json!(null)] {
        let mut content = related("m.annotation", &target, None);
        content["m.relates_to"]["key"] = odd;
        for _ in 0..2 {
            world.send(&room, BOB, "m.reaction", content.clone()).event_id();
        }
    }
    // An annotation that was redacted is none.
    world.redact(&room, BOB, &first).event_id();
    reacts(&mut world, &room, BOB, &target, "👍").event_id();
    world.cold = true;
    let again = reacts(&mut world, &room, BOB, &target, "👍");
    assert_eq!(again.refused(), ErrorReason::DuplicateAnnotation);
}

#[test]
fn threads_begin_only_at_events_that_relate_to_none() {
    let mut world = World::new();
    let room = world.public_room();
    let elsewhere = world.creates("11", json!({ "join_rule": "public" }));
    let root = world.says(&room, ALICE, "root").event_id();
    let reply = world.send(&room, ALICE, "m.room.message", related("m.thread", &root, None)).event_id();
    let thread = |world: &mut World, root: &str| {
        world.send(&room, ALICE, "m.room.message", related("m.thread", root, None))
    };
    assert_eq!(thread(&mut world, &reply).refused(), ErrorReason::InvalidRelation);
    let reaction = reacts(&mut world, &room, ALICE, &root, "k").event_id();
    assert_eq!(thread(&mut world, &reaction).refused(), ErrorReason::InvalidRelation);
    thread(&mut world, &root).event_id();
    thread(&mut world, "$2bYrT7jcxKn0Q2nQ5xk3S1fLFM5C6wr8o0mTPvHzXaA").event_id();
    // An event of another room is as good as unknown.
    let there = world.says(&elsewhere, ALICE, "root").event_id();
    let there = world.send(&elsewhere, ALICE, "m.room.message", related("m.thread", &there, None)).event_id();
    thread(&mut world, &there).event_id();
}
