//! State in `/sync`: before the timeline, or after it (`use_state_after`).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wire::Json as _,
};

tests![
    state_after_the_timeline_takes_the_place_of_state,
    state_after_the_timeline_tells_what_the_timeline_tells,
    state_after_the_timeline_is_there_if_nothing_changed,
    state_after_the_first_timeline_is_all_of_it,
    the_state_of_a_gap_is_that_before_the_timeline,
    the_state_of_a_gap_has_each_entry_once,
    what_a_filter_hides_from_the_timeline_is_in_the_state,
    no_timeline_is_wanted_and_the_state_is_complete,
    state_after_the_timeline_is_told_of_a_room_that_was_left,
    state_after_the_timeline_tells_what_one_is_in_a_room_one_is_not_in,
];

/// A room with a token from before its topic was changed twice: twice in the gap, and once in a timeline of two or three.
async fn gap(alice: &User) -> (Room, String) {
    let room = alice.creates_room().with("topic", json!("old")).await;
    let since = alice.sync_token().await;
    for topic in ["in the gap", "also in the gap"] {
        alice.sets_state(&room, "m.room.topic", "", json!({ "topic": topic })).await.ok();
    }
    alice.says(&room, "hello").await;
    alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "new" })).await.ok();
    let last = alice.says(&room, "bye").await;
    alice.hears(&since, &room, &last).await;
    (room, since)
}

fn limit(limit: u64) -> Value {
    json!({ "room": { "timeline": { "limit": limit } } })
}

/// The topics that a list of events tells.
fn topics(events: &[Value]) -> Vec<String> {
    let topics = events.iter().filter(|event| event["type"] == "m.room.topic");
    topics.map(|event| event.text("/content/topic")).collect()
}

fn section(answer: &Value, room: &Room) -> Value {
    sync::section(answer, "join", room).unwrap_or_else(|| panic!("no room: {answer}")).clone()
}

async fn state_after_the_timeline_takes_the_place_of_state(server: Server) {
    let alice = server.user("alice").await;
    let (room, since) = gap(&alice).await;
    let request = alice.syncs_since(&since).query("filter", limit(2));
    let told = section(&request.clone().query("use_state_after", true).await.ok(), &room);
    assert_eq!(topics(told.list("/state_after/events")), ["new"]);
    assert!(!told.has("/state"), "{told}");
    let told = section(&request.clone().query("use_state_after", false).await.ok(), &room);
    assert!(told.has("/state") && !told.has("/state_after"), "{told}");
    let told = section(&request.await.ok(), &room);
    assert!(told.has("/state") && !told.has("/state_after"), "{told}");
}

async fn state_after_the_timeline_tells_what_the_timeline_tells(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("topic", json!("old")).await;
    let since = alice.sync_token().await;
    let event = alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "new" })).await.ok();
    alice.hears(&since, &room, &event.text("/event_id")).await;
    let told = section(&alice.syncs_since(&since).query("use_state_after", true).await.ok(), &room);
    assert_eq!(topics(told.list("/timeline/events")), ["new"]);
    assert_eq!(topics(told.list("/state_after/events")), ["new"]);
}

async fn state_after_the_timeline_is_there_if_nothing_changed(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let since = alice.sync_token().await;
    let event = alice.says(&room, "hello").await;
    let heard = alice.hears(&since, &room, &event).await;
    drop(heard);
    // The room's creation may still be on its way.
    let since = alice.sync_token().await;
    let event = alice.says(&room, "hello again").await;
    alice.hears(&since, &room, &event).await;
    let told = section(&alice.syncs_since(&since).query("use_state_after", true).await.ok(), &room);
    assert_eq!(told.list("/state_after/events"), &Vec::<Value>::new(), "{told}");
}

async fn state_after_the_first_timeline_is_all_of_it(server: Server) {
    let alice = server.user("alice").await;
    let (room, _) = gap(&alice).await;
    let told = section(&alice.syncs().query("use_state_after", true).await.ok(), &room);
    let state = told.list("/state_after/events");
    assert_eq!(topics(state), ["new"]);
    let all = alice.reads_all_state(&room).await.ok();
    let mut wanted: Vec<_> =
        all.as_array().into_iter().flatten().map(|event| event.text("/event_id")).collect();
    let mut found: Vec<_> = state.iter().map(|event| event.text("/event_id")).collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
}

async fn the_state_of_a_gap_is_that_before_the_timeline(server: Server) {
    let alice = server.user("alice").await;
    let (room, since) = gap(&alice).await;
    let told = section(&alice.syncs_since(&since).query("filter", limit(3)).await.ok(), &room);
    assert_eq!(told["timeline"]["limited"], true, "{told}");
    assert_eq!(topics(told.list("/state/events")), ["also in the gap"]);
    assert_eq!(topics(told.list("/timeline/events")), ["new"]);
    // From the start on, the state is that before the timeline too.
    let told = section(&alice.syncs().query("filter", limit(3)).await.ok(), &room);
    assert_eq!(topics(told.list("/state/events")), ["also in the gap"]);
}

async fn the_state_of_a_gap_has_each_entry_once(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    let since = alice.sync_token().await;
    for _ in 0..2 {
        bob.joins(&room).await.ok();
        bob.leaves(&room).await.ok();
    }
    bob.joins(&room).await.ok();
    for _ in 0..3 {
        alice.says(&room, "hello").await;
    }
    let last = alice.says(&room, "bye").await;
    alice.hears(&since, &room, &last).await;
    let told = section(&alice.syncs_since(&since).query("filter", limit(2)).await.ok(), &room);
    let state = told.list("/state/events");
    let bobs: Vec<_> = state.iter().filter(|event| event["state_key"] == bob.id).collect();
    assert_eq!(bobs.len(), 1, "{told}");
    assert_eq!(bobs[0]["content"]["membership"], "join");
}

async fn what_a_filter_hides_from_the_timeline_is_in_the_state(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("topic", json!("old")).await;
    let since = alice.sync_token().await;
    alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "new" })).await.ok();
    let last = alice.says(&room, "hello").await;
    alice.hears(&since, &room, &last).await;
    let filter = json!({ "room": { "timeline": { "types": ["m.room.message"] } } });
    let request = alice.syncs_since(&since).query("filter", filter).query("use_state_after", true);
    let told = section(&request.await.ok(), &room);
    assert_eq!(topics(told.list("/state_after/events")), ["new"]);
}

async fn no_timeline_is_wanted_and_the_state_is_complete(server: Server) {
    let alice = server.user("alice").await;
    let (room, _) = gap(&alice).await;
    let filter = json!({ "room": { "timeline": { "limit": 0, "types": [] } } });
    let told = section(&alice.syncs().query("filter", filter).await.ok(), &room);
    assert_eq!(topics(told.list("/state/events")), ["new"]);
}

async fn state_after_the_timeline_is_told_of_a_room_that_was_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = bob.sync_token().await;
    alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "while bob was in" })).await.ok();
    bob.leaves(&room).await.ok();
    alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "when bob was out" })).await.ok();
    let is_there = |answer: &Value| sync::section(answer, "leave", &room).is_some();
    bob.syncs_until(&since, "the room", is_there).await;
    let answer = bob.syncs_since(&since).query("use_state_after", true).await.ok();
    let told = sync::section(&answer, "leave", &room).expect("the room").clone();
    assert_eq!(topics(told.list("/state_after/events")), ["while bob was in"]);
    assert!(!told.has("/state"), "{told}");
    assert!(!told.to_string().contains("when bob was out"), "{told}");
}

async fn state_after_the_timeline_tells_what_one_is_in_a_room_one_is_not_in(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let declined = alice.creates_room().with("invite", json!([bob.id])).await;
    let mut since = bob.sync_token().await;
    // The membership of bob by the state after the timeline, as soon as there is one; and goes on from there.
    let told = async |since: &mut String, room: &Room| {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            let request = bob.syncs_since(since).query("use_state_after", true).query("timeout", 1000);
            let answer = request.await.ok();
            *since = answer.text("/next_batch");
            let Some(section) = sync::section(&answer, "leave", room) else { continue };
            let state = section.list("/state_after/events");
            let own = state.iter().find(|event| event["state_key"] == bob.id);
            return own.unwrap_or_else(|| panic!("nothing of bob in {section}")).text("/content/membership");
        }
        panic!("bob hears nothing of {room}");
    };
    alice.bans(&bob, &room).await.ok();
    assert_eq!(told(&mut since, &room).await, "ban");
    alice.unbans(&bob, &room).await.ok();
    assert_eq!(told(&mut since, &room).await, "leave");
    bob.leaves(&declined).await.ok();
    assert_eq!(told(&mut since, &declined).await, "leave");
}
