use plexus_proto::{common::v1::ErrorReason, log::v1::input_room_event::Body};
use serde_json::json;

use super::{ALICE, BOB, CAROL, World, new_room};

#[test]
fn counts_and_members_follow() {
    let mut world = World::new();
    let room = world.creates("11", json!({ "join_rule": "invite" }));
    assert_eq!(world.member(&room, BOB, BOB, "join").refused(), ErrorReason::Forbidden);
    let counts = |world: &World| (world.row(&room).joined_members, world.row(&room).invited_members);
    world.member(&room, ALICE, BOB, "invite").event_id();
    assert_eq!(counts(&world), (1, 1));
    world.member(&room, BOB, BOB, "join").event_id();
    assert_eq!(counts(&world), (2, 0));
    let profile = json!({ "membership": "join", "displayname": "Bob" });
    world.set(&room, BOB, ("m.room.member", BOB), profile).event_id();
    assert_eq!(counts(&world), (2, 0));
    world.member(&room, ALICE, BOB, "leave").event_id();
    world.member(&room, ALICE, BOB, "ban").event_id();
    assert_eq!(counts(&world), (1, 0));
    assert_eq!(world.membership(&room, BOB), Some(("ban".to_owned(), false)));
    assert_eq!(world.member(&room, ALICE, BOB, "invite").refused(), ErrorReason::Forbidden);
    world.member(&room, ALICE, BOB, "leave").event_id();
    assert_eq!(world.member(&room, CAROL, BOB, "ban").refused(), ErrorReason::Forbidden);
}

#[test]
fn malformed_member_events_are_refused() {
    let mut world = World::new();
    let room = world.public_room();
    for (state_key, content) in [
        (BOB, json!({})),
        (BOB, json!({ "membership": 7 })),
        (BOB, json!({ "membership": "fly" })),
        ("bob", json!({ "membership": "join" })),
        ("", json!({ "membership": "join" })),
    ] {
        let answer = world.set(&room, BOB, ("m.room.member", state_key), content);
        assert_eq!(answer.refused(), ErrorReason::Forbidden);
    }
    let answer = world.send(&room, ALICE, "m.room.member", json!({ "membership": "join" }));
    assert_eq!(answer.refused(), ErrorReason::Forbidden);
}

#[test]
fn knocks_need_their_rule() {
    for (version, rule, allowed) in [
        ("6", "knock", false),
        ("7", "knock", true),
        ("9", "knock_restricted", false),
        ("10", "knock_restricted", true),
    ] {
        let mut world = World::new();
        let room = world.creates(version, json!({ "join_rule": rule }));
        let answer = world.member(&room, BOB, BOB, "knock");
        if allowed {
            answer.event_id();
            assert_eq!(world.membership(&room, BOB), Some(("knock".to_owned(), false)));
        } else {
            assert_eq!(answer.refused(), ErrorReason::Forbidden, "version {version}");
        }
    }
}

#[test]
fn restricted_room_lets_in_members_of_the_other_room() {
    for version in ["8", "9", "10", "11", "12"] {
        let mut world = World::new();
        let lobby = world.creates(version, json!({ "join_rule": "public" }));
        let rule = json!({ "join_rule": "restricted", "allow": [
            { "type": "org.example.other", "room_id": 5 },
            { "type": "m.room_membership", "room_id": lobby },
        ] });
        let room = world.creates(version, rule);
        assert_eq!(world.member(&room, BOB, BOB, "join").refused(), ErrorReason::Forbidden);
        world.member(&lobby, BOB, BOB, "join").event_id();
        let join = world.member(&room, BOB, BOB, "join").event_id();
        assert_eq!(world.json(&join)["content"]["join_authorised_via_users_server"], json!(ALICE));
        // Nobody has to vouch for whoever is invited.
        world.member(&room, ALICE, CAROL, "invite").event_id();
        let join = world.member(&room, CAROL, CAROL, "join").event_id();
        assert_eq!(world.json(&join)["content"], json!({ "membership": "join" }));
    }
}

#[test]
fn nobody_says_themselves_who_vouches_for_them() {
    for version in ["8", "9", "10", "11", "12"] {
        let mut world = World::new();
        let lobby = world.creates(version, json!({ "join_rule": "public" }));
        let allow = json!([{ "type": "m.room_membership", "room_id": lobby }]);
        let rules: &[&str] = match version {
            "8" | "9" => &["restricted"],
            _ => &["restricted", "knock_restricted"],
        };
        for rule in rules {
            let room = world.creates(version, json!({ "join_rule": rule, "allow": allow }));
            for (user, voucher) in [(BOB, ALICE), (BOB, BOB), (BOB, "@stranger:b.example")] {
                let content = json!({ "membership": "join", "join_authorised_via_users_server": voucher });
                let answer = world.set(&room, user, ("m.room.member", user), content);
                assert_eq!(answer.refused(), ErrorReason::Forbidden, "version {version}, {voucher}");
            }
        }
    }
}

#[test]
fn a_voucher_is_named_in_the_first_join_alone() {
    let mut world = World::new();
    let lobby = world.creates("11", json!({ "join_rule": "public" }));
    let rule =
        json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": lobby }] });
    let room = world.creates("11", rule);
    world.member(&lobby, BOB, BOB, "join").event_id();
    let named = |voucher: &str, membership: &str| json!({ "membership": membership, "join_authorised_via_users_server": voucher, "displayname": voucher });
    let join = world.set(&room, BOB, ("m.room.member", BOB), named("@stranger:b.example", "join")).event_id();
    assert_eq!(world.json(&join)["content"]["join_authorised_via_users_server"], json!(ALICE));
    for (sender, user, membership) in [(BOB, BOB, "join"), (ALICE, CAROL, "invite"), (BOB, BOB, "leave")] {
        let next = world.set(&room, sender, ("m.room.member", user), named(ALICE, membership)).event_id();
        let content = json!({ "membership": membership, "displayname": ALICE });
        assert_eq!(world.json(&next)["content"], content);
    }
    // Nor does a batch that makes a room, or a room of a version that knows no vouching.
    let (old, mut batch) = new_room("7", ALICE, json!({ "join_rule": "knock" }));
    batch.intents[0].content = named(BOB, "join").to_string().into_bytes().into();
    world.submit(&old, Body::Batch(batch)).event_id();
    let events = world.tables.events.values();
    let stored = events.filter(|row| row.event.event_type == "m.room.member");
    let named = stored.filter(|row| String::from_utf8_lossy(&row.event.json).contains("join_authorised_via"));
    assert_eq!(named.count(), 1);
}

#[test]
fn any_joined_member_vouches_where_anybody_may_invite() {
    let mut world = World::new();
    let lobby = world.creates("11", json!({ "join_rule": "public" }));
    let rule =
        json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": lobby }] });
    let room = world.creates("11", rule);
    world.member(&lobby, BOB, BOB, "join").event_id();
    world.member(&lobby, CAROL, CAROL, "join").event_id();
    world.member(&room, BOB, BOB, "join").event_id();
    world.member(&room, ALICE, ALICE, "leave").event_id();
    let join = world.member(&room, CAROL, CAROL, "join").event_id();
    assert_eq!(world.json(&join)["content"]["join_authorised_via_users_server"], json!(BOB));
}

#[test]
fn creators_of_version_12_stand_above_all_levels() {
    let mut world = World::new();
    let room = world.public_room();
    world.member(&room, BOB, BOB, "join").event_id();
    let levels = json!({ "users": { BOB: 9_007_199_254_740_991_i64 } });
    world.set(&room, ALICE, ("m.room.power_levels", ""), levels).event_id();
    assert_eq!(world.member(&room, BOB, ALICE, "ban").refused(), ErrorReason::Forbidden);
    world.member(&room, ALICE, BOB, "ban").event_id();
    let named = json!({ "users": { ALICE: 100 } });
    let answer = world.set(&room, ALICE, ("m.room.power_levels", ""), named.clone());
    assert_eq!(answer.refused(), ErrorReason::InvalidParam);
    // Before version 12 a creator has the power that is listed.
    let old = world.creates("11", json!({ "join_rule": "public" }));
    world.set(&old, ALICE, ("m.room.power_levels", ""), named).event_id();
}
