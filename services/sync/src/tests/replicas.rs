//! A client that asks another replica every time.

use serde_json::Value;

use super::world::{Replica, World, ids, token};

const ALICE: &str = "@alice:test";
const BOB: &str = "@bob:test";
const ROOMS: [&str; 3] = ["!one:test", "!two:test", "!three:test"];
const EVENTS: usize = 600;

/// What a client was told.
#[derive(Default)]
struct Heard {
    events: Vec<String>,
    /// Receipts of Bob's: the event of each.
    receipts: Vec<String>,
}

impl Heard {
    fn take(&mut self, answer: &Value) {
        for room in ROOMS {
            let room = &answer["rooms"]["join"][room];
            assert_ne!(room["timeline"]["limited"], true, "no gap is so large");
            self.events.extend(ids(&room["timeline"]).into_iter().map(str::to_owned));
            let ephemeral = room["ephemeral"]["events"].as_array().into_iter().flatten();
            for event in ephemeral.filter(|event| event["type"] == "m.receipt") {
                let content = event["content"].as_object().unwrap();
                self.receipts.extend(content.keys().cloned());
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_alternates_misses_nothing_and_sees_nothing_twice() {
    let world = World::new();
    for room in ROOMS {
        world.create(room, ALICE).await;
        world.member(room, BOB, BOB, "join").await;
    }
    let mut replicas: Vec<Replica> = vec![world.replica().await, world.replica().await];
    let filter = r#"{"room":{"timeline":{"limit":100}}}"#;
    let mut since = token(&replicas[0].sync(&world, ALICE, &[]).await);
    let writer = tokio::spawn({
        let world = world.clone();
        async move {
            let (mut said, mut read) = (Vec::new(), Vec::new());
            for number in 0..EVENTS {
                let room = ROOMS[number % ROOMS.len()];
                let event = world.say(room, BOB, &number.to_string()).await;
                if number % 50 < ROOMS.len() {
                    world.receipt(room, BOB, "m.read", &event, "").await;
                    read.push(event.clone());
                }
                said.push(event);
                if number % 7 == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
            (said, read)
        }
    });
    let mut heard = Heard::default();
    let mut turn = 0;
    while heard.events.len() < EVENTS || !writer.is_finished() {
        turn += 1;
        if turn % 10 == 0 {
            // One of them dies and comes back with nothing.
            let index = (turn / 10) % 2;
            replicas[index].shutdown.request();
            replicas[index] = world.replica().await;
        }
        let query = [("since", since.as_str()), ("timeout", "1000"), ("filter", filter)];
        let answer = replicas[turn % 2].sync(&world, ALICE, &query).await;
        since = token(&answer);
        heard.take(&answer);
        assert!(turn < 10_000, "{} of {EVENTS} events after {turn} answers", heard.events.len());
    }
    let (mut said, read) = writer.await.unwrap();
    for replica in &replicas {
        replica.settle(&world).await;
        let answer = replica.sync(&world, ALICE, &[("since", since.as_str()), ("filter", filter)]).await;
        since = token(&answer);
        heard.take(&answer);
    }
    heard.events.sort();
    said.sort();
    assert_eq!(heard.events, said);
    // Receipts that were overtaken need not be told, but none is told twice, and the last of each room is.
    let mut once = heard.receipts.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), heard.receipts.len(), "{:?}", heard.receipts);
    for last in &read[read.len() - ROOMS.len()..] {
        assert!(heard.receipts.contains(last), "{last} is not among {:?}", heard.receipts);
    }
}
