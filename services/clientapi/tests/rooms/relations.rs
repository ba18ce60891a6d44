use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{Aggregations, Direction, ListTimelineResponse, RoomEvent, Thread},
};
use serde_json::json;

use crate::fakes::{ROOM, World, assert_error, assert_ok, event};

fn message(seq: u64) -> RoomEvent {
    event(ROOM, "m.room.message", None, json!({ "n": seq }), seq)
}

fn world() -> World {
    let world = World::with_room(&[("alice", "join"), ("bob", "join")]);
    world.known.lock().unwrap().events.insert("$event5".to_owned(), message(5));
    world
}

fn edited() -> Aggregations {
    Aggregations {
        event_id: "$event5".to_owned(),
        replacement: Some(message(6)),
        references: vec!["$ref".to_owned()],
        thread: Some(Box::new(Thread {
            latest: Some(message(8)),
            latest_aggregations: None,
            count: 2,
            participated: true,
        })),
    }
}

#[tokio::test]
async fn events_are_served_with_what_relates_to_them() {
    let world = world();
    {
        let mut known = world.known.lock().unwrap();
        known.aggregations.insert("$event5".to_owned(), edited());
        known.timeline = ListTimelineResponse { events: vec![message(5), message(4)], next: None, start: 9 };
        known.related = vec![message(5)];
    }
    let v1 = "/_matrix/client/v1";
    for (path, place) in [
        (format!("/rooms/{ROOM}/event/$event5"), ""),
        (format!("/rooms/{ROOM}/context/$event5"), "/event"),
        (format!("/rooms/{ROOM}/messages?dir=b"), "/chunk/0"),
        (format!("{v1}/rooms/{ROOM}/relations/$event5"), "/chunk/0"),
        (format!("{v1}/rooms/{ROOM}/threads"), "/chunk/0"),
    ] {
        let answer = world.get("alice", &path).await;
        assert_ok(&answer);
        let relations = &answer.1.pointer(place).unwrap()["unsigned"]["m.relations"];
        assert_eq!(relations["m.replace"]["event_id"], "$event6", "{path}");
        assert_eq!(relations["m.reference"], json!({ "chunk": [{ "event_id": "$ref" }] }));
        let thread = &relations["m.thread"];
        assert_eq!((&thread["count"], &thread["current_user_participated"]), (&json!(2), &json!(true)));
        assert_eq!(thread["latest_event"]["event_id"], "$event8");
    }
    let page = world.get("alice", &format!("/rooms/{ROOM}/messages?dir=b")).await.1;
    assert_eq!(page["chunk"][1]["unsigned"].get("m.relations"), None);
}

#[tokio::test]
async fn relations_are_asked_for_as_the_path_says() {
    let world = world();
    let base = format!("/_matrix/client/v1/rooms/{ROOM}/relations/$event5");
    let page = world.get("alice", &format!("{base}?limit=7&from=t1_9&to=t1_2")).await;
    assert_ok(&page);
    assert_eq!(page.1, json!({ "chunk": [], "next_batch": "t1_3", "prev_batch": "t1_9" }));
    let deep =
        world.get("alice", &format!("{base}/m.thread/m.room.message?dir=f&recurse=true&limit=9999")).await;
    assert_eq!(deep.1["recursion_depth"], 3);
    assert_ok(&world.get("alice", &format!("{base}/m.annotation")).await);
    let asked = std::mem::take(&mut world.known.lock().unwrap().relation_requests);
    let (first, second, third) = (&asked[0], &asked[1], &asked[2]);
    assert_eq!(
        (first.direction(), first.from, first.to, first.limit),
        (Direction::Backward, Some(9), Some(2), 7)
    );
    assert_eq!((first.rel_type.as_str(), first.event_type.as_str(), first.recurse), ("", "", false));
    assert_eq!((second.rel_type.as_str(), second.event_type.as_str()), ("m.thread", "m.room.message"));
    assert_eq!((second.direction(), second.recurse, second.limit), (Direction::Forward, true, 1000));
    assert_eq!((third.rel_type.as_str(), third.event_type.as_str(), third.limit), ("m.annotation", "", 50));

    for (query, errcode) in [
        ("?from=x", "M_INVALID_PARAM"),
        ("?to=x", "M_INVALID_PARAM"),
        ("?limit=0", "M_INVALID_PARAM"),
        ("?limit=x", "M_INVALID_PARAM"),
        ("?dir=x", "M_INVALID_PARAM"),
        ("?recurse=x", "M_INVALID_PARAM"),
    ] {
        assert_error(&world.get("alice", &format!("{base}{query}")).await, 400, errcode);
    }
    // There is no telling an event one may not see from one that is not there.
    for path in [
        format!("/_matrix/client/v1/rooms/{ROOM}/relations/$none"),
        "/_matrix/client/v1/rooms/!none:x/relations/$event5".to_owned(),
    ] {
        assert_error(&world.get("alice", &path).await, 404, "M_NOT_FOUND");
    }
    assert_error(&world.get("carol", &base).await, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn threads_are_listed() {
    let world = world();
    let base = format!("/_matrix/client/v1/rooms/{ROOM}/threads");
    assert_ok(&world.get("alice", &format!("{base}?include=participated&limit=3&from=t1_4")).await);
    let asked = std::mem::take(&mut world.known.lock().unwrap().thread_requests);
    assert_eq!((asked[0].participated, asked[0].limit, asked[0].from), (true, 3, Some(4)));
    for query in ["?include=some", "?limit=0", "?limit=-1", "?from=x"] {
        assert_error(&world.get("alice", &format!("{base}{query}")).await, 400, "M_INVALID_PARAM");
    }
    assert_error(&world.get("carol", &base).await, 403, "M_FORBIDDEN");
    assert_error(&world.get("alice", "/_matrix/client/v1/rooms/!none:x/threads").await, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn ignored_users_are_not_heard() {
    let world = world();
    {
        let mut known = world.known.lock().unwrap();
        known.ignored.insert("@bob:example.org".to_owned(), vec!["@alice:example.org".to_owned()]);
        known.related = vec![message(5)];
    }
    assert_error(&world.get("bob", &format!("/rooms/{ROOM}/event/$event5")).await, 404, "M_NOT_FOUND");
    assert_error(&world.get("bob", &format!("/rooms/{ROOM}/context/$event5")).await, 404, "M_NOT_FOUND");
    assert_ok(&world.get("bob", &format!("/rooms/{ROOM}/messages?dir=b")).await);
    let asked = std::mem::take(&mut world.known.lock().unwrap().timeline_requests);
    assert_eq!(asked[0].filter.as_ref().unwrap().ignored_users, ["@alice:example.org"]);
    // What others said in their threads is.
    let threads = world.get("bob", &format!("/_matrix/client/v1/rooms/{ROOM}/threads")).await.1;
    assert_eq!(threads["chunk"][0]["content"], json!({}));
    assert_eq!(threads["chunk"][0]["event_id"], "$event5");
}

#[tokio::test]
async fn filters_by_relations_are_passed_on() {
    let world = world();
    let filter =
        r#"{"related_by_rel_types":["m.thread"],"related_by_senders":["@bob:example.org"],"limit":3}"#;
    let filter: String = filter.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_ok(&world.get("alice", &format!("/rooms/{ROOM}/messages?dir=b&filter={filter}")).await);
    assert_ok(&world.get("alice", &format!("/rooms/{ROOM}/context/$event5?filter={filter}")).await);
    let asked = std::mem::take(&mut world.known.lock().unwrap().timeline_requests);
    assert_eq!(asked.len(), 3);
    for request in asked {
        let filter = request.filter.unwrap();
        assert_eq!(filter.related_by_rel_types, ["m.thread"]);
        assert_eq!(filter.related_by_senders, ["@bob:example.org"]);
    }
}

#[tokio::test]
async fn relations_of_messages_are_judged_by_the_room_server() {
    let world = world();
    let relation =
        |kind: &str| json!({ "m.relates_to": { "rel_type": kind, "event_id": "$event5", "key": "👍" } });
    let send = |txn: &str| format!("/rooms/{ROOM}/send/m.reaction/{txn}");
    world.refuse_next(ErrorReason::DuplicateAnnotation);
    let again = world.put("alice", &send("1"), relation("m.annotation")).await;
    assert_error(&again, 400, "M_DUPLICATE_ANNOTATION");
    world.refuse_next(ErrorReason::InvalidRelation);
    assert_error(&world.put("alice", &send("2"), relation("m.thread")).await, 400, "M_UNKNOWN");
    assert_ok(&world.put("alice", &send("3"), relation("m.annotation")).await);
    assert!(world.known.lock().unwrap().relation_requests.is_empty(), "nothing is asked before");
}

#[tokio::test]
async fn events_are_found_by_time() {
    let world = world();
    let base = format!("/_matrix/client/v1/rooms/{ROOM}/timestamp_to_event");
    let found = world.get("alice", &format!("{base}?ts=7&dir=f")).await;
    assert_eq!(found.1, json!({ "event_id": "$found", "origin_server_ts": 7 }));
    assert_error(&world.get("alice", &format!("{base}?ts=2000&dir=b")).await, 404, "M_NOT_FOUND");
    assert_error(&world.get("carol", &format!("{base}?ts=7&dir=b")).await, 403, "M_FORBIDDEN");
    let unknown = "/_matrix/client/v1/rooms/!none:x/timestamp_to_event?ts=7&dir=b";
    assert_error(&world.get("alice", unknown).await, 403, "M_FORBIDDEN");
    for (query, errcode) in [
        ("?ts=7", "M_MISSING_PARAM"),
        ("?dir=f", "M_MISSING_PARAM"),
        ("?ts=x&dir=f", "M_INVALID_PARAM"),
        ("?ts=7&dir=x", "M_INVALID_PARAM"),
    ] {
        assert_error(&world.get("alice", &format!("{base}{query}")).await, 400, errcode);
    }
}
