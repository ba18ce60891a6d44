//! Tests bundled relations.

use serde_json::{Value, json};

use super::world::{Send, World, ids, token};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const ROOM: &str = "!room:example.org";
const OTHER: &str = "!other:example.org";

async fn edit(world: &World, room: &str, event_id: &str) -> String {
    let relation = json!({"rel_type": "m.replace", "event_id": event_id});
    let content = json!({"m.relates_to": relation, "m.new_content": {}});
    let send = Send { room, sender: ALICE, kind: "m.room.message", state_key: None, content, txn: None };
    world.send(send).await
}

/// The replacement of an event, in the timeline of a room.
fn replacement<'a>(answer: &'a Value, room: &str, event_id: &str) -> &'a Value {
    let events = answer["rooms"]["join"][room]["timeline"]["events"].as_array().expect("a timeline");
    let event = events.iter().find(|event| event["event_id"] == event_id).expect("the event");
    &event["unsigned"]["m.relations"]["m.replace"]["event_id"]
}

#[tokio::test]
async fn events_come_with_their_relations_by_one_question() {
    let world = World::new();
    for room in [ROOM, OTHER] {
        world.create(room, ALICE).await;
    }
    let (first, second) = (world.say(ROOM, ALICE, "x").await, world.say(OTHER, ALICE, "x").await);
    let edits = [edit(&world, ROOM, &first).await, edit(&world, OTHER, &second).await];
    let replica = world.replica().await;
    let answer = replica.sync(&world, ALICE, &[]).await;
    assert_eq!(*replacement(&answer, ROOM, &first), json!(edits[0]));
    assert_eq!(*replacement(&answer, OTHER, &second), json!(edits[1]));
    assert_eq!(world.facts.lock().aggregations, 1);
    let federation = ("filter", r#"{"event_format":"federation"}"#);
    replica.sync(&world, ALICE, &[federation]).await;
    assert_eq!(world.facts.lock().aggregations, 1);
}

#[tokio::test]
async fn nobody_is_asked_about_events_that_nothing_relates_to() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let old = world.say(ROOM, ALICE, "x").await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    let said = world.say(ROOM, ALICE, "y").await;
    let edited = edit(&world, ROOM, &old).await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, ALICE, &[("since", &since)]).await;
    assert_eq!(ids(&answer["rooms"]["join"][ROOM]["timeline"]), [said, edited]);
    assert_eq!(world.facts.lock().aggregations, 0);
}

#[tokio::test]
async fn events_that_are_not_in_memory_come_with_their_relations() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let old = world.say(ROOM, ALICE, "x").await;
    let edited = edit(&world, ROOM, &old).await;
    for number in 0..60 {
        world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": number})).await;
    }
    let filter = ("filter", r#"{"room":{"timeline":{"types":["m.room.message"]}}}"#);
    let answer = world.replica().await.sync(&world, ALICE, &[filter]).await;
    assert_eq!(*replacement(&answer, ROOM, &old), json!(edited));
}

#[tokio::test]
async fn what_relates_to_an_event_decides_whether_it_is_wanted() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    let (old, _) = (world.say(ROOM, BOB, "x").await, world.say(ROOM, BOB, "y").await);
    edit(&world, ROOM, &old).await;
    let filter =
        json!({"room": {"timeline": {"related_by_rel_types": ["m.replace"], "related_by_senders": [ALICE]}}});
    let answer = world.replica().await.sync(&world, ALICE, &[("filter", &filter.to_string())]).await;
    let timeline = &answer["rooms"]["join"][ROOM]["timeline"];
    assert_eq!(ids(timeline), [old.as_str()]);
}

#[tokio::test]
async fn notifications_come_with_their_relations() {
    let world = World::new();
    for room in [ROOM, OTHER] {
        world.create(room, ALICE).await;
        world.member(room, BOB, BOB, "join").await;
    }
    let (first, second) = (world.say(ROOM, ALICE, "x").await, world.say(OTHER, ALICE, "x").await);
    let replica = world.replica().await;
    let token = world.login(BOB, "D");
    let (status, answer) = replica.get("notifications", &token, &[]).await;
    assert_eq!((status, answer["notifications"].as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!(world.facts.lock().aggregations, 0);
    let edits = [edit(&world, ROOM, &first).await, edit(&world, OTHER, &second).await];
    replica.settle(&world).await;
    let (_, answer) = replica.get("notifications", &token, &[]).await;
    let found = answer["notifications"].as_array().expect("a list");
    let edit_of = |event_id: &str| {
        let notification = found.iter().find(|found| found["event"]["event_id"] == event_id);
        notification.expect("the event")["event"]["unsigned"]["m.relations"]["m.replace"]["event_id"].clone()
    };
    assert_eq!([edit_of(&first), edit_of(&second)], edits.map(Value::from));
    assert_eq!(world.facts.lock().aggregations, 1);
    // Of what is on the page, and of nothing else.
    let (_, answer) = replica.get("notifications", &token, &[("limit", "1"), ("only", "highlight")]).await;
    assert_eq!(answer["notifications"], json!([]));
    assert_eq!(world.facts.lock().aggregations, 1);
}
