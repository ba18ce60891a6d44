use plexus_proto::common::v1::ErrorReason;
use serde_json::{Value, json};

use super::{ALICE, BOB, CAROL, World};

const MIB: i64 = 1024 * 1024;

/// Takes a room for one whose state takes so many bytes.
fn fill(world: &mut World, room: &str, bytes: i64) {
    world.cold = true;
    let id = ruma::RoomId::parse(room).unwrap();
    world.tables.rooms.get_mut(&*id).unwrap().state_bytes = bytes;
}

/// Bytes of an event, as far as they count.
fn size(world: &World, event_id: &str) -> i64 {
    i64::try_from(world.event(event_id).unwrap().json.len()).unwrap()
}

fn sets(world: &mut World, room: &str, sender: &str, state_key: &str, bytes: usize) -> super::Answer {
    let content = json!({ "text": "x".repeat(bytes) });
    world.set(room, sender, ("org.example.state", state_key), content)
}

#[test]
fn the_sum_follows_what_is_set_replaced_and_redacted() {
    let mut world = World::new();
    let room = world.public_room();
    let sum = |world: &World| world.row(&room).state_bytes;
    let empty = sum(&world);
    assert!(empty > 0);
    let first = sets(&mut world, &room, ALICE, "a", 30_000).event_id();
    assert_eq!(sum(&world), empty + size(&world, &first));
    let second = sets(&mut world, &room, ALICE, "a", 50_000).event_id();
    assert_eq!(sum(&world), empty + size(&world, &second));
    let other = sets(&mut world, &room, ALICE, "b", 10_000).event_id();
    assert_eq!(sum(&world), empty + size(&world, &second) + size(&world, &other));
    // Members count for what they say beyond the ordinary.
    world.member(&room, BOB, BOB, "join").event_id();
    assert_eq!(sum(&world), empty + size(&world, &second) + size(&world, &other));
    let content = json!({ "membership": "join", "reason": "x".repeat(5_000) });
    let member = world.set(&room, BOB, ("m.room.member", BOB), content).event_id();
    let of_member = size(&world, &member) - 1024;
    assert_eq!(sum(&world), empty + size(&world, &second) + size(&world, &other) + of_member);
    // What was replaced takes nothing any more; what is redacted takes less.
    world.redact(&room, ALICE, &first).event_id();
    assert_eq!(sum(&world), empty + size(&world, &second) + size(&world, &other) + of_member);
    world.redact(&room, ALICE, &second).event_id();
    assert!(size(&world, &second) < 2_000);
    assert_eq!(sum(&world), empty + size(&world, &second) + size(&world, &other) + of_member);
}

#[test]
fn a_full_room_takes_what_keeps_order_and_what_makes_it_smaller() {
    let mut world = World::new();
    let room = world.public_room();
    for user in [BOB, CAROL] {
        world.member(&room, user, user, "join").event_id();
    }
    sets(&mut world, &room, ALICE, "a", 50_000).event_id();
    fill(&mut world, &room, 32 * MIB);
    assert_eq!(sets(&mut world, &room, ALICE, "b", 100).refused(), ErrorReason::TooLarge);
    assert_eq!(sets(&mut world, &room, ALICE, "a", 51_000).refused(), ErrorReason::TooLarge);
    let reason = json!({ "membership": "invite", "reason": "x".repeat(5_000) });
    let invite = world.set(&room, ALICE, ("m.room.member", "@dave:example.org"), reason);
    assert_eq!(invite.refused(), ErrorReason::TooLarge);
    // Without power it is a matter of power.
    assert_eq!(sets(&mut world, &room, BOB, "b", 100).refused(), ErrorReason::Forbidden);
    // Messages are no state; whoever comes, goes, or is sent away may.
    world.says(&room, BOB, "hello").event_id();
    world.member(&room, ALICE, "@dave:example.org", "invite").event_id();
    world.member(&room, "@dave:example.org", "@dave:example.org", "join").event_id();
    let long = |membership: &str| json!({ "membership": membership, "reason": "x".repeat(5_000) });
    world.set(&room, BOB, ("m.room.member", BOB), long("leave")).event_id();
    world.set(&room, ALICE, ("m.room.member", CAROL), long("ban")).event_id();
    world.set(&room, ALICE, ("m.room.join_rules", ""), json!({ "join_rule": "invite" })).event_id();
    let tombstone = json!({ "body": "x".repeat(5_000), "replacement_room": "!new:example.org" });
    world.set(&room, ALICE, ("m.room.tombstone", ""), tombstone).event_id();
    let before = world.row(&room).state_bytes;
    sets(&mut world, &room, ALICE, "a", 100).event_id();
    assert!(world.row(&room).state_bytes < before - 49_000);
    sets(&mut world, &room, ALICE, "b", 100).event_id();
}

#[test]
fn members_without_power_leave_space_for_those_who_have_it() {
    let mut world = World::new();
    let room = world.creates("11", json!({ "join_rule": "public" }));
    world.member(&room, BOB, BOB, "join").event_id();
    let levels = json!({ "users": { ALICE: 100 }, "events": { "org.example.state": 0 } });
    world.set(&room, ALICE, ("m.room.power_levels", ""), levels).event_id();
    sets(&mut world, &room, BOB, "b", 60_000).event_id();
    fill(&mut world, &room, 8 * MIB);
    assert_eq!(sets(&mut world, &room, BOB, "c", 1_000).refused(), ErrorReason::TooLarge);
    sets(&mut world, &room, ALICE, "a", 60_000).event_id();
    sets(&mut world, &room, BOB, "b", 1_000).event_id();
}

#[test]
fn a_room_does_not_begin_full() {
    let mut world = World::new();
    let (room, mut batch) = super::new_room("12", ALICE, json!({ "join_rule": "invite" }));
    let content: Value = json!({ "text": "x".repeat(60_000) });
    for number in 0..560 {
        let key = number.to_string();
        batch.intents.push(super::intent(ALICE, "org.example.state", Some(&key), content.clone()));
    }
    let answer = world.submit(&room, plexus_proto::log::v1::input_room_event::Body::Batch(batch));
    assert_eq!(answer.refused(), ErrorReason::TooLarge);
}
