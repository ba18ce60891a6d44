use plexus_events::{RoomRules, canonical, verify};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{AtomicBatch, input_room_event::Body, output_room_event},
};
use ruma::serde::Base64;
use serde_json::json;

use super::{ALICE, Answer, BOB, World, intent, new_room};

#[test]
fn rooms_of_all_served_versions_are_created() {
    for version in 6..=12 {
        let version = version.to_string();
        let mut world = World::new();
        let room = world.creates(&version, json!({ "join_rule": "public" }));
        let row = world.row(&room);
        assert_eq!((row.joined_members, row.depth, row.last_seq), (1, 5, 5), "version {version}");
        assert_eq!(row.latest_nids.len(), 1);
        let rules = RoomRules::of(&version).unwrap();
        let key = [("ed25519:a_test".to_owned(), Base64::new(world.env.signing_key.public_key().to_vec()))];
        let keys = [("example.org".to_owned(), key.into())].into();
        for row in world.tables.events.values() {
            let event = canonical::parse_object(&row.event.json).unwrap();
            assert_eq!(canonical::object_to_vec(&event), row.event.json.to_vec(), "canonical");
            verify::check_format(&event, rules).unwrap();
            assert_eq!(
                verify::verify_signatures(&event, &keys, rules).unwrap(),
                verify::Integrity::Whole,
                "version {version}: {}",
                row.event.event_type
            );
            assert_eq!(plexus_events::hash::event_id(&event, rules).unwrap(), row.event.event_id);
            let cites_create = event["auth_events"]
                .as_array()
                .unwrap()
                .iter()
                .any(|id| id.as_str() == Some(&format!("${}", &room[1..])));
            assert!(!cites_create);
        }
    }
}

#[test]
fn alias_and_publication_come_with_the_room() {
    let mut world = World::new();
    let (room, mut batch) = new_room("12", ALICE, json!({ "join_rule": "public" }));
    batch.alias = "#tea:example.org".to_owned();
    batch.published = true;
    let canonical = json!({ "alias": "#tea:example.org" });
    batch.intents.push(intent(ALICE, "m.room.canonical_alias", Some(""), canonical));
    let answer = world.submit(&room, Body::Batch(batch.clone()));
    assert_eq!(answer.event_id(), format!("${}", &room[1..]));
    assert!(world.row(&room).published);
    assert_eq!(world.tables.aliases.len(), 1);
    let directory = world.bodies().into_iter().filter_map(|body| match body {
        output_room_event::Body::Directory(change) => Some((change.alias, change.present)),
        _ => None,
    });
    assert_eq!(directory.collect::<Vec<_>>(), [("#tea:example.org".to_owned(), true), (String::new(), true)]);

    assert_eq!(world.submit(&room, Body::Batch(batch.clone())).refused(), ErrorReason::RoomInUse);
    let (other, mut second) = new_room("12", ALICE, json!({ "join_rule": "invite" }));
    second.alias = batch.alias;
    assert_eq!(world.submit(&other, Body::Batch(second)).refused(), ErrorReason::RoomInUse);
    assert_eq!(world.tables.rooms.len(), 1);
}

#[test]
fn one_bad_event_refuses_the_whole_batch() {
    let mut world = World::new();
    for (bad, reason) in [
        (intent(BOB, "m.room.topic", Some(""), json!({ "topic": "x" })), ErrorReason::InvalidRoomState),
        (
            intent(ALICE, "m.room.power_levels", Some(""), json!({ "ban": "x" })),
            ErrorReason::InvalidRoomState,
        ),
        (intent(ALICE, "m", None, json!({ "x": 1.5 })), ErrorReason::BadJson),
        (intent(ALICE, "m", None, json!({ "x": "y".repeat(70_000) })), ErrorReason::TooLarge),
        (intent("@eve:elsewhere.org", "m", None, json!({})), ErrorReason::InvalidParam),
    ] {
        let (room, mut batch) = new_room("12", ALICE, json!({ "join_rule": "public" }));
        batch.intents.push(bad);
        assert_eq!(world.submit(&room, Body::Batch(batch)).refused(), reason);
    }
    assert!(world.tables.rooms.is_empty() && world.outputs.is_empty() && world.tables.events.is_empty());
}

#[test]
fn create_event_that_does_not_fit_is_refused() {
    let mut world = World::new();
    let mut refuse = |room: &str, batch: AtomicBatch, expected: ErrorReason| {
        let answer = world.submit(room, Body::Batch(batch));
        assert_eq!(answer.refused(), expected, "{answer:?}");
    };
    let bad = ErrorReason::InvalidRoomState;
    let (room, batch) = new_room("12", ALICE, json!({ "join_rule": "public" }));
    refuse("!other", batch.clone(), bad);
    refuse(&room, AtomicBatch { create_pdu: b"{}".to_vec().into(), ..batch.clone() }, bad);
    refuse(&room, AtomicBatch { create_pdu: b"[".to_vec().into(), ..batch.clone() }, bad);
    refuse(&room, AtomicBatch { room_version: "11".to_owned(), ..batch.clone() }, bad);
    let unsupported = ErrorReason::UnsupportedRoomVersion;
    refuse(&room, AtomicBatch { room_version: "1".to_owned(), ..batch.clone() }, unsupported);
    let text = String::from_utf8(batch.create_pdu.to_vec()).unwrap();
    let tampered = text.replace("\"depth\":1", "\"depth\":2");
    refuse(&room, AtomicBatch { create_pdu: tampered.into_bytes().into(), ..batch }, bad);
    let (foreign, batch) = new_room("12", "@eve:elsewhere.org", json!({ "join_rule": "public" }));
    refuse(&foreign, AtomicBatch { intents: vec![], ..batch }, bad);
    let (_, batch) = new_room("11", ALICE, json!({ "join_rule": "public" }));
    refuse("!r1:example.org", batch, bad);
}

#[test]
fn room_may_consist_of_its_create_event() {
    let mut world = World::new();
    let (room, mut batch) = new_room("11", ALICE, json!({ "join_rule": "public" }));
    batch.intents.clear();
    assert!(matches!(world.submit(&room, Body::Batch(batch)), Answer::Accepted { seq: 1, .. }));
    assert_eq!(world.says(&room, ALICE, "hi").refused(), ErrorReason::NotJoined);
    world.member(&room, ALICE, ALICE, "join").event_id();
    world.says(&room, ALICE, "hi").event_id();
}
