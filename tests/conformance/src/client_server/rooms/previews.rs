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
        let found = answer.list("/chunk").iter().find(|found| found["event_id"] == event);
        if let Some(found) = found {
            return (found.clone(), answer.text("/end"));
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
