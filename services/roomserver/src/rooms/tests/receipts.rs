use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{SetReceipt, output_room_event::Body, room_control::Action},
};
use serde_json::json;

use super::{ALICE, Answer, BOB, CAROL, World};

fn receipt(user: &str, kind: &str, event_id: &str, thread: &str) -> Action {
    Action::SetReceipt(SetReceipt {
        user_id: user.to_owned(),
        r#type: kind.to_owned(),
        event_id: event_id.to_owned(),
        thread_id: thread.to_owned(),
    })
}

fn seq(answer: &Answer) -> u64 {
    match answer {
        Answer::Accepted { seq, .. } => *seq,
        other => panic!("not accepted: {other:?}"),
    }
}

#[test]
fn receipts_name_no_thread_that_cannot_be_kept() {
    let mut world = World::new();
    let room = world.public_room();
    for thread in ["$a\0".to_owned(), format!("${}", "a".repeat(300))] {
        let content = json!({ "body": "x", "m.relates_to": { "rel_type": "m.thread", "event_id": thread } });
        let message = world.send(&room, ALICE, "m.room.message", content.clone()).event_id();
        let state = world.set(&room, ALICE, ("org.example.state", ""), content).event_id();
        for event in [message, state] {
            let refused = world.control(&room, receipt(ALICE, "m.read", &event, &thread)).refused();
            assert_eq!(refused, ErrorReason::InvalidParam, "{thread:?}");
            let main = world.control(&room, receipt(ALICE, "m.read", &event, "main"));
            assert!(seq(&main) > 0, "what makes no relation that is kept is in the main timeline");
        }
    }
    assert!(world.tables.receipts.values().all(|row| !row.key.thread.contains('\0')));
}

#[test]
fn receipts_move_forward_only() {
    for cold in [false, true] {
        let mut world = World::new();
        world.cold = cold;
        let room = world.public_room();
        let first = world.says(&room, ALICE, "one").event_id();
        let second = world.says(&room, ALICE, "two").event_id();
        let moved = |answer: &Answer| seq(answer) > 0;
        assert!(moved(&world.control(&room, receipt(ALICE, "m.read", &second, ""))));
        assert!(!moved(&world.control(&room, receipt(ALICE, "m.read", &second, ""))), "it is there already");
        assert!(!moved(&world.control(&room, receipt(ALICE, "m.read", &first, ""))), "it does not go back");
        // Each type and thread has its own.
        assert!(moved(&world.control(&room, receipt(ALICE, "m.read.private", &first, ""))));
        assert!(moved(&world.control(&room, receipt(ALICE, "m.read", &first, "main"))));
        assert_eq!(world.tables.receipts.len(), 3);
        let told: Vec<_> = world
            .bodies()
            .into_iter()
            .filter_map(|body| match body {
                Body::Receipt(receipt) => Some((receipt.r#type, receipt.event_id, receipt.thread_id)),
                _ => None,
            })
            .collect();
        let of =
            |kind: &str, event: &str, thread: &str| (kind.to_owned(), event.to_owned(), thread.to_owned());
        assert_eq!(
            told,
            [of("m.read", &second, ""), of("m.read.private", &first, ""), of("m.read", &first, "main")]
        );
        let row = world.tables.receipts.values().find(|row| row.event_id == second).unwrap();
        assert_eq!(Some(row.event_seq), world.event(&second).unwrap().seq);
        assert_eq!(u64::try_from(world.row(&room).last_seq).unwrap(), u64::try_from(row.seq).unwrap() + 2);
    }
}

#[test]
fn receipts_are_for_members_and_known_events() {
    let mut world = World::new();
    let room = world.public_room();
    let event = world.says(&room, ALICE, "one").event_id();
    let other = world.creates("12", json!({ "join_rule": "invite" }));
    let elsewhere = world.says(&other, ALICE, "one").event_id();
    for event in ["$nosuch", &elsewhere] {
        assert_eq!(seq(&world.control(&room, receipt(ALICE, "m.read", event, ""))), 0);
    }
    let refused = |world: &mut World, action| world.control(&room, action).refused();
    assert_eq!(refused(&mut world, receipt(BOB, "m.read", &event, "")), ErrorReason::NotJoined);
    let stranger = receipt("@x:elsewhere.org", "m.read", &event, "");
    assert_eq!(refused(&mut world, stranger), ErrorReason::NotJoined);
    assert_eq!(refused(&mut world, receipt("x", "m.read", &event, "")), ErrorReason::InvalidParam);
    for (kind, event, thread) in
        [("m.fully_read", event.as_str(), ""), ("", &event, ""), ("m.read", "x", ""), ("m.read", &event, "x")]
    {
        assert_eq!(refused(&mut world, receipt(ALICE, kind, event, thread)), ErrorReason::InvalidParam);
    }
    world.member(&room, ALICE, CAROL, "ban").event_id();
    assert_eq!(refused(&mut world, receipt(CAROL, "m.read", &event, "")), ErrorReason::Banned);
    assert!(world.tables.receipts.is_empty());
}

#[test]
fn receipts_of_threads_name_what_belongs_to_them() {
    let mut world = World::new();
    let room = world.public_room();
    let relate = |world: &mut World, kind: &str, to: &str| {
        let relation = json!({ "rel_type": kind, "event_id": to });
        world
            .send(&room, ALICE, "m.room.message", json!({ "body": "x", "m.relates_to": relation }))
            .event_id()
    };
    // A <- thread - B <- annotation - C, and A <- reference - D <- annotation - E.
    let a = world.says(&room, ALICE, "A").event_id();
    let b = relate(&mut world, "m.thread", &a);
    let c = relate(&mut world, "m.annotation", &b);
    let d = relate(&mut world, "m.reference", &a);
    let e = relate(&mut world, "m.annotation", &d);
    let f = world.says(&room, ALICE, "F").event_id();
    for (event, of_thread, of_main) in [
        (&a, true, true),
        (&b, true, false),
        (&c, true, false),
        (&d, true, true),
        (&e, true, true),
        (&f, false, true),
    ] {
        for (thread, allowed) in [(a.as_str(), of_thread), ("main", of_main)] {
            let answer = world.control(&room, receipt(ALICE, "m.read", event, thread));
            if allowed {
                answer.event_id();
            } else {
                assert_eq!(answer.refused(), ErrorReason::InvalidParam, "{event} {thread}");
            }
        }
    }
    let endless = relate(&mut world, "m.reference", &f);
    let endless = relate(&mut world, "m.reference", &endless);
    let endless = relate(&mut world, "m.reference", &endless);
    let endless = relate(&mut world, "m.reference", &endless);
    world.control(&room, receipt(ALICE, "m.read", &endless, "main")).event_id();
}

/// Nobody is told of a receipt before its event: a record that comes before the event does not tell it.
#[test]
fn a_record_of_the_batch_tells_a_newer_receipt_if_the_event_precedes_it() {
    let mut world = World::new();
    let room = world.public_room();
    let [one, two] = ["one", "two"].map(|body| world.says(&room, ALICE, body).event_id());
    let first = seq(&world.control(&room, receipt(ALICE, "m.read", &one, "")));
    let key = world.tables.receipts.keys().next().expect("it moved").clone();
    let told = i64::try_from(first).unwrap();
    world.told_receipts.insert(key.clone(), told);
    let outputs = world.outputs.len();
    assert_eq!(seq(&world.control(&room, receipt(ALICE, "m.read", &two, ""))), first);
    assert_eq!(world.outputs.len(), outputs, "no record is added");
    let Some(Body::Receipt(told_now)) = world.bodies().pop() else { panic!("a receipt was told last") };
    assert_eq!(told_now.event_id, two);
    let row = &world.tables.receipts[&key];
    assert_eq!((row.event_id.as_str(), row.seq), (two.as_str(), told));
    // Another kind has a record of its own.
    assert!(seq(&world.control(&room, receipt(ALICE, "m.read.private", &two, ""))) > first);
    let three = world.says(&room, ALICE, "three").event_id();
    let moved = seq(&world.control(&room, receipt(ALICE, "m.read", &three, "")));
    assert!(i64::try_from(moved).unwrap() > world.event(&three).unwrap().seq.unwrap());
    assert!(!matches!(&world.bodies()[outputs - 1], Body::Receipt(receipt) if receipt.event_id == three));
}

#[test]
fn members_of_other_servers_have_public_receipts() {
    let (mut worlds, room) = super::graphs::three("11");
    let mut world = worlds.remove(0);
    let bob = super::graphs::BOB;
    let event = world.says(&room, ALICE, "one").event_id();
    assert!(seq(&world.control(&room, receipt(bob, "m.read", &event, ""))) > 0);
    let row = world.tables.receipts.values().next().expect("it is kept");
    assert_eq!((row.key.user.as_str(), row.event_id.as_str()), (bob, event.as_str()));
    let private = world.control(&room, receipt(bob, "m.read.private", &event, ""));
    assert_eq!(private.refused(), ErrorReason::InvalidParam);
    assert_eq!(world.tables.receipts.len(), 1);
}
