use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{input_room_event::Body, output_room_event},
};
use serde_json::json;

use super::{ALICE, BOB, World, intent};

fn redacted(world: &World) -> Vec<String> {
    let events = world.bodies().into_iter().filter_map(|body| match body {
        output_room_event::Body::Redacted(redacted) => Some(redacted.event_id),
        _ => None,
    });
    events.collect()
}

#[test]
fn redaction_takes_effect_in_every_version() {
    for version in 6..=12 {
        let mut world = World::new();
        let room = world.creates(&version.to_string(), json!({ "join_rule": "public" }));
        let target = world.says(&room, ALICE, "secret").event_id();
        let redaction = world.redact(&room, ALICE, &target).event_id();
        let (event, because) = (world.json(&target), world.json(&redaction));
        assert_eq!(event["content"], json!({}));
        let mut named = because.clone();
        named["event_id"] = json!(redaction);
        assert_eq!(event["unsigned"]["redacted_because"], named);
        if version >= 11 {
            assert_eq!(because["content"]["redacts"], json!(target));
            assert_eq!(because.get("redacts"), None);
        } else {
            assert_eq!(because["redacts"], json!(target));
            assert_eq!(because["content"], json!({ "reason": "spam" }));
        }
        let rules = plexus_events::RoomRules::of(&version.to_string()).unwrap();
        let object = plexus_events::canonical::parse_object(&world.event(&target).unwrap().json).unwrap();
        assert_eq!(plexus_events::hash::event_id(&object, rules).unwrap(), target.as_str());
        assert_eq!(redacted(&world), [target]);
    }
}

#[test]
fn only_the_first_redaction_takes_effect() {
    let mut world = World::new();
    let room = world.public_room();
    let target = world.says(&room, ALICE, "secret").event_id();
    world.redact(&room, ALICE, &target).event_id();
    let json = world.json(&target);
    world.redact(&room, ALICE, &target).event_id();
    assert_eq!(world.json(&target), json);
    assert_eq!(redacted(&world).len(), 1);
    let applied: Vec<_> = world.tables.redactions.iter().map(|(_, applied)| *applied).collect();
    assert_eq!(applied, [true, false]);
}

#[test]
fn users_redact_their_own_events_and_moderators_any() {
    let mut world = World::new();
    let room = world.public_room();
    world.member(&room, BOB, BOB, "join").event_id();
    let (by_alice, by_bob) =
        (world.says(&room, ALICE, "a").event_id(), world.says(&room, BOB, "b").event_id());
    assert_eq!(world.redact(&room, BOB, &by_alice).refused(), ErrorReason::Forbidden);
    let missing = world.redact(&room, BOB, "$2bYrT7jcxKn0Q2nQ5xk3S1fLFM5C6wr8o0mTPvHzXaA");
    assert_eq!(missing.refused(), ErrorReason::NotFound);
    world.redact(&room, BOB, &by_bob).event_id();
    let by_bob = world.says(&room, BOB, "b").event_id();
    world.redact(&room, ALICE, &by_bob).event_id();
    let create = format!("${}", &room[1..]);
    assert_eq!(world.redact(&room, ALICE, &create).refused(), ErrorReason::Forbidden);
    assert_eq!(redacted(&world).len(), 2);
}

#[test]
fn target_of_another_room_is_left_alone() {
    let mut world = World::new();
    let room = world.public_room();
    let other = world.creates("12", json!({ "join_rule": "invite" }));
    let target = world.says(&other, ALICE, "here").event_id();
    assert_eq!(world.redact(&room, ALICE, &target).refused(), ErrorReason::NotFound);
    world.redact(&room, ALICE, "$2bYrT7jcxKn0Q2nQ5xk3S1fLFM5C6wr8o0mTPvHzXaA").event_id();
    assert_eq!(world.json(&target)["content"]["body"], json!("here"));
    assert!(redacted(&world).is_empty());
    assert_eq!(world.tables.redactions.iter().filter(|(_, applied)| *applied).count(), 0);
}

#[test]
fn redacted_state_counts_as_redacted() {
    let mut world = World::new();
    // Version 10 does not keep `invite` of the power levels when it redacts them.
    let room = world.creates("10", json!({ "join_rule": "public" }));
    world.member(&room, BOB, BOB, "join").event_id();
    let levels = json!({ "users": { ALICE: 100 }, "invite": 50 });
    let levels = world.set(&room, ALICE, ("m.room.power_levels", ""), levels).event_id();
    assert_eq!(world.member(&room, BOB, "@dora:example.org", "invite").refused(), ErrorReason::Forbidden);
    world.redact(&room, ALICE, &levels).event_id();
    world.member(&room, BOB, "@dora:example.org", "invite").event_id();
    world.cold = true;
    world.member(&room, BOB, "@emil:example.org", "invite").event_id();
}

#[test]
fn content_names_the_target_since_version_11() {
    let mut world = World::new();
    let room = world.creates("11", json!({ "join_rule": "public" }));
    let target = world.says(&room, ALICE, "secret").event_id();
    world.send(&room, ALICE, "m.room.redaction", json!({ "redacts": target })).event_id();
    assert_eq!(redacted(&world), std::slice::from_ref(&target));
    for wrong in [json!({ "redacts": 5 }), json!({ "redacts": "x" })] {
        let answer = world.send(&room, ALICE, "m.room.redaction", wrong);
        assert_eq!(answer.refused(), ErrorReason::InvalidParam);
    }
    world.send(&room, ALICE, "m.room.redaction", json!({})).event_id();
    let mut redaction = intent(ALICE, "m.room.redaction", None, json!({ "redacts": 5 }));
    redaction.redacts = target.clone();
    let id = world.submit(&room, Body::Intent(redaction)).event_id();
    assert_eq!(world.json(&id)["content"]["redacts"], json!(target));
}
