//! [`GET /rooms/{roomId}/timestamp_to_event`][spec]
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event

use serde_json::Value;

use crate::{
    actor::{Room, User},
    server::Server,
    wire::{Json as _, Request},
};

tests![
    the_closest_event_is_found_in_either_direction,
    beyond_the_ends_there_is_none,
    one_who_is_not_a_member_finds_nothing,
    the_time_and_the_direction_are_needed,
    an_unknown_room_has_no_events,
];

fn finds(user: &User, room: &Room, ts: i64, dir: &str) -> Request {
    let request = user.get(path!("/_matrix/client/v1/rooms/{}/timestamp_to_event", room));
    request.query("ts", ts).query("dir", dir)
}

fn time(event: &Value) -> i64 {
    event.at("/origin_server_ts").as_i64().expect("a time")
}

async fn the_closest_event_is_found_in_either_direction(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let sent = alice.says(&room, "here").await;
    let ts = time(&alice.reads_event(&room, &sent).await.ok());
    for dir in ["f", "b"] {
        let found = finds(&alice, &room, ts, dir).await.ok();
        assert_eq!(time(&found), ts, "{found}");
    }
    let earliest = finds(&alice, &room, 0, "f").await.ok();
    let create = alice.reads_event(&room, &earliest.text("/event_id")).await.ok();
    assert_eq!((time(&create), &create["type"]), (time(&earliest), &Value::from("m.room.create")));
    let latest = finds(&alice, &room, ts + 1_000_000, "b").await.ok();
    assert_eq!((latest.text("/event_id"), time(&latest)), (sent, ts));
}

async fn beyond_the_ends_there_is_none(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    finds(&alice, &room, 1, "b").await.refused(404, "M_NOT_FOUND");
    finds(&alice, &room, 99_999_999_999_999, "f").await.refused(404, "M_NOT_FOUND");
}

async fn one_who_is_not_a_member_finds_nothing(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    finds(&bob, &room, 0, "f").await.refused(403, "M_FORBIDDEN");
}

async fn the_time_and_the_direction_are_needed(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let base = || alice.get(path!("/_matrix/client/v1/rooms/{}/timestamp_to_event", room));
    base().query("dir", "f").await.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_INVALID_PARAM")]);
    base().query("ts", "x").query("dir", "f").await.refused(400, "M_INVALID_PARAM");
    base().query("ts", 1).query("dir", "x").await.refused(400, "M_INVALID_PARAM");
}

async fn an_unknown_room_has_no_events(server: Server) {
    let alice = server.user("alice").await;
    let answer = finds(&alice, &server.nowhere(), 0, "f").await;
    answer.refused_as(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
}
