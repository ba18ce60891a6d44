//! Holes whose records the room server does not have any more: what is in memory is loaded anew.

use std::sync::Arc;

use plexus_proto::log::v1::{OutputRoomEvent, output_room_event::Body};
use serde_json::{Value, json};

use super::world::{Replica, Send, World, ids, token};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const ROOM: &str = "!room:example.org";
const OTHER: &str = "!other:example.org";
const FULLY_READ: &str = "m.fully_read";

fn message(room: &'static str, body: &str) -> Send<'static> {
    let content = json!({"body": body});
    Send { room, sender: ALICE, kind: "m.room.message", state_key: None, content, txn: None }
}

fn member<'a>(room: &'a str, user: &'a str, membership: &str) -> Send<'a> {
    let content = json!({"membership": membership});
    Send { room, sender: user, kind: "m.room.member", state_key: Some(user), content, txn: None }
}

fn event_id(record: OutputRoomEvent) -> String {
    match record.body {
        Some(Body::NewEvent(new)) => new.event_id,
        other => panic!("not an event: {other:?}"),
    }
}

/// Alice and Bob in a room, and one where Bob is not.
async fn world() -> World {
    let world = World::new();
    for room in [ROOM, OTHER] {
        world.create(room, ALICE).await;
    }
    world.member(ROOM, BOB, BOB, "join").await;
    world
}

/// Commits facts of all kinds; whether anybody is told is up to the caller.
fn commit_facts(world: &World) -> String {
    let said = event_id(world.commit(message(ROOM, "lost")));
    world.commit_receipt(ROOM, ALICE, "m.read", &said, "");
    world.commit_receipt(ROOM, BOB, "m.read.private", &said, "");
    world.commit(member(OTHER, BOB, "join"));
    world.commit_account_data(BOB, ROOM, FULLY_READ, json!({"event_id": said}));
    world.commit_account_data(BOB, ROOM, "m.tag", json!({"tags": {"u.tea": {}}}));
    world.commit_account_data(BOB, "", "org.example.global", json!({"n": 2}));
    said
}

/// Holds for an answer to a token of before [`commit_facts`].
fn assert_told(answer: &Value, said: &str) {
    let room = &answer["rooms"]["join"][ROOM];
    assert_eq!(ids(&room["timeline"]), [said], "{answer}");
    let receipts = &room["ephemeral"]["events"][0]["content"][said];
    assert!(receipts["m.read"][ALICE].is_object(), "{answer}");
    assert!(receipts["m.read.private"][BOB].is_object(), "{answer}");
    let data = room["account_data"]["events"].as_array().expect("account data of the room");
    let find = |kind: &str| data.iter().find(|event| event["type"] == kind).map(|event| &event["content"]);
    assert_eq!(find(FULLY_READ), Some(&json!({"event_id": said})));
    assert_eq!(find("m.tag"), Some(&json!({"tags": {"u.tea": {}}})));
    assert_eq!(answer["account_data"]["events"][0]["content"], json!({"n": 2}));
    let joined = &answer["rooms"]["join"][OTHER];
    assert_eq!(joined["summary"]["m.joined_member_count"], 2, "{answer}");
    assert!(ids(&joined["state"]).len() + ids(&joined["timeline"]).len() >= 4, "{answer}");
}

/// Has the follower find the hole: each log brings a record that does not follow.
async fn next_records(world: &World, replica: &Replica) {
    world.set(OTHER, ALICE, "m.room.topic", "", json!({"topic": "what comes next"})).await;
    world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": "what comes next"})).await;
    world.set_account_data(BOB, "", "org.example.last", json!({})).await;
    replica.settle(world).await;
}

#[tokio::test]
async fn what_is_gone_is_told_all_the_same() {
    let world = world().await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, BOB, &[]).await);
    let said = commit_facts(&world);
    world.trim();
    next_records(&world, &replica).await;
    let mut answer = replica.sync(&world, BOB, &[("since", &since)]).await;
    // What came after the hole is told, too: it is looked at by itself.
    let timeline = answer["rooms"]["join"][ROOM]["timeline"]["events"].as_array_mut().expect("a timeline");
    assert_eq!(timeline.pop().map(|event| event["type"].clone()), Some(json!("m.room.topic")));
    let data = answer["account_data"]["events"].as_array_mut().expect("global data");
    data.retain(|event| event["type"] != "org.example.last");
    assert_told(&answer, &said);
    assert!(replica.shutdown.failure().is_none(), "it goes on");
    // And what comes now comes by the log.
    let after = token(&replica.sync(&world, BOB, &[]).await);
    let next = world.say(ROOM, ALICE, "there").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &after)]).await;
    assert_eq!(ids(&answer["rooms"]["join"][ROOM]["timeline"]), [next]);
}

/// Nothing but the heads tells that there was anything.
#[tokio::test]
async fn whoever_waits_is_woken_although_no_record_comes() {
    let world = world().await;
    let replica = Arc::new(world.replica().await);
    let since = token(&replica.sync(&world, BOB, &[]).await);
    let waiting = tokio::spawn({
        let (replica, world, since) = (Arc::clone(&replica), world.clone(), since.clone());
        async move { replica.sync(&world, BOB, &[("since", &since), ("timeout", "20000")]).await }
    });
    world.commit(message(ROOM, "lost"));
    world.trim();
    let answer = waiting.await.expect("it is answered");
    assert_eq!(ids(&answer["rooms"]["join"][ROOM]["timeline"]).len(), 1, "{answer}");
}

/// Old tokens need no record: a replica that begins after everything is gone answers them like one that saw it all.
#[tokio::test]
async fn an_old_token_is_answered_by_who_never_saw_the_records() {
    let world = world().await;
    let first = world.replica().await;
    let since = token(&first.sync(&world, BOB, &[]).await);
    let said = commit_facts(&world);
    world.trim();
    let late = world.replica().await;
    assert_told(&late.sync(&world, BOB, &[("since", &since)]).await, &said);
}
