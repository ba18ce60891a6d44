//! Many writers, many readers, replicas that change with every request.

use std::{collections::HashMap, sync::Arc, time::Duration};

use plexus_service::config::SyncConfig;
use serde_json::{Value, json};

use super::world::{Replica, World, ids, token};

const ROOMS: [&str; 5] =
    ["!a:example.org", "!b:example.org", "!c:example.org", "!d:example.org", "!e:example.org"];
const USERS: [&str; 6] = [
    "@one:example.org",
    "@two:example.org",
    "@three:example.org",
    "@four:example.org",
    "@five:example.org",
    "@six:example.org",
];
const MESSAGES: usize = 60;

/// Syncs until every room has told its last word; returns the events of each room in the order they came.
async fn follow(
    world: World,
    replicas: Vec<Arc<Replica>>,
    user: &'static str,
) -> HashMap<String, Vec<String>> {
    let mut seen: HashMap<String, Vec<String>> = HashMap::new();
    let mut ended = 0;
    let mut since: Option<String> = None;
    let filter = r#"{"room":{"timeline":{"limit":1000}}}"#;
    for turn in 0.. {
        let mut query = vec![("filter", filter), ("timeout", "5000")];
        if let Some(since) = &since {
            query.push(("since", since));
        }
        let answer = replicas[turn % replicas.len()].sync(&world, user, &query).await;
        for (room, told) in answer["rooms"]["join"].as_object().unwrap() {
            assert_eq!(told["timeline"]["limited"], false);
            let came = ids(&told["timeline"]).into_iter().map(str::to_owned);
            seen.entry(room.clone()).or_default().extend(came);
            let events = told["timeline"]["events"].as_array().unwrap();
            ended += events.iter().filter(|event: &&Value| event["content"]["body"] == "end").count();
        }
        since = Some(token(&answer));
        if ended == ROOMS.len() {
            break;
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_gets_every_event_once_and_in_the_same_order() {
    let world = World::new();
    for room in ROOMS {
        world.create(room, USERS[0]).await;
        for user in &USERS[1..] {
            world.member(room, user, user, "join").await;
        }
    }
    // Two replicas have room for few rooms only, or for none, and load and unload all the time.
    let few = SyncConfig { max_cached_rooms: 2, ..SyncConfig::default() };
    let none = SyncConfig { max_cached_bytes: 1, ..SyncConfig::default() };
    let replicas = [SyncConfig::default(), few, none].map(|config| world.replica_with(config));
    let replicas: Vec<_> = futures::future::join_all(replicas).await.into_iter().map(Arc::new).collect();
    let readers: Vec<_> =
        USERS.map(|user| tokio::spawn(follow(world.clone(), replicas.clone(), user))).into_iter().collect();
    // Writers race: the log gets records out of order and with holes, which the room server fills.
    let writers: Vec<_> = USERS
        .map(|user| {
            let world = world.clone();
            tokio::spawn(async move {
                for number in 0..MESSAGES {
                    let room = ROOMS[number % ROOMS.len()];
                    if number % 10 == 7 {
                        world.set(room, user, "m.room.topic", "", json!({"topic": number})).await;
                    } else {
                        world.say(room, user, "x").await;
                    }
                    if number % 8 == 0 {
                        tokio::time::sleep(Duration::from_millis(3)).await;
                    }
                }
            })
        })
        .into_iter()
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for room in ROOMS {
        world.say(room, USERS[0], "end").await;
    }
    let mut expected: HashMap<String, Vec<String>> = HashMap::new();
    for stored in &world.facts.lock().events {
        expected.entry(stored.event.room_id.clone()).or_default().push(stored.event.event_id.clone());
    }
    for reader in readers {
        let seen = tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
        assert_eq!(seen, expected);
    }
    for replica in &replicas {
        assert_eq!(replica.shutdown.failure(), None);
    }
}

#[tokio::test]
async fn rooms_in_memory_are_bounded_by_bytes() {
    const MOST: usize = 100_000;
    let world = World::new();
    let rooms: Vec<String> = (0..12).map(|number| format!("!bytes{number}:test")).collect();
    let text = "x".repeat(2_000);
    for room in &rooms {
        world.create(room, USERS[0]).await;
        for _ in 0..20 {
            world.say(room, USERS[0], &text).await;
        }
    }
    for (max_cached_bytes, is_bounded) in [(MOST as u64, true), (u64::MAX, false)] {
        let replica = world.replica_with(SyncConfig { max_cached_bytes, ..SyncConfig::default() }).await;
        let first = replica.sync(&world, USERS[0], &[]).await;
        // An answer holds the rooms that it tells, and then they have to go.
        for room in &rooms[..2] {
            let said = world.say(room, USERS[0], "news").await;
            replica.settle(&world).await;
            let answer = replica.sync(&world, USERS[0], &[("since", &token(&first))]).await;
            assert_eq!(ids(&answer["rooms"]["join"][room]["timeline"]).last(), Some(&said.as_str()));
        }
        let bytes: usize = replica.service.view.all_rooms().iter().map(|room| room.weight()).sum();
        assert_eq!(bytes <= MOST, is_bounded, "{bytes}");
    }
}
