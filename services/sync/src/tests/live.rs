//! Typing and receipts.

use serde_json::{Value, json};

use super::world::{Replica, World, token};

const ALICE: &str = "@alice:test";
const BOB: &str = "@bob:test";
const ROOM: &str = "!room:test";

async fn room() -> (World, Replica) {
    let world = World::new();
    let replica = world.replica().await;
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    replica.settle(&world).await;
    (world, replica)
}

/// The content of the ephemeral event of this type in the room.
fn ephemeral(answer: &Value, kind: &str) -> Option<Value> {
    let events = answer["rooms"]["join"][ROOM]["ephemeral"]["events"].as_array()?;
    events.iter().find(|event| event["type"] == kind).map(|event| event["content"].clone())
}

/// Syncs with waiting until the answer tells something.
async fn next(replica: &Replica, world: &World, user: &str, since: &str) -> Value {
    replica.sync(world, user, &[("since", since), ("timeout", "10000")]).await
}

#[tokio::test]
async fn typing_begins_and_ends() {
    let (world, replica) = room().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.types(ROOM, BOB, 400).await;
    let answer = next(&replica, &world, ALICE, &since).await;
    assert_eq!(ephemeral(&answer, "m.typing"), Some(json!({ "user_ids": [BOB] })));
    assert_eq!(answer["rooms"]["join"][ROOM]["timeline"]["events"], json!([]));
    // Nobody says that Bob stops; it is told all the same, once.
    let answer = next(&replica, &world, ALICE, &token(&answer)).await;
    assert_eq!(ephemeral(&answer, "m.typing"), Some(json!({ "user_ids": [] })));
    let answer = replica.sync(&world, ALICE, &[("since", &token(&answer))]).await;
    assert_eq!(ephemeral(&answer, "m.typing"), None);
    assert_eq!(answer["rooms"]["join"], json!({}));
}

#[tokio::test]
async fn whoever_stops_or_leaves_types_no_more() {
    let (world, replica) = room().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.types(ROOM, BOB, 60_000).await;
    let answer = next(&replica, &world, ALICE, &since).await;
    let initial = replica.sync(&world, ALICE, &[]).await;
    assert_eq!(ephemeral(&initial, "m.typing"), Some(json!({ "user_ids": [BOB] })));
    world.types(ROOM, BOB, 0).await;
    let answer = next(&replica, &world, ALICE, &token(&answer)).await;
    assert_eq!(ephemeral(&answer, "m.typing"), Some(json!({ "user_ids": [] })));
    world.types(ROOM, BOB, 60_000).await;
    let answer = next(&replica, &world, ALICE, &token(&answer)).await;
    world.member(ROOM, BOB, BOB, "leave").await;
    let answer = next(&replica, &world, ALICE, &token(&answer)).await;
    assert!(answer["rooms"]["join"][ROOM]["timeline"]["events"].as_array().is_some_and(|e| !e.is_empty()));
    let initial = replica.sync(&world, ALICE, &[]).await;
    assert_eq!(ephemeral(&initial, "m.typing"), None);
}

#[tokio::test]
async fn another_replica_knows_what_was_told_of_typing() {
    let (world, replica) = room().await;
    let other = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    other.sync(&world, ALICE, &[]).await;
    world.types(ROOM, BOB, 60_000).await;
    let answer = next(&replica, &world, ALICE, &since).await;
    assert!(ephemeral(&answer, "m.typing").is_some());
    let first = token(&next(&other, &world, ALICE, &since).await);
    for replica in [&other, &replica] {
        let answer = replica.sync(&world, ALICE, &[("since", &first)]).await;
        assert_eq!(answer["rooms"]["join"], json!({}));
    }
    // One that starts now knows of nobody who types, and does not invent anything.
    let fresh = world.replica().await;
    let answer = fresh.sync(&world, ALICE, &[("since", &first)]).await;
    assert_eq!(answer["rooms"]["join"], json!({}));
}

#[tokio::test]
async fn filters_and_ignored_users_hide_typing_and_receipts() {
    let (world, replica) = room().await;
    let event = world.say(ROOM, ALICE, "hello").await;
    world.receipt(ROOM, BOB, "m.read", &event, "").await;
    replica.settle(&world).await;
    replica.sync(&world, ALICE, &[]).await;
    world.types(ROOM, BOB, 60_000).await;
    let kinds = |answer: &Value| -> Vec<String> {
        let events = answer["rooms"]["join"][ROOM]["ephemeral"]["events"].as_array().unwrap();
        events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    loop {
        if kinds(&replica.sync(&world, ALICE, &[]).await) == ["m.typing", "m.receipt"] {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for (filter, expected) in [
        (json!({ "types": ["m.typing"] }), vec!["m.typing"]),
        (json!({ "not_types": ["m.typ*"] }), vec!["m.receipt"]),
        (json!({ "types": [] }), vec![]),
        (json!({ "not_rooms": [ROOM] }), vec![]),
        (json!({ "rooms": [] }), vec![]),
    ] {
        let filter = json!({ "room": { "ephemeral": filter } }).to_string();
        assert_eq!(kinds(&replica.sync(&world, ALICE, &[("filter", &filter)]).await), expected, "{filter}");
    }
    let ignored = json!({ "ignored_users": { BOB: {} } });
    world.set_account_data(ALICE, "", "m.ignored_user_list", ignored).await;
    replica.settle(&world).await;
    assert!(kinds(&replica.sync(&world, ALICE, &[]).await).is_empty());
}

#[tokio::test]
async fn receipts_come_with_initial_and_incremental_answers() {
    let (world, replica) = room().await;
    let first = world.say(ROOM, ALICE, "one").await;
    let second = world.say(ROOM, ALICE, "two").await;
    replica.settle(&world).await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.receipt(ROOM, BOB, "m.read", &first, "").await;
    let answer = next(&replica, &world, ALICE, &since).await;
    let expected = json!({ &first: { "m.read": { BOB: { "ts": 7 } } } });
    assert_eq!(ephemeral(&answer, "m.receipt"), Some(expected));
    world.receipt(ROOM, BOB, "m.read", &second, "").await;
    let answer = next(&replica, &world, ALICE, &token(&answer)).await;
    let expected = json!({ &second: { "m.read": { BOB: { "ts": 7 } } } });
    assert_eq!(ephemeral(&answer, "m.receipt"), Some(expected.clone()));
    // Only the last one counts for whoever begins, here and in a process that knew nothing.
    assert_eq!(ephemeral(&replica.sync(&world, ALICE, &[]).await, "m.receipt"), Some(expected.clone()));
    let fresh = world.replica().await;
    assert_eq!(ephemeral(&fresh.sync(&world, ALICE, &[]).await, "m.receipt"), Some(expected.clone()));
    // One that was away is told what it missed by any replica.
    let answer = fresh.sync(&world, ALICE, &[("since", &since)]).await;
    assert_eq!(ephemeral(&answer, "m.receipt"), Some(expected));
}

#[tokio::test]
async fn private_receipts_are_for_their_user_alone() {
    let (world, replica) = room().await;
    let event = world.say(ROOM, ALICE, "one").await;
    replica.settle(&world).await;
    let alice = token(&replica.sync(&world, ALICE, &[]).await);
    let bob = token(&replica.sync(&world, BOB, &[]).await);
    world.receipt(ROOM, BOB, "m.read.private", &event, "").await;
    let answer = next(&replica, &world, BOB, &bob).await;
    let expected = json!({ &event: { "m.read.private": { BOB: { "ts": 7 } } } });
    assert_eq!(ephemeral(&answer, "m.receipt"), Some(expected));
    replica.settle(&world).await;
    let answer = replica.sync(&world, ALICE, &[("since", &alice), ("timeout", "100")]).await;
    assert_eq!(answer["rooms"]["join"], json!({}));
    assert_eq!(ephemeral(&replica.sync(&world, ALICE, &[]).await, "m.receipt"), None);
    assert!(ephemeral(&replica.sync(&world, BOB, &[]).await, "m.receipt").is_some());
}

#[tokio::test]
async fn a_receipt_for_the_room_outshines_those_of_threads() {
    let (world, replica) = room().await;
    let event = world.say(ROOM, ALICE, "one").await;
    replica.settle(&world).await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.receipt(ROOM, BOB, "m.read", &event, "").await;
    world.receipt(ROOM, BOB, "m.read", &event, "main").await;
    replica.settle(&world).await;
    for query in [vec![("since", since.as_str())], vec![]] {
        let content = ephemeral(&replica.sync(&world, ALICE, &query).await, "m.receipt").unwrap();
        assert_eq!(content, json!({ &event: { "m.read": { BOB: { "ts": 7 } } } }));
    }
    let other = world.say(ROOM, ALICE, "two").await;
    world.receipt(ROOM, BOB, "m.read", &other, "main").await;
    replica.settle(&world).await;
    let content = ephemeral(&replica.sync(&world, ALICE, &[]).await, "m.receipt").unwrap();
    assert_eq!(content[&other], json!({ "m.read": { BOB: { "ts": 7, "thread_id": "main" } } }));
}

/// Syncs on until Alice is told that these type; returns where to go on. What she was told of somebody who was made to
/// stop may be told once more within the same millisecond.
async fn sees_typing(replica: &Replica, world: &World, since: String, users: &[&str]) -> String {
    let expected = Some(json!({ "user_ids": users }));
    let mut since = since;
    for _ in 0..10 {
        let answer = next(replica, world, ALICE, &since).await;
        since = token(&answer);
        if ephemeral(&answer, "m.typing") == expected {
            return since;
        }
    }
    panic!("Alice is not told that {users:?} type");
}

#[tokio::test]
async fn who_is_banned_or_logged_out_types_no_longer() {
    let (world, replica) = room().await;
    let mut since = token(&replica.sync(&world, ALICE, &[]).await);
    world.types(ROOM, BOB, 600_000).await;
    since = sees_typing(&replica, &world, since, &[BOB]).await;
    world.logs_out(BOB).await;
    since = sees_typing(&replica, &world, since, &[]).await;
    world.types(ROOM, BOB, 600_000).await;
    since = sees_typing(&replica, &world, since, &[BOB]).await;
    world.member(ROOM, ALICE, BOB, "ban").await;
    sees_typing(&replica, &world, since, &[]).await;
}
