//! Events of users who asked to be erased.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Replica, World, token};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const CAROL: &str = "@carol:example.org";
const ROOM: &str = "!room:example.org";

/// A room where bob has set a topic and said something, then left.
async fn room() -> World {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    world.set(ROOM, BOB, "m.room.topic", "", json!({"topic": "secret"})).await;
    world.say(ROOM, BOB, "secret").await;
    world.member(ROOM, BOB, BOB, "leave").await;
    world
}

/// Whether anything that bob said is told.
fn tells(answer: &Value) -> bool {
    answer.to_string().contains("secret")
}

/// Whether events of bob are told at all.
fn shows(answer: &Value) -> bool {
    let room = &answer["rooms"]["join"][ROOM];
    room["timeline"]["events"].as_array().into_iter().flatten().any(|event| event["sender"] == BOB)
}

async fn sync(world: &World, replica: &Replica, user: &str, query: &[(&str, &str)]) -> Value {
    replica.sync(world, user, query).await
}

#[tokio::test]
async fn who_joins_after_an_erasure_gets_copies_from_memory() {
    let world = room().await;
    let replica = world.replica().await;
    // The room is in memory, with all that bob said.
    assert!(tells(&sync(&world, &replica, ALICE, &[]).await));
    let before = token(&sync(&world, &replica, CAROL, &[]).await);
    let erased = world.commit_erasure(BOB);
    world.tell(&erased).await;
    world.member(ROOM, CAROL, CAROL, "join").await;
    replica.settle(&world).await;
    for query in [&[][..], &[("full_state", "true")], &[("since", before.as_str())]] {
        let answer = sync(&world, &replica, CAROL, query).await;
        assert!(shows(&answer) && !tells(&answer), "{answer}");
        assert!(tells(&sync(&world, &replica, ALICE, &[]).await));
    }
    // What replaces a state event does not tell what it was.
    world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": "other"})).await;
    replica.settle(&world).await;
    let answer = sync(&world, &replica, CAROL, &[]).await;
    assert!(answer.to_string().contains("other") && !tells(&answer), "{answer}");
}

#[tokio::test]
async fn a_process_that_begins_after_the_erasure_knows_of_it() {
    let world = room().await;
    let erased = world.commit_erasure(BOB);
    world.tell(&erased).await;
    let replica = world.replica().await;
    world.member(ROOM, CAROL, CAROL, "join").await;
    replica.settle(&world).await;
    let answer = sync(&world, &replica, CAROL, &[]).await;
    assert!(shows(&answer) && !tells(&answer), "{answer}");
    assert!(tells(&sync(&world, &replica, ALICE, &[]).await));
}

#[tokio::test]
async fn an_answer_waits_for_an_erasure_that_was_committed_before_it() {
    let world = room().await;
    let replica = world.replica().await;
    assert!(tells(&sync(&world, &replica, ALICE, &[]).await));
    let erased = world.commit_erasure(BOB);
    world.member(ROOM, CAROL, CAROL, "join").await;
    // The log of users comes late.
    let late = tokio::spawn({
        let world = world.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            world.tell(&erased).await;
        }
    });
    let answer = sync(&world, &replica, CAROL, &[]).await;
    assert!(!tells(&answer), "{answer}");
    late.await.unwrap();
}

#[tokio::test]
async fn who_is_invited_after_an_erasure_is_not_told_what_the_room_was_called() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    world.set(ROOM, BOB, "m.room.name", "", json!({"name": "secret"})).await;
    world.member(ROOM, ALICE, CAROL, "invite").await;
    let replica = world.replica().await;
    assert!(tells(&sync(&world, &replica, CAROL, &[]).await));
    let erased = world.commit_erasure(BOB);
    world.tell(&erased).await;
    replica.settle(&world).await;
    let answer = sync(&world, &replica, CAROL, &[]).await;
    assert!(answer["rooms"]["invite"][ROOM].is_object() && !tells(&answer), "{answer}");
}

#[tokio::test]
async fn an_erasure_whose_record_is_gone_is_learned_from_the_rooms() {
    let world = room().await;
    let replica = world.replica().await;
    assert!(tells(&sync(&world, &replica, ALICE, &[]).await));
    world.commit_erasure(BOB);
    world.trim();
    world.member(ROOM, CAROL, CAROL, "join").await;
    world.set_account_data(BOB, "", "org.example.last", json!({})).await;
    replica.settle(&world).await;
    let answer = sync(&world, &replica, CAROL, &[]).await;
    assert!(shows(&answer) && !tells(&answer), "{answer}");
}
