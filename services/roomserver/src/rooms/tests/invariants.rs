//! Tests invariants that hold whatever the order and whatever is cached.

use plexus_proto::log::v1::input_room_event::Body;
use proptest::prelude::*;
use serde_json::json;

use super::{ALICE, Answer, BOB, CAROL, World, intent};

/// Something somebody does.
#[derive(Debug, Clone)]
enum Act {
    Says(usize),
    Member(usize, usize, &'static str),
    Levels(usize, i64, i64),
    Rule(usize, &'static str),
    Redacts(usize, usize),
    Topic(usize),
}

const USERS: [&str; 3] = [ALICE, BOB, CAROL];

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let memberships = prop::sample::select(vec!["join", "join", "invite", "leave", "ban", "knock"]);
    let rules = prop::sample::select(vec!["public", "invite", "knock"]);
    let act = prop_oneof![
        4 => (0..3_usize).prop_map(Act::Says),
        3 => (0..3_usize, 0..3_usize, memberships).prop_map(|(a, b, m)| Act::Member(a, b, m)),
        1 => (0..3_usize, 0..60_i64, 0..60_i64).prop_map(|(a, b, c)| Act::Levels(a, b, c)),
        1 => (0..3_usize, rules).prop_map(|(a, r)| Act::Rule(a, r)),
        2 => (0..3_usize, 0..30_usize).prop_map(|(a, n)| Act::Redacts(a, n)),
        1 => (0..3_usize).prop_map(Act::Topic),
    ];
    prop::collection::vec(act, 1..40)
}

fn perform(world: &mut World, room: &str, act: &Act) -> Answer {
    match *act {
        Act::Says(user) => world.says(room, USERS[user], "x"),
        Act::Member(sender, user, membership) => world.member(room, USERS[sender], USERS[user], membership),
        Act::Levels(user, bob, default) => {
            let levels = json!({ "users": { BOB: bob }, "events_default": default, "redact": 30 });
            world.set(room, USERS[user], ("m.room.power_levels", ""), levels)
        }
        Act::Rule(user, rule) => {
            world.set(room, USERS[user], ("m.room.join_rules", ""), json!({ "join_rule": rule }))
        }
        Act::Redacts(user, index) => {
            let mut ids: Vec<_> = world.tables.events.iter().collect();
            ids.sort_by_key(|(nid, _)| **nid);
            let target = ids[index % ids.len()].1.event.event_id.to_string();
            world.redact(room, USERS[user], &target)
        }
        Act::Topic(user) => {
            let mut topic = intent(USERS[user], "m.room.topic", Some(""), json!({ "topic": "t" }));
            topic.skip_if_unchanged = true;
            world.submit(room, Body::Intent(topic))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The memo of verdicts and every other cache change nothing: a room that is loaded afresh for each input takes the
    /// same way as one that is kept.
    #[test]
    fn caches_change_nothing(acts in acts(), version in 7..=12_u8) {
        let (mut warm, mut cold, mut mixed) = (World::new(), World::new(), World::new());
        cold.cold = true;
        let rule = json!({ "join_rule": "public" });
        let version = version.to_string();
        let room = warm.creates(&version, rule.clone());
        cold.creates(&version, rule.clone());
        mixed.creates(&version, rule);
        for (index, act) in acts.iter().enumerate() {
            mixed.cold = index % 3 == 0;
            let answer = perform(&mut warm, &room, act);
            prop_assert!(!matches!(answer, Answer::Poison(_)), "{:?}", answer);
            prop_assert_eq!(&answer, &perform(&mut cold, &room, act));
            prop_assert_eq!(&answer, &perform(&mut mixed, &room, act));
        }
        prop_assert_eq!(warm.row(&room), cold.row(&room));
        prop_assert_eq!(warm.row(&room), mixed.row(&room));
        for (nid, row) in &warm.tables.events {
            prop_assert_eq!(&row.event.json, &cold.tables.events[nid].event.json);
        }
        prop_assert_eq!(warm.tables.members, cold.tables.members);
    }

    /// Events of one room form a line, each cites the state at its position, and the counts are those of the members.
    #[test]
    fn room_stays_a_line(acts in acts()) {
        let mut world = World::new();
        let room = world.public_room();
        for act in &acts {
            perform(&mut world, &room, act);
        }
        let mut rows: Vec<_> = world.tables.events.values().collect();
        rows.sort_by_key(|row| row.event.nid);
        for pair in rows.windows(2) {
            prop_assert_eq!(&pair[1].event.prev_nids, &vec![pair[0].event.nid]);
            prop_assert_eq!(pair[1].event.depth, pair[0].event.depth + 1);
            prop_assert!(pair[1].event.seq > pair[0].event.seq);
            let highest = pair[1].event.auth_nids.iter().map(|nid| world.tables.events[nid].event.auth_generation).max();
            prop_assert_eq!(pair[1].event.auth_generation, highest.unwrap_or(0) + 1);
        }
        let count = |wanted: &str| {
            let held = world.tables.members.values().filter(|(membership, _)| membership == wanted).count();
            i32::try_from(held).unwrap()
        };
        prop_assert_eq!(world.row(&room).joined_members, count("join"));
        prop_assert_eq!(world.row(&room).invited_members, count("invite"));
        prop_assert_eq!(world.row(&room).latest_nids.clone(), vec![rows.last().unwrap().event.nid]);
        let mut last = 0;
        for output in &world.outputs {
            prop_assert_eq!(output.record.prev_room_seq, last);
            last = output.record.seq;
        }
    }
}
