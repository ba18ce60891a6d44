//! Single events of other servers, and what becomes of them.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        ExpireParked, FetchDone, Pdu, SnapshotChunk, StateBefore, fetch_done, input_room_event::Body,
        output_room_event, pdu::Kind, room_control::Action,
    },
};
use serde_json::json;

use super::{
    ALICE, Answer, World,
    graphs::{BOB, CAROL, Made, pdu, three, world_of},
};
use crate::rooms::{Key, flags};

const TOPIC: (&str, Option<&str>) = ("m.room.topic", Some(""));
const MESSAGE: (&str, Option<&str>) = ("m.room.message", None);
/// An event that nobody has.
const NOWHERE: &str = "$2bYrT7jcxKn0Q2nQ5xk3S1fLFM5C6wr8o0mTPvHzXaA";

/// The first of three servers and the room.
fn first(version: &str) -> (World, String) {
    let (mut worlds, room) = three(version);
    (worlds.remove(0), room)
}

fn fetches(world: &World) -> Vec<(String, Vec<String>)> {
    let bodies = world.bodies().into_iter().filter_map(|body| match body {
        output_room_event::Body::Fetch(fetch) => {
            let missing = fetch.missing_prev_event_ids.into_iter().chain(fetch.missing_auth_event_ids);
            Some((fetch.event_id, missing.collect()))
        }
        _ => None,
    });
    bodies.collect()
}

#[test]
fn event_of_another_server_is_accepted_once() {
    for version in ["6", "10", "12"] {
        let (mut world, room) = first(version);
        let (id, json) = world.make(&room, world.next(&room, BOB, MESSAGE, json!({ "body": "hello" })));
        assert!(matches!(world.receive(&room, &json), Answer::Accepted { .. }));
        let again = world.receive(&room, &json);
        assert_eq!(again, Answer::Duplicate { event_id: id.clone(), soft_failed: false });
        assert_eq!(world.extremities(&room).into_iter().collect::<Vec<_>>(), std::slice::from_ref(&id));
        // What we send follows on it.
        let reply = world.says(&room, ALICE, "welcome").event_id();
        assert_eq!(world.json(&reply)["prev_events"], json!([id]));
    }
}

#[test]
fn malformed_and_misplaced_events_are_refused() {
    let (mut world, room) = first("11");
    let before = world.tables.events.len();
    let (_, good) = world.make(&room, world.next(&room, BOB, MESSAGE, json!({})));
    let good: serde_json::Value = serde_json::from_slice(&good).unwrap();
    let mut cases = vec![b"".to_vec(), b"{}".to_vec(), b"[]".to_vec(), vec![0xff; 20]];
    let ids = |n: usize| vec![NOWHERE; n];
    for (field, value) in [
        ("depth", json!(-1)),
        ("depth", json!(9_007_199_254_740_992_i64)),
        ("prev_events", json!(ids(21))),
        ("auth_events", json!(ids(11))),
        ("sender", json!("bob")),
        ("content", json!("x")),
        ("room_id", json!("!other:example.org")),
        ("type", json!("x".repeat(256))),
        ("hashes", json!(null)),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        cases.push(serde_json::to_vec(&bad).unwrap());
    }
    let mut large = good.clone();
    large["content"] = json!({ "body": "x".repeat(66_000) });
    cases.push(serde_json::to_vec(&large).unwrap());
    for json in cases {
        assert_eq!(world.receive(&room, &json).refused(), ErrorReason::InvalidParam);
    }
    let good = serde_json::to_vec(&good).unwrap();
    let unspecified = Pdu { kind: 0, ..pdu(&good, Kind::New) };
    let many = Pdu { via: vec!["x".to_owned(); 21], ..pdu(&good, Kind::New) };
    let version = Pdu { room_version: "10".to_owned(), ..pdu(&good, Kind::New) };
    for bad in [unspecified, many, version] {
        assert_eq!(world.submit(&room, Body::Pdu(bad)).refused(), ErrorReason::InvalidParam);
    }
    assert_eq!(world.tables.events.len(), before);
    let unknown = world.submit("!nowhere:example.org", Body::Pdu(pdu(&good, Kind::New)));
    assert_eq!(unknown.refused(), ErrorReason::RoomUnknown);
}

#[test]
fn wrong_content_hash_leaves_the_redacted_event() {
    let (mut world, room) = first("11");
    let (id, json) = world.make(&room, world.next(&room, BOB, MESSAGE, json!({ "body": "one" })));
    let changed = String::from_utf8(json).unwrap().replace("\"one\"", "\"two\"");
    assert!(matches!(world.receive(&room, changed.as_bytes()), Answer::Accepted { .. }));
    assert_eq!(world.json(&id)["content"], json!({}));
}

#[test]
fn three_stages_of_refusal_are_told_apart() {
    let (mut world, room) = first("11");
    let dora = "@dora:b.example";
    let before = world.extremities(&room).into_iter().collect::<Vec<_>>();
    let state = world.current(&room);
    // By its auth events: nobody has heard of Dora.
    let made = world.next(&room, dora, MESSAGE, json!({ "body": "x" }));
    let (by_auth, json) = world.make(&room, made);
    assert_eq!(world.receive(&room, &json).refused(), ErrorReason::Forbidden);
    // By the state before: Bob bans Carol, and she cites that, but not as an auth event.
    let ban = world.next(&room, BOB, ("m.room.member", Some(CAROL)), json!({ "membership": "ban" }));
    let (ban, json) = world.make(&room, ban);
    world.receive(&room, &json).event_id();
    let mut made = world.next(&room, CAROL, MESSAGE, json!({ "body": "x" }));
    made.auth = world.made_at(&room, vec![ban.clone()], &state, CAROL, MESSAGE, json!({})).auth;
    let (by_state, json) = world.make(&room, made);
    assert_eq!(world.receive(&room, &json).refused(), ErrorReason::Forbidden);
    // By the current state: Alice bans Bob, who pretends not to have seen it.
    let ban = world.member(&room, ALICE, BOB, "ban").event_id();
    let made = world.made_at(&room, before, &state, BOB, TOPIC, json!({ "topic": "x" }));
    let (by_current, json) = world.make(&room, made);
    assert_eq!(world.receive(&room, &json), Answer::SoftFailed(by_current.clone()));

    let bits = flags::REJECTED | flags::SOFT_FAILED | flags::OUTLIER;
    assert_eq!(world.flags(&by_auth) & bits, flags::REJECTED);
    assert_eq!(world.flags(&by_state) & bits, flags::REJECTED);
    assert_eq!(world.flags(&by_current) & bits, flags::SOFT_FAILED);
    let stages: Vec<_> = [&by_auth, &by_state, &by_current]
        .map(|id| world.tables.decisions[<&ruma::EventId>::try_from(id.as_str()).unwrap()].0)
        .into_iter()
        .collect();
    assert_eq!(stages, ["auth_events", "state_before", "current_state"]);
    assert_eq!(world.extremities(&room).into_iter().collect::<Vec<_>>(), [ban]);
    // Rejected events change no state; a soft-failed one does, for those that follow on it.
    assert_eq!(world.after(&by_current)[&Key::of("m.room.topic", "")], by_current);
    assert!(!world.current(&room).contains_key(&Key::of("m.room.topic", "")));
    // RemoteState again, they are what they were.
    assert_eq!(
        world.receive(&room, &json),
        Answer::Duplicate { event_id: by_current.clone(), soft_failed: true }
    );

    // What cites a rejected event as an auth event is rejected.
    let join = world.next(&room, dora, ("m.room.member", Some(dora)), json!({ "membership": "join" }));
    let (join, json) = world.make(&room, Made { auth: vec![], ..join });
    assert_eq!(world.receive(&room, &json).refused(), ErrorReason::Forbidden);
    let mut made = world.next(&room, dora, MESSAGE, json!({ "body": "x" }));
    made.auth.push(join);
    let (_, json) = world.make(&room, made);
    assert_eq!(world.receive(&room, &json).refused(), ErrorReason::Forbidden);
}

#[test]
fn child_of_a_soft_failed_event_passes_it() {
    let (mut world, room) = first("11");
    let before = world.extremities(&room).into_iter().collect::<Vec<_>>();
    let state = world.current(&room);
    let message = world.says(&room, ALICE, "one").event_id();
    let ban = world.member(&room, ALICE, CAROL, "ban").event_id();
    let made = world.made_at(&room, before, &state, CAROL, MESSAGE, json!({ "body": "x" }));
    let (soft, json) = world.make(&room, made);
    assert_eq!(world.receive(&room, &json), Answer::SoftFailed(soft.clone()));
    assert_eq!(world.extremities(&room).into_iter().collect::<Vec<_>>(), std::slice::from_ref(&ban));
    // Bob has seen both.
    let mut made = world.next(&room, BOB, MESSAGE, json!({ "body": "y" }));
    made.prev = vec![soft, message];
    let (child, json) = world.make(&room, made);
    world.receive(&room, &json).event_id();
    let latest: Vec<_> = world.extremities(&room).into_iter().collect();
    assert_eq!(latest.len(), 2);
    assert!(latest.contains(&child) && latest.contains(&ban));
    // An event of ours heals the fork.
    let healing = world.says(&room, ALICE, "all together").event_id();
    assert_eq!(world.extremities(&room).into_iter().collect::<Vec<_>>(), [healing]);
}

#[test]
fn what_cites_the_unknown_is_parked_until_it_comes() {
    let (mut world, room) = first("11");
    let mut ahead = Vec::new();
    let mut scout = first("11").0;
    for n in 0..5 {
        let made = scout.next(&room, BOB, TOPIC, json!({ "topic": n.to_string() }));
        let (id, json) = scout.make(&room, made);
        scout.receive(&room, &json).event_id();
        ahead.push((id, json));
    }
    for (index, (id, json)) in ahead.iter().enumerate().skip(1).rev() {
        let missing = vec![ahead[index - 1].0.clone()];
        assert_eq!(world.receive(&room, json), Answer::Parked(missing.clone()));
        assert_eq!(fetches(&world).last().unwrap(), &(id.clone(), missing));
    }
    assert_eq!(world.row(&room).parked, 4);
    // RemoteState again, it stays parked, and nothing new is asked.
    let asked = fetches(&world).len();
    assert!(matches!(world.receive(&room, &ahead[3].1), Answer::Parked(_)));
    assert_eq!(fetches(&world).len(), asked);
    world.cold = true;
    world.receive(&room, &ahead[0].1).event_id();
    assert_eq!(world.row(&room).parked, 0);
    assert_eq!(world.extremities(&room), scout.extremities(&room));
    assert_eq!(world.current(&room), scout.current(&room));
}

#[test]
fn what_waits_for_an_event_that_is_given_up_asks_for_it() {
    for cold in [false, true] {
        let (mut world, room) = first("11");
        let mut made = world.next(&room, BOB, MESSAGE, json!({ "body": "x" }));
        made.prev = vec![NOWHERE.to_owned()];
        let (id, json) = world.make(&room, made);
        assert!(matches!(world.receive(&room, &json), Answer::Parked(_)));
        let mut made = world.next(&room, BOB, MESSAGE, json!({ "body": "y" }));
        made.prev = vec![id.clone()];
        let (child, json) = world.make(&room, made);
        assert!(matches!(world.receive(&room, &json), Answer::Parked(_)));
        // What is parked itself is not asked for.
        assert_eq!(fetches(&world).len(), 1);
        let done = |event_id: &str, outcome: fetch_done::Outcome| FetchDone {
            event_id: event_id.to_owned(),
            outcome: outcome.into(),
            reason: "nobody has it".to_owned(),
            ..FetchDone::default()
        };
        let again = world.submit(&room, Body::FetchDone(done(&id, fetch_done::Outcome::Fetched)));
        assert!(matches!(again, Answer::Accepted { .. }));
        assert_eq!(fetches(&world).len(), 2);
        world.cold = cold;
        world.submit(&room, Body::FetchDone(done(&id, fetch_done::Outcome::GaveUp)));
        // The other one may have a state all the same, if somebody tells it.
        assert_eq!(world.row(&room).parked, 1);
        assert_eq!(fetches(&world).last().unwrap(), &(child.clone(), vec![id.clone()]));
        let stage = |world: &World, id: &str| {
            let id = <&ruma::EventId>::try_from(id).unwrap();
            world.tables.decisions.get(id).map(|(stage, rule)| (*stage, !rule.is_empty()))
        };
        assert_eq!((stage(&world, &id), stage(&world, &child)), (Some(("missing", true)), None));
        world.submit(&room, Body::FetchDone(done(&child, fetch_done::Outcome::GaveUp)));
        assert_eq!(stage(&world, &child), Some(("missing", true)));
        assert_eq!(world.row(&room).parked, 0);
        assert!(world.tables.parked.is_empty());
        let late = world.submit(&room, Body::FetchDone(done(&id, fetch_done::Outcome::GaveUp)));
        assert!(matches!(late, Answer::Accepted { .. }));
    }
}

#[test]
fn a_fetch_that_is_deferred_is_not_deferred_for_ever() {
    let (mut world, room) = first("11");
    let mut made = world.next(&room, BOB, MESSAGE, json!({ "body": "x" }));
    made.prev = vec![NOWHERE.to_owned()];
    let (id, json) = world.make(&room, made);
    assert!(matches!(world.receive(&room, &json), Answer::Parked(_)));
    let done = FetchDone {
        event_id: id.clone(),
        outcome: fetch_done::Outcome::Deferred.into(),
        not_before_ts: world.now + 60_000,
        ..FetchDone::default()
    };
    for attempt in 2..=5 {
        world.submit(&room, Body::FetchDone(done.clone()));
        assert_eq!(world.row(&room).parked, 1);
        let parked = world.tables.parked.values().next().unwrap();
        assert_eq!(parked.entry.attempts, attempt);
        // The fetcher knows when: nothing is asked for before.
        assert_eq!(fetches(&world).len(), 1);
    }
    world.submit(&room, Body::FetchDone(done));
    assert_eq!(world.row(&room).parked, 0);
    let (stage, _) = &world.tables.decisions[<&ruma::EventId>::try_from(id.as_str()).unwrap()];
    assert_eq!(*stage, "missing");
}

#[test]
fn parked_events_expire_after_a_day() {
    let (mut world, room) = first("11");
    let mut made = world.next(&room, BOB, MESSAGE, json!({ "body": "x" }));
    made.prev = vec![NOWHERE.to_owned()];
    let (_, json) = world.make(&room, made);
    assert!(matches!(world.receive(&room, &json), Answer::Parked(_)));
    world.now += 23 * 60 * 60 * 1000;
    world.control(&room, Action::ExpireParked(ExpireParked {}));
    assert_eq!(world.row(&room).parked, 1);
    world.now += 2 * 60 * 60 * 1000;
    world.control(&room, Action::ExpireParked(ExpireParked {}));
    assert_eq!(world.row(&room).parked, 0);
    assert!(world.tables.parked.is_empty());
}

#[test]
fn many_parked_events_keep_only_those_that_no_other_cites() {
    let (mut world, room) = first("11");
    let mut scout = first("11").0;
    let mut chain = Vec::new();
    for _ in 0..102 {
        let made = scout.next(&room, BOB, MESSAGE, json!({ "body": "x" }));
        let (id, json) = scout.make(&room, made);
        scout.receive(&room, &json).event_id();
        chain.push((id, json));
    }
    for (_, json) in &chain[1..] {
        assert!(matches!(world.receive(&room, json), Answer::Parked(_)));
    }
    assert_eq!(world.row(&room).parked, 1);
    let (id, missing) = fetches(&world).pop().unwrap();
    assert_eq!((id, missing), (chain[101].0.clone(), vec![chain[100].0.clone()]));
    // The fetcher brings what was dropped.
    for (_, json) in &chain {
        world.receive(&room, json);
    }
    assert_eq!(world.row(&room).parked, 0);
    assert_eq!(world.extremities(&room), scout.extremities(&room));
    // Events that have nothing to do with each other are bounded, too.
    for n in 0..1_100 {
        let mut made = world.next(&room, BOB, MESSAGE, json!({ "body": n }));
        made.prev = vec![NOWHERE.to_owned()];
        let (_, json) = world.make(&room, made);
        assert!(matches!(world.receive(&room, &json), Answer::Parked(_)));
    }
    assert_eq!(world.row(&room).parked, 1000);
    assert_eq!(world.tables.parked.len(), 1000);
}

#[test]
fn a_server_does_not_push_out_what_another_one_has_parked() {
    let (mut world, room) = first("11");
    let park = |world: &mut World, n: usize, origin: &str| {
        let mut made = world.next(&room, BOB, MESSAGE, json!({ "body": n }));
        made.prev = vec![NOWHERE.to_owned()];
        let (id, json) = world.make(&room, made);
        let pdu = Pdu { origin: origin.to_owned(), ..pdu(&json, Kind::New) };
        assert!(matches!(world.submit(&room, Body::Pdu(pdu)), Answer::Parked(_)));
        id
    };
    let honest: Vec<String> = (0..3).map(|n| park(&mut world, n, "c.example")).collect();
    for n in 3..1_100 {
        park(&mut world, n, "b.example");
    }
    assert_eq!(world.row(&room).parked, 1000);
    let parked: Vec<_> = world.tables.parked.values().map(|row| row.entry.event_id.to_string()).collect();
    assert!(honest.iter().all(|id| parked.contains(id)));
}

#[test]
fn front_is_bounded_and_keeps_our_own_events() {
    let (mut world, room) = first("11");
    let root = world.extremities(&room).into_iter().collect::<Vec<_>>();
    let state = world.current(&room);
    let ours = world.says(&room, ALICE, "ours").event_id();
    for n in 0..80 {
        let content = json!({ "body": n });
        let made = world.made_at(&room, root.clone(), &state, BOB, MESSAGE, content);
        let (_, json) = world.make(&room, made);
        world.receive(&room, &json).event_id();
    }
    assert!(world.row(&room).latest_nids.len() <= 60);
    assert!(world.extremities(&room).contains(&ours));
    let next = world.says(&room, ALICE, "next").event_id();
    let cited = world.json(&next)["prev_events"].as_array().unwrap().clone();
    assert!(cited.len() <= 11);
    assert!(cited.contains(&json!(ours)));
    while world.row(&room).latest_nids.len() > 1 {
        world.says(&room, ALICE, "on").event_id();
    }
}

#[test]
fn redaction_may_come_before_its_target() {
    for version in ["6", "10", "11", "12"] {
        let (mut world, room) = first(version);
        let in_content = version == "11" || version == "12";
        let (target, json) = world.make(&room, world.next(&room, CAROL, MESSAGE, json!({ "body": "spam" })));
        let root = world.extremities(&room).into_iter().collect::<Vec<_>>();
        let state = world.current(&room);
        if !in_content {
            continue;
        }
        // By somebody without power, by the sender's own server, both before the target is there.
        let redaction = ("m.room.redaction", None);
        let content = json!({ "redacts": target });
        let made = world.made_at(&room, root.clone(), &state, CAROL, redaction, content);
        let (redaction, late) = world.make(&room, made);
        world.receive(&room, &late).event_id();
        world.receive(&room, &json).event_id();
        let event = world.json(&target);
        assert_eq!(event["content"], json!({}), "version {version}");
        assert_eq!(event["unsigned"]["redacted_because"]["event_id"], json!(redaction));
        let told = world.bodies().into_iter().filter(
            |body| matches!(body, output_room_event::Body::Redacted(redacted) if redacted.event_id == target),
        );
        assert_eq!(told.count(), 1);
    }
}

#[test]
fn redaction_without_power_over_others_has_no_effect() {
    let (mut world, room) = first("11");
    let target = world.says(&room, ALICE, "mine").event_id();
    let redaction = |world: &World, sender: &'static str| {
        let made = world.next(&room, sender, ("m.room.redaction", None), json!({ "redacts": target }));
        world.make(&room, made).1
    };
    let json = redaction(&world, CAROL);
    world.receive(&room, &json).event_id();
    assert_eq!(world.json(&target)["content"]["body"], json!("mine"));
    // Bob has the power.
    let json = redaction(&world, BOB);
    world.receive(&room, &json).event_id();
    assert_eq!(world.json(&target)["content"], json!({}));
}

#[test]
fn join_through_another_server_begins_a_room() {
    for version in ["9", "12"] {
        let mut first = World::new();
        let room = first.creates(version, json!({ "join_rule": "public" }));
        for n in 0..150 {
            let user = format!("@user{n}:example.org");
            first.member(&room, &user, &user, "join").event_id();
        }
        first.member(&room, "@user3:example.org", "@user3:example.org", "leave").event_id();
        let mut second = world_of("b.example");
        // Nothing can be done with the room while its state arrives.
        let answer = second.joins_from(&mut first, &room, BOB);
        assert!(matches!(answer, Answer::Accepted { seq: 2, .. }), "{answer:?}");
        assert_eq!(second.current(&room), first.current(&room));
        assert_eq!(second.row(&room).joined_members, first.row(&room).joined_members);
        assert_eq!(second.membership(&room, "@user3:example.org").unwrap().0, "leave");
        assert!(second.tables.chunks.is_empty());
        let bodies = second.bodies();
        assert!(
            matches!(bodies[0], output_room_event::Body::StateRewritten(ref r) if r.joined_members == 151)
        );
        assert_eq!(second.tables.gaps.len(), 1);
        // History comes later, oldest first; the forward extremities stay.
        let latest = second.extremities(&room);
        let missing = second.tables.gaps[0].0.to_string();
        let json = first.event(&missing).unwrap().json.to_vec();
        let old = second.submit(&room, Body::Pdu(pdu(&json, Kind::Old)));
        assert_eq!(old.refused(), ErrorReason::BadState);
        // And everything goes on.
        second.says(&room, BOB, "hello").event_id();
        assert_ne!(second.extremities(&room), latest);
    }
}

#[test]
fn incomplete_snapshot_is_refused_whole() {
    let mut first = World::new();
    let room = first.public_room();
    let mut second = world_of("b.example");
    let made = first.next(&room, BOB, ("m.room.member", Some(BOB)), json!({ "membership": "join" }));
    let (_, json) = first.make(&room, made);
    let mut join = pdu(&json, Kind::New);
    join.state_before = Some(StateBefore { snapshot_token: vec![1; 16].into(), chunks: 1, events: 4 });
    assert_eq!(second.submit(&room, Body::Pdu(join.clone())).refused(), ErrorReason::RoomUnknown);
    second.joins_from(&mut first, &room, BOB);
    let before = second.current(&room);
    let made = first.next(&room, CAROL, ("m.room.member", Some(CAROL)), json!({ "membership": "join" }));
    let (_, json) = first.make(&room, made);
    join.json = json.into();
    assert_eq!(second.submit(&room, Body::Pdu(join)).refused(), ErrorReason::BadState);
    assert_eq!(second.current(&room), before);
}

#[test]
fn room_does_not_begin_without_its_create_event() {
    let mut world = World::new();
    let room = "!far:b.example";
    let create = |sender: &str| {
        let content = json!({ "room_version": "11" });
        json!({
            "type": "m.room.create", "state_key": "", "sender": sender, "room_id": room, "content": content,
            "depth": 1, "origin_server_ts": 1, "auth_events": [], "prev_events": [], "hashes": { "sha256": "" },
            "signatures": {},
        })
    };
    let chunk = |create: &serde_json::Value, token: u8| SnapshotChunk {
        token: vec![token; 16].into(),
        room_version: "11".to_owned(),
        pdus: vec![create.to_string().into()],
        ..SnapshotChunk::default()
    };
    // What is malformed is left out of a chunk.
    let answer = world.submit(room, Body::Snapshot(chunk(&create("nobody"), 1)));
    assert_eq!(answer.refused(), ErrorReason::InvalidParam);
    assert!(world.tables.events.is_empty());
    let answer = world.submit(room, Body::Snapshot(chunk(&create(BOB), 2)));
    assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    assert_eq!(world.tables.events.len(), 1);
}

#[test]
fn gap_can_be_bridged_by_a_fetched_state() {
    let (mut worlds, room) = three("11");
    let mut far = worlds.remove(1);
    let mut world = worlds.remove(0);
    for n in 0..4 {
        far.set(&room, BOB, ("m.room.topic", ""), json!({ "topic": n.to_string() })).event_id();
    }
    let id = far.says(&room, BOB, "after the gap").event_id();
    let json = far.event(&id).unwrap().json.to_vec();
    assert!(matches!(world.receive(&room, &json), Answer::Parked(_)));
    let (token, chunks, events) = world.told_state(&mut far, &room, &id);
    let done = FetchDone {
        event_id: id.clone(),
        outcome: fetch_done::Outcome::Fetched.into(),
        state_before: Some(StateBefore { snapshot_token: token.into(), chunks, events }),
        ..FetchDone::default()
    };
    world.submit(&room, Body::FetchDone(done)).event_id();
    assert_eq!(world.after(&id), far.after(&id));
    assert_eq!(
        world.current(&room)[&Key::of("m.room.topic", "")],
        far.current(&room)[&Key::of("m.room.topic", "")]
    );
    assert_eq!(world.row(&room).parked, 0);
    assert!(world.extremities(&room).contains(&id));
    assert!(world.tables.resets.is_empty());
    // The events between come afterwards; the one that is cited already is no forward extremity.
    let between = world.tables.gaps[0].0.to_string();
    let json = far.event(&between).unwrap().json.to_vec();
    assert!(matches!(world.receive(&room, &json), Answer::Parked(_)));
}

#[test]
fn stored_event_that_cannot_be_read_is_not_asked_for_again() {
    let (mut world, room) = first("12");
    let (_, theirs) = world.make(&room, world.next(&room, BOB, TOPIC, json!({ "topic": "theirs" })));
    let ours = world.set(&room, ALICE, ("m.room.topic", ""), json!({ "topic": "ours" })).event_id();
    let damaged = world.event(&ours).unwrap();
    let row = world.tables.events.get_mut(&damaged.nid).unwrap();
    let mut event = (*damaged).clone();
    event.json = bytes::Bytes::from_static(b"{");
    row.event = std::sync::Arc::new(event);
    world.cold = true;
    let Answer::Poison(why) = world.receive(&room, &theirs) else { panic!("it was resolved") };
    assert!(why.contains(&ours), "{why}");
}
