//! Messages to devices: each arrives once in terms of the tokens that its device has presented, and goes after that.

use std::sync::Arc;

use serde_json::{Value, json};

use super::world::{Replica, World, token};

const BOB: &str = "@bob:test";

async fn send(world: &World, device: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        world.send_to_device(BOB, device, json!({"number": number})).await;
    }
}

/// Numbers of the messages of an answer.
fn told(answer: &Value) -> Vec<u64> {
    let events = answer["to_device"]["events"].as_array().unwrap();
    let number = |event: &Value| {
        assert_eq!((&event["sender"], &event["type"]), (&json!("@sender:test"), &json!("m.test")));
        event["content"]["number"].as_u64().unwrap()
    };
    events.iter().map(number).collect()
}

async fn syncs(world: &World, replica: &Replica, since: &str) -> Value {
    replica.sync(world, BOB, &[("since", since), ("timeout", "60000")]).await
}

#[tokio::test]
async fn many_messages_come_in_pages_at_once_and_go_once_they_have_arrived() {
    let world = World::new();
    let replica = world.replica().await;
    let mut answer = replica.sync(&world, BOB, &[]).await;
    send(&world, "D", 0..250).await;
    send(&world, "OTHER", 0..3).await;
    replica.settle(&world).await;
    let mut all = Vec::new();
    // The last answer has nothing to wait for.
    for page in [100, 100, 50] {
        answer = syncs(&world, &replica, &token(&answer)).await;
        assert_eq!(told(&answer).len(), page);
        all.extend(told(&answer));
    }
    assert_eq!(all, (0..250).collect::<Vec<_>>());
    assert_eq!(world.facts.lock().messages.len(), 253, "the last page has not arrived yet");
    let asked = world.facts.lock().listed;
    let quiet = replica.sync(&world, BOB, &[("since", &token(&answer))]).await;
    assert_eq!(told(&quiet), [0; 0]);
    assert_eq!(world.facts.lock().listed, asked, "who has all asks for nothing");
    world.acknowledged(BOB, 250).await;
    assert_eq!(world.facts.lock().messages.len(), 3, "what is another device's stays");
}

#[tokio::test]
async fn a_token_is_repeated_until_a_later_one_is_presented() {
    let world = World::new();
    let replica = world.replica().await;
    let start = token(&replica.sync(&world, BOB, &[]).await);
    send(&world, "D", 0..5).await;
    replica.settle(&world).await;
    for _ in 0..3 {
        assert_eq!(told(&syncs(&world, &replica, &start).await), [0, 1, 2, 3, 4]);
    }
    let fresh = replica.sync(&world, BOB, &[]).await;
    assert_eq!(told(&fresh), [0, 1, 2, 3, 4], "who begins has got nothing");
}

#[tokio::test]
async fn a_token_of_another_device_has_delivered_nothing() {
    let world = World::new();
    let replica = world.replica().await;
    send(&world, "D", 0..2).await;
    send(&world, "E", 2..4).await;
    replica.settle(&world).await;
    let first = replica.sync(&world, BOB, &[]).await;
    assert_eq!(told(&first), [0, 1]);
    let other = world.login(BOB, "E");
    let (status, answer) = replica.try_sync(&other, &[("since", &token(&first))]).await;
    assert_eq!((status, told(&answer)), (200, vec![2, 3]));
    assert_eq!(told(&syncs(&world, &replica, &token(&answer)).await), [0, 1]);
    let (_, quiet) = replica.try_sync(&other, &[("since", &token(&answer))]).await;
    assert_eq!(told(&quiet), [0; 0]);
    // The first acknowledgement there is.
    world.acknowledged(BOB, 4).await;
    let left: Vec<String> =
        world.facts.lock().messages.iter().map(|message| message.device.clone()).collect();
    assert_eq!(left, ["D", "D"]);
}

#[tokio::test]
async fn a_waiting_request_is_answered_at_once() {
    let world = World::new();
    let replica = Arc::new(world.replica().await);
    let since = token(&replica.sync(&world, BOB, &[]).await);
    let waiting = tokio::spawn({
        let (world, replica) = (world.clone(), Arc::clone(&replica));
        async move { syncs(&world, &replica, &since).await }
    });
    replica.waits(BOB).await;
    send(&world, "OTHER", 0..1).await;
    send(&world, "D", 7..8).await;
    assert_eq!(told(&waiting.await.unwrap()), [7]);
}

#[tokio::test]
async fn events_neither_tell_messages_nor_take_them_to_have_arrived() {
    let world = World::new();
    let replica = world.replica().await;
    send(&world, "D", 0..1).await;
    replica.settle(&world).await;
    let session = world.login(BOB, "D");
    let (status, events) = replica.get("events", &session, &[("timeout", "0")]).await;
    assert_eq!(status, 200, "{events}");
    let first = replica.sync(&world, BOB, &[("since", events["end"].as_str().unwrap())]).await;
    assert_eq!(told(&first), [0]);
    send(&world, "D", 1..2).await;
    replica.settle(&world).await;
    let (status, events) =
        replica.get("events", &session, &[("from", &token(&first)), ("timeout", "0")]).await;
    assert_eq!(status, 200, "{events}");
    // The token goes on from where it was, so this one is the first that has got both.
    let last = replica.sync(&world, BOB, &[("since", events["end"].as_str().unwrap())]).await;
    assert_eq!(told(&last), [1]);
    replica.sync(&world, BOB, &[("since", &token(&last))]).await;
    world.acknowledged(BOB, 2).await;
}

#[tokio::test]
async fn a_process_that_does_not_know_the_generation_yet_keeps_the_position() {
    let world = World::new();
    let replica = world.replica().await;
    send(&world, "D", 0..1).await;
    replica.settle(&world).await;
    let first = replica.sync(&world, BOB, &[]).await;
    assert_eq!(told(&first), [0]);
    // As it is until the process has asked.
    replica.service.positions.set_generation(0);
    send(&world, "D", 1..2).await;
    replica.settle(&world).await;
    let fresh = replica.sync(&world, BOB, &[]).await;
    assert_eq!(told(&fresh), [0; 0], "its token could not tell what was delivered");
    let second = syncs(&world, &replica, &token(&first)).await;
    assert_eq!(told(&second), [1]);
    replica.service.positions.set_generation(1);
    let last = replica.sync(&world, BOB, &[("since", &token(&second))]).await;
    assert_eq!(told(&last), [0; 0]);
}

#[tokio::test]
async fn two_replicas_in_turn_deliver_each_message_once_and_in_order() {
    let world = World::new();
    let replicas = [world.replica().await, world.replica().await];
    let mut since = token(&replicas[0].sync(&world, BOB, &[]).await);
    let writer = tokio::spawn({
        let world = world.clone();
        async move {
            for number in 0..1_000 {
                world.send_to_device(BOB, "D", json!({"number": number})).await;
                if number % 9 == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
        }
    });
    let mut all = Vec::new();
    for turn in 0.. {
        let older = since.clone();
        let answer = syncs(&world, &replicas[turn % 2], &since).await;
        if turn % 5 == 0 {
            // The client lost the answer: what it is told again begins with the same.
            let again = syncs(&world, &replicas[(turn + 1) % 2], &older).await;
            let (lost, again) = (told(&answer), told(&again));
            let both = lost.len().min(again.len());
            assert_eq!(lost[..both], again[..both]);
            continue;
        }
        all.extend(told(&answer));
        since = token(&answer);
        if all.len() >= 1_000 {
            break;
        }
    }
    assert_eq!(all, (0..1_000).collect::<Vec<_>>());
    writer.await.unwrap();
    for replica in &replicas {
        assert_eq!(told(&replica.sync(&world, BOB, &[("since", &since)]).await), [0; 0]);
    }
    world.acknowledged(BOB, 1_000).await;
    assert!(world.facts.lock().messages.is_empty());
}
