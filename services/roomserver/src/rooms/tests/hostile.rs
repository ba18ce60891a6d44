use plexus_log::partition_of;
use plexus_proto::log::v1::{AtomicBatch, Intent, input_room_event::Body};
use proptest::prelude::*;
use serde_json::json;

use super::{ALICE, Answer, World, new_room};
use crate::rooms::RoomInput;

#[test]
fn records_that_can_never_be_processed_are_poison() {
    let mut world = World::new();
    let room = world.public_room();
    let partition = partition_of(&room);
    let good = world.record(&room, Some(Body::Intent(Intent::default())));
    let mut cases = Vec::new();
    cases.push((partition ^ 1, good.clone()));
    cases.push((partition, plexus_proto::log::v1::InputRoomEvent { version: 2, ..good.clone() }));
    cases.push((partition, plexus_proto::log::v1::InputRoomEvent { body: None, ..good.clone() }));
    let short = vec![0; 15].into();
    cases.push((partition, plexus_proto::log::v1::InputRoomEvent { input_id: short, ..good.clone() }));
    for bad in ["", "room", "@a:example.org", &format!("!{}", "x".repeat(300))] {
        let room_id = bad.to_owned();
        cases.push((partition_of(bad), plexus_proto::log::v1::InputRoomEvent { room_id, ..good.clone() }));
    }
    for (partition, record) in cases {
        let answer = world.submit_input(RoomInput::new(partition, record.clone()));
        assert!(matches!(answer, Answer::Poison(_)), "{record:?}: {answer:?}");
    }
}

#[test]
fn deep_and_odd_contents_are_refused() {
    let mut world = World::new();
    let room = world.public_room();
    let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    for content in [
        "",
        "null",
        "[]",
        "5",
        "{",
        "{\"a\":1.0}",
        "{\"a\":-0}",
        "{\"a\":1e2}",
        "{\"a\":9007199254740992}",
        "{\"a\":\"\\ud800\"}",
        "{} {}",
        &deep,
    ] {
        let intent = Intent {
            sender: ALICE.to_owned(),
            r#type: "m".to_owned(),
            content: content.as_bytes().to_vec().into(),
            ..Intent::default()
        };
        let answer = world.submit(&room, Body::Intent(intent));
        assert_eq!(answer.refused(), plexus_proto::common::v1::ErrorReason::BadJson, "{content:.40}");
    }
    let not_utf8 = Intent {
        sender: ALICE.to_owned(),
        r#type: "m".to_owned(),
        content: vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}'].into(),
        ..Intent::default()
    };
    world.submit(&room, Body::Intent(not_utf8)).refused();
}

/// JSON that looks like events, with things in the wrong places.
fn contents() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f32>().prop_map(|value| json!(value).to_string()),
        "[a-z@:!#$.]{0,12}".prop_map(|value| json!(value).to_string()),
        Just("\"join\"".to_owned()),
        Just("\"@alice:example.org\"".to_owned()),
    ];
    let field = prop_oneof![
        "membership|users|events|join_rule|allow|alias|alt_aliases|redacts|third_party_invite|signed|type|room_id",
        "join_authorised_via_users_server|users_default|ban|invite|history_visibility|creator|[a-z]{0,4}",
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((field.clone(), inner), 0..4).prop_map(|items| {
                let fields: Vec<_> = items.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

fn types() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("m.room.member".to_owned()),
        Just("m.room.power_levels".to_owned()),
        Just("m.room.join_rules".to_owned()),
        Just("m.room.history_visibility".to_owned()),
        Just("m.room.create".to_owned()),
        Just("m.room.redaction".to_owned()),
        Just("m.room.canonical_alias".to_owned()),
        Just("m.room.third_party_invite".to_owned()),
        Just("m.room.aliases".to_owned()),
        ".{0,300}",
    ]
}

fn intents() -> impl Strategy<Value = Intent> {
    let users = prop_oneof![
        Just(ALICE.to_owned()),
        Just("@bob:example.org".to_owned()),
        Just("@eve:elsewhere.org".to_owned()),
        ".{0,20}",
    ];
    let keys = prop::option::of(prop_oneof![Just(String::new()), users.clone(), ".{0,300}"]);
    let redacts = prop_oneof![Just(String::new()), "\\$[a-z]{0,50}", ".{0,10}"];
    (users, types(), keys, contents(), any::<i64>(), redacts, any::<bool>()).prop_map(
        |(sender, event_type, state_key, content, ts, redacts, skip)| Intent {
            sender,
            r#type: event_type,
            state_key,
            content: content.into_bytes().into(),
            origin_server_ts: ts & ((1 << 54) - 1),
            txn: None,
            redacts,
            skip_if_unchanged: skip,
            with_profile: skip,
            ..Intent::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_intents_never_harm_the_room(intents in prop::collection::vec(intents(), 1..40), version in 6..=12_u8) {
        let mut world = World::new();
        let room = world.creates(&version.to_string(), json!({ "join_rule": "public" }));
        for (index, intent) in intents.into_iter().enumerate() {
            world.cold = index % 2 == 0;
            let answer = world.submit(&room, Body::Intent(intent));
            prop_assert!(!matches!(answer, Answer::Poison(_)), "{:?}", answer);
        }
        // Whatever came before, the room still answers.
        let answer = world.says(&room, ALICE, "still here");
        prop_assert!(!matches!(answer, Answer::Poison(_)));
        prop_assert_eq!(world.row(&room).latest_nids.len(), 1);
    }

    #[test]
    fn hostile_batches_are_answered(pdu in prop::collection::vec(any::<u8>(), 0..200), more in prop::collection::vec(intents(), 0..4)) {
        let mut world = World::new();
        let (room, mut batch) = new_room("12", ALICE, json!({ "join_rule": "public" }));
        batch.intents.extend(more);
        let spoiled = AtomicBatch { create_pdu: pdu.into(), ..batch.clone() };
        let refused = matches!(world.submit(&room, Body::Batch(spoiled)), Answer::Refused(..));
        prop_assert!(refused);
        world.submit(&room, Body::Batch(batch));
    }
}
