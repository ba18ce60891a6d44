//! [`GET /rooms/{roomId}/context/{eventId}`][spec]
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid

use serde_json::{Value, json};

use crate::{actor::Room, actor::User, server::Server, wire::Json as _};

tests![
    the_events_around_it_are_in_order,
    the_limit_is_divided_between_both_sides,
    a_limit_of_nothing_gives_the_event_alone,
    the_state_is_that_of_the_room,
    the_tokens_go_on_in_both_directions,
    one_who_is_not_a_member_sees_nothing,
    an_unknown_event_is_not_found,
    an_event_of_another_room_is_not_found,
    a_filter_chooses_what_is_around_it,
    members_are_told_lazily_if_wanted,
    wrong_pages_are_refused,
];

async fn chat(alice: &User, count: usize) -> (Room, Vec<String>) {
    let room = alice.creates_room().await;
    let mut events = Vec::new();
    for number in 0..count {
        events.push(alice.says(&room, &format!("message {number}")).await);
    }
    (room, events)
}

fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event.text("/event_id")).collect()
}

async fn the_events_around_it_are_in_order(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 5).await;
    let answer = alice.reads_context(&room, &events[2]).query("limit", 4).await.ok();
    assert_eq!(answer["event"]["event_id"], events[2]);
    assert_eq!(ids(answer.list("/events_before")), [events[1].clone(), events[0].clone()]);
    assert_eq!(ids(answer.list("/events_after")), events[3..]);
}

async fn the_limit_is_divided_between_both_sides(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 9).await;
    let answer = alice.reads_context(&room, &events[4]).query("limit", 6).await.ok();
    let count = answer.list("/events_before").len() + answer.list("/events_after").len();
    assert!(count <= 6, "{answer}");
    assert!(!answer.list("/events_before").is_empty() && !answer.list("/events_after").is_empty());
}

async fn a_limit_of_nothing_gives_the_event_alone(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 3).await;
    let answer = alice.reads_context(&room, &events[1]).query("limit", 0).await.ok();
    assert_eq!(answer["event"]["event_id"], events[1]);
    assert!(answer["events_before"].as_array().is_none_or(Vec::is_empty), "{answer}");
    assert!(answer["events_after"].as_array().is_none_or(Vec::is_empty), "{answer}");
}

async fn the_state_is_that_of_the_room(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 1).await;
    let answer = alice.reads_context(&room, &events[0]).await.ok();
    let state = answer.list("/state");
    assert!(state.iter().any(|event| event["type"] == "m.room.create"), "{answer}");
    assert!(state.iter().any(|event| event["state_key"] == alice.id), "{answer}");
}

async fn the_tokens_go_on_in_both_directions(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 5).await;
    let answer = alice.reads_context(&room, &events[2]).query("limit", 2).await.ok();
    assert_eq!(ids(answer.list("/events_before")), events[1..2]);
    assert_eq!(ids(answer.list("/events_after")), events[3..4]);
    let before = alice.reads_messages(&room).query("from", answer.text("/start")).query("limit", 1);
    assert_eq!(ids(before.await.ok().list("/chunk")), events[0..1]);
    let after = alice.get(path!("/rooms/{}/messages", room)).query("dir", "f");
    let after = after.query("from", answer.text("/end")).query("limit", 1).await.ok();
    assert_eq!(ids(after.list("/chunk")), events[4..5]);
}

async fn one_who_is_not_a_member_sees_nothing(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, events) = chat(&alice, 1).await;
    let answer = bob.reads_context(&room, &events[0]).await;
    answer.refused_as(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]);
}

async fn an_unknown_event_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let (room, _) = chat(&alice, 0).await;
    let unknown = format!("${}", "A".repeat(43));
    alice.reads_context(&room, &unknown).await.refused(404, "M_NOT_FOUND");
}

async fn an_event_of_another_room_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 1).await;
    let (other, _) = chat(&alice, 0).await;
    alice.reads_context(&room, &events[0]).await.ok();
    let answer = alice.reads_context(&other, &events[0]).await;
    answer.refused_as(&[(404, "M_NOT_FOUND"), (404, "M_UNKNOWN")]);
}

async fn a_filter_chooses_what_is_around_it(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let before = alice.says(&room, "before").await;
    bob.says(&room, "not wanted").await;
    let event = bob.says(&room, "this").await;
    bob.says(&room, "not wanted").await;
    let after = alice.says(&room, "after").await;
    let filter = json!({ "types": ["m.room.message"], "not_senders": [bob.id] });
    let answer = alice.reads_context(&room, &event).query("filter", filter).await.ok();
    // The event itself is told in any case.
    assert_eq!(answer["event"]["event_id"], event);
    assert_eq!(ids(answer.list("/events_before")), [before]);
    assert_eq!(ids(answer.list("/events_after")), [after]);
    assert_eq!(answer["state"].as_array().map_or(0, Vec::len), 0, "{answer}");
}

async fn members_are_told_lazily_if_wanted(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).member(&carl).await;
    let event = bob.says(&room, "from bob").await;
    let filter = json!({ "lazy_load_members": true });
    let request = alice.reads_context(&room, &event).query("limit", 0).query("filter", filter);
    let answer = request.await.ok();
    let state = answer.list("/state");
    assert!(state.iter().any(|event| event["type"] == "m.room.create"), "{answer}");
    let members = state.iter().filter(|event| event["type"] == "m.room.member");
    let members: Vec<_> = members.map(|event| event.text("/state_key")).collect();
    assert!(members.contains(&bob.id), "{answer}");
    assert!(!members.contains(&carl.id), "{answer}");
}

async fn wrong_pages_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 1).await;
    for (name, value) in [("limit", "x"), ("filter", "{nonsense"), ("filter", r#"{"types":1}"#)] {
        let answer = alice.reads_context(&room, &events[0]).query(name, value).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
}
