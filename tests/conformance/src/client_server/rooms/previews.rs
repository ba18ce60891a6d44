//! [Room previews](https://spec.matrix.org/v1.19/client-server-api/#room-previews): rooms that anybody may read.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    actor::{Room, User},
    server::Server,
    wait::eventually,
    wire::Json as _,
};

tests![
    a_stranger_previews_a_world_readable_room,
    the_preview_goes_on_as_soon_as_something_happens,
    a_member_goes_on_from_the_same_token,
    a_room_that_is_not_world_readable_has_no_preview,
    an_event_of_a_world_readable_time_stays_readable,
    pages_and_surroundings_of_a_world_readable_time_stay_readable,
    who_left_before_it_reads_a_world_readable_time,
    what_a_room_is_like_now_is_not_told_with_its_past,
];

fn visibility(of: &str) -> Value {
    json!({ "history_visibility": of })
}

async fn open_room(owner: &User) -> Room {
    owner.creates_room().public().state("m.room.history_visibility", visibility("world_readable")).await
}

/// Listens until an event is told; returns it and where to go on.
async fn listens(user: &User, room: &Room, from: &str, event: &str) -> (Value, String) {
    let end = Instant::now() + Duration::from_secs(20);
    let mut from = from.to_owned();
    loop {
        let request = user.get("/events").query("room_id", room.0.clone()).query("from", from.clone());
        let answer = request.query("timeout", 5_000).await.ok();
        let found: Vec<_> = answer.list("/chunk").iter().filter(|found| found["event_id"] == event).collect();
        if let [first, others @ ..] = &found[..] {
            assert!(others.is_empty(), "{event} is told twice: {answer}");
            return ((*first).clone(), answer.text("/end"));
        }
        assert!(Instant::now() < end, "{event} is not told; last: {answer}");
        from = answer.text("/end");
    }
}

/// Where the preview of a room begins.
async fn begins(user: &User, room: &Room, last: &str) -> String {
    let answer = eventually(
        "the last event is told",
        || async { user.get(path!("/rooms/{}/initialSync", room)).await.ok() },
        |answer| answer.list("/messages/chunk").iter().any(|event| event["event_id"] == last),
    )
    .await;
    answer.text("/messages/end")
}

async fn a_stranger_previews_a_world_readable_room(server: Server) {
    let (alice, carl) = server.pair().await;
    let room = open_room(&alice).await;
    let before = alice.says(&room, "before").await;
    let from = begins(&carl, &room, &before).await;
    let one = alice.says(&room, "one").await;
    let (told, from) = listens(&carl, &room, &from, &one).await;
    assert_eq!((told.text("/room_id"), told.text("/content/body")), (room.0.clone(), "one".to_owned()));
    let two = alice.says(&room, "two").await;
    listens(&carl, &room, &from, &two).await;
}

async fn the_preview_goes_on_as_soon_as_something_happens(server: Server) {
    let (alice, carl) = server.pair().await;
    let room = open_room(&alice).await;
    let before = alice.says(&room, "before").await;
    let from = begins(&carl, &room, &before).await;
    // Some servers tell who is online before that, so that one listens again.
    let waits = async {
        let mut from = from;
        loop {
            let request = carl.get("/events").query("room_id", room.0.clone()).query("from", from);
            let answer = request.query("timeout", 20_000).await.ok();
            let of_room = |event: &&Value| event["room_id"] == *room.0;
            if let Some(found) = answer.list("/chunk").iter().find(of_room) {
                return found.text("/event_id");
            }
            from = answer.text("/end");
        }
    };
    let speaks = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        alice.says(&room, "news").await
    };
    let began = Instant::now();
    let (told, event) = futures::join!(waits, speaks);
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
    assert_eq!(told, event);
}

async fn a_member_goes_on_from_the_same_token(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let before = alice.says(&room, "before").await;
    let from = begins(&bob, &room, &before).await;
    let one = alice.says(&room, "one").await;
    listens(&bob, &room, &from, &one).await;
}

async fn a_room_that_is_not_world_readable_has_no_preview(server: Server) {
    let (alice, carl) = server.pair().await;
    let room = alice.creates_room().public().await;
    let from = carl.sync_token().await;
    let request = carl.get("/events").query("room_id", room.0.clone()).query("from", from);
    request.query("timeout", 0).await.refused(403, "M_FORBIDDEN");
}

async fn an_event_of_a_world_readable_time_stays_readable(server: Server) {
    let (alice, carl) = server.pair().await;
    let room = open_room(&alice).await;
    let open = alice.says(&room, "for all").await;
    alice.sets_state(&room, "m.room.history_visibility", "", visibility("joined")).await.ok();
    let closed = alice.says(&room, "for members").await;
    let found = eventually(
        "the event is found",
        || async { carl.reads_event(&room, &open).await },
        |answer| answer.status == 200,
    )
    .await;
    assert_eq!(found.body.text("/content/body"), "for all");
    let answer = carl.reads_event(&room, &closed).await;
    assert!([403, 404].contains(&answer.status), "{answer}");
    // Nor does anybody preview what comes now.
    let request = carl.get("/events").query("room_id", room.0.clone()).query("timeout", 0);
    request.await.refused(403, "M_FORBIDDEN");
}

/// The messages of a page, or of a part of what surrounds an event.
fn texts(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event.pointer("/content/body")?.as_str()).collect()
}

/// Says something in private, something in the open, and something in private again; returns the second.
async fn says_in_between(alice: &User, room: &Room) -> String {
    alice.says(room, "before").await;
    alice.sets_state(room, "m.room.history_visibility", "", visibility("world_readable")).await.ok();
    alice.says(room, "for all").await;
    let open = alice.says(room, "for everybody").await;
    alice.sets_state(room, "m.room.history_visibility", "", visibility("joined")).await.ok();
    alice.says(room, "for members").await;
    open
}

/// Makes sure that somebody reads what was said in the open, and nothing else.
async fn reads_in_between(user: &User, room: &Room, open: &str) {
    eventually(
        "the event is found",
        || async { user.reads_event(room, open).await },
        |answer| answer.status == 200,
    )
    .await
    .ok();
    for direction in ["b", "f"] {
        let page = user.get(path!("/rooms/{}/messages", room)).query("dir", direction).query("limit", 100);
        let page = page.await.ok();
        let mut found = texts(page.list("/chunk"));
        if direction == "b" {
            found.reverse();
        }
        assert_eq!(found, ["for all", "for everybody"], "{direction}");
    }
    let context = user.reads_context(room, open).query("limit", 50).await.ok();
    assert_eq!(context.text("/event/event_id"), open);
    assert_eq!(texts(context.list("/events_before")), ["for all"]);
    assert!(texts(context.list("/events_after")).is_empty(), "{context}");
}

async fn pages_and_surroundings_of_a_world_readable_time_stay_readable(server: Server) {
    let (alice, carl) = server.pair().await;
    let room = alice.creates_room().public().state("m.room.history_visibility", visibility("joined")).await;
    let open = says_in_between(&alice, &room).await;
    reads_in_between(&carl, &room, &open).await;
    // An invite changes nothing about what was.
    alice.invites(&carl, &room).await.ok();
    reads_in_between(&carl, &room, &open).await;
}

async fn who_left_before_it_reads_a_world_readable_time(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().state("m.room.history_visibility", visibility("joined")).await;
    bob.joins(&room).await.ok();
    bob.leaves(&room).await.ok();
    let open = says_in_between(&alice, &room).await;
    reads_in_between(&bob, &room, &open).await;
}

async fn what_a_room_is_like_now_is_not_told_with_its_past(server: Server) {
    let (alice, carl) = server.pair().await;
    let room = open_room(&alice).await;
    let open = alice.says(&room, "for all").await;
    alice.sets_state(&room, "m.room.history_visibility", "", visibility("joined")).await.ok();
    alice.sets_state(&room, "m.room.name", "", json!({ "name": "Ours" })).await.ok();
    let context = eventually(
        "the surroundings are found",
        || async { carl.reads_context(&room, &open).query("limit", 50).await },
        |answer| answer.status == 200,
    )
    .await;
    let body = &context.body;
    let told = body.list("/state").iter().chain(body.list("/events_after"));
    assert!(!told.clone().any(|event| event["type"] == "m.room.name"), "{body}");
    for request in [
        carl.reads_all_state(&room),
        carl.reads_members(&room),
        carl.get(path!("/rooms/{}/joined_members", room)),
        carl.get(path!("/rooms/{}/aliases", room)),
        carl.get(path!("/rooms/{}/initialSync", room)),
    ] {
        request.await.refused(403, "M_FORBIDDEN");
    }
}
