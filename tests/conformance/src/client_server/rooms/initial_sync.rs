//! What clients of old begin with:
//! [`GET /rooms/{roomId}/initialSync`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidinitialsync)
//! and the deprecated
//! [`GET /initialSync`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3initialsync) and
//! [`GET /events`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events).

use serde_json::{Value, json};

use crate::{server::Server, wait::eventually, wire::Json as _};

tests![
    a_room_tells_its_state_and_its_last_events,
    one_who_has_left_sees_the_room_as_it_was,
    a_stranger_sees_nothing_of_the_room,
    all_rooms_are_told_at_once,
    new_events_are_listened_for,
    an_event_is_found_without_its_room,
    a_token_that_was_never_given_is_refused,
    invites_are_not_told_to_who_wants_none,
];

fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event.text("/event_id")).collect()
}

async fn a_room_tells_its_state_and_its_last_events(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("name", json!("Pub")).await;
    let first = alice.says(&room, "first").await;
    let second = alice.says(&room, "second").await;
    let tag = path!("/user/{}/rooms/{}/account_data/org.example.note", alice.id, room);
    alice.put(tag, json!({ "n": 1 })).await.ok();
    let answer = eventually(
        "the last event is told",
        || async { alice.get(path!("/rooms/{}/initialSync", room)).query("limit", 2).await.ok() },
        |answer| ids(answer.list("/messages/chunk")).last() == Some(&second),
    )
    .await;
    assert_eq!((answer.text("/room_id"), answer.text("/membership")), (room.0.clone(), "join".to_owned()));
    // It may be left out.
    assert!(!answer.has("/visibility") || answer["visibility"] == "private", "{answer}");
    assert_eq!(ids(answer.list("/messages/chunk")), [first.clone(), second]);
    let names = answer.list("/state").iter().filter(|event| event["type"] == "m.room.name");
    assert_eq!(names.map(|event| event["content"]["name"].clone()).collect::<Vec<_>>(), [json!("Pub")]);
    let note = answer.list("/account_data").iter().any(|data| data["type"] == "org.example.note");
    assert!(note, "{answer}");
    // Its token leads to what came before.
    let before = alice.reads_messages(&room).query("from", answer.text("/messages/start")).await.ok();
    assert!(!ids(before.list("/chunk")).contains(&first) && !before.list("/chunk").is_empty(), "{before}");
}

async fn one_who_has_left_sees_the_room_as_it_was(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("name", json!("Before")).member(&bob).await;
    bob.leaves(&room).await.ok();
    alice.sets_state(&room, "m.room.name", "", json!({ "name": "After" })).await.ok();
    let answer = bob.get(path!("/rooms/{}/initialSync", room)).await.ok();
    assert_eq!(answer.text("/membership"), "leave");
    let name = answer.list("/state").iter().find(|event| event["type"] == "m.room.name");
    assert_eq!(name.expect("a name")["content"]["name"], "Before");
    assert!(!answer.at("/messages/chunk").to_string().contains("After"), "{answer}");
}

async fn a_stranger_sees_nothing_of_the_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    bob.get(path!("/rooms/{}/initialSync", room)).await.refused(403, "M_FORBIDDEN");
}

async fn all_rooms_are_told_at_once(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let invited = alice.creates_room().await;
    alice.invites(&bob, &invited).await.ok();
    let since = bob.sync_token().await;
    let said = alice.says(&room, "hello").await;
    bob.hears(&since, &room, &said).await;
    let answer = bob.get("/initialSync").query("limit", 1).await.ok();
    let find = |room: &str| answer.list("/rooms").iter().find(|told| told["room_id"] == room).cloned();
    let told = find(&room.0).expect("the room");
    assert_eq!(
        (told.text("/membership"), ids(told.list("/messages/chunk"))),
        ("join".to_owned(), vec![said])
    );
    let told = find(&invited.0).expect("the invite");
    assert_eq!(told.text("/membership"), "invite");
    assert_eq!(
        (told.text("/invite/state_key"), told.text("/invite/sender")),
        (bob.id.clone(), alice.id.clone())
    );
    assert!(answer.at("/presence").is_array() && answer.at("/end").is_string(), "{answer}");
}

async fn new_events_are_listened_for(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let mut from = bob.get("/initialSync").await.ok().text("/end");
    let said = alice.says(&room, "hello").await;
    for _ in 0..20 {
        let answer = bob.get("/events").query("from", &from).query("timeout", 2000).await.ok();
        let found = answer.list("/chunk").iter().find(|event| event["event_id"] == said);
        if let Some(event) = found {
            assert_eq!((event.text("/room_id"), event.text("/content/body")), (room.0, "hello".to_owned()));
            return;
        }
        from = answer.text("/end");
    }
    panic!("the event was not told");
}

async fn an_event_is_found_without_its_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let said = alice.says(&room, "hello").await;
    let event = alice.get(path!("/events/{}", said)).await.ok();
    assert_eq!((event.text("/event_id"), event.text("/room_id")), (said.clone(), room.0));
    bob.get(path!("/events/{}", said)).await.refused_as(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
}

async fn a_token_that_was_never_given_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.get("/events").query("from", "nonsense").query("timeout", 0).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn invites_are_not_told_to_who_wants_none(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    alice.invites(&bob, &room).await.ok();
    let block = json!({ "default_action": "block" });
    bob.put(path!("/user/{}/account_data/m.invite_permission_config", bob.id), block).await.ok();
    let answer = bob.get("/initialSync").await.ok();
    assert!(!answer.list("/rooms").iter().any(|told| told["room_id"] == room.0), "{answer}");
}
