//! Transactions, with a room server that knows a room of two servers and judges events by their types.

mod fetches;
pub(crate) mod rooms;

use std::time::Duration;

use plexus_events::{RoomRules, canonical, hash, signing::sign_event};
use plexus_log::{Ephemeral, InputRoom, Reader, StartAt, Topic, partition_of};
use plexus_proto::{
    input::v1::input_service_server::InputServiceServer,
    log::v1::{InputRoomEvent, ephemeral, input_room_event::Body as Input, room_control::Action},
    room::v1::{
        room_graph_service_server::RoomGraphServiceServer, room_query_service_server::RoomQueryServiceServer,
    },
};
use tokio::time::timeout;

use super::*;
use rooms::{DENIED, ELSEWHERE, ORIGIN, ROOM, Rooms};

struct World {
    fixture: Fixture,
    rooms: Rooms,
    key: SigningKey,
}

impl World {
    async fn new() -> Self {
        let rooms = Rooms::default();
        let fixture = Fixture::with(&json!({}), |routes| {
            routes.add_service(RoomGraphServiceServer::new(rooms.clone()));
            routes.add_service(RoomQueryServiceServer::new(rooms.clone()));
            routes.add_service(InputServiceServer::new(rooms.clone()));
        });
        rooms.follow(&fixture.log).await;
        let key = key("a", 1);
        for server in [ORIGIN, DENIED] {
            fixture.know(server, &key, HOUR, None);
        }
        Self { fixture, rooms, key }
    }

    async fn send_as(&self, origin: &str, txn_id: &str, body: &Value) -> (StatusCode, Value) {
        let uri = format!("/_matrix/federation/v1/send/{txn_id}");
        let body = body.to_string();
        let ask = Ask {
            method: Method::PUT,
            uri: &uri,
            body: &body,
            origin,
            destination: "us.test",
            key: &self.key,
        };
        let (status, answer, _) = self.fixture.ask(ask.signed()).await;
        (status, answer)
    }

    /// Sends events as the origin; returns what is answered of them.
    async fn send(&self, txn_id: &str, pdus: &[&Event]) -> Value {
        let (status, answer) = self.send_as(ORIGIN, txn_id, &transaction(pdus, &[])).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["pdus"].clone()
    }

    fn event(&self, body: &str) -> Event {
        self.event_with(body, |_| {})
    }

    /// An event of the origin, signed.
    fn event_with(&self, body: &str, change: impl FnOnce(&mut Value)) -> Event {
        let mut event = json!({
            "auth_events": [], "content": { "body": body }, "depth": 5, "origin_server_ts": now_ms(),
            "prev_events": [], "room_id": ROOM, "sender": format!("@bob:{ORIGIN}"), "type": "m.room.message",
        });
        change(&mut event);
        let rules = RoomRules::of("11").unwrap();
        let object = |event: &Value| canonical::parse_object(event.to_string().as_bytes()).unwrap();
        event["hashes"] = json!({ "sha256": hash::content_hash(&object(&event)).unwrap() });
        let mut object = object(&event);
        let sender = event["sender"].as_str().unwrap();
        let server = sender.split_once(':').unwrap().1.try_into().unwrap();
        sign_event(&mut object, server, &self.key, rules).unwrap();
        Event {
            id: hash::event_id(&object, rules).unwrap().to_string(),
            json: serde_json::from_slice(&canonical::object_to_vec(&object)).unwrap(),
        }
    }
}

struct Event {
    id: String,
    json: Value,
}

fn transaction(pdus: &[&Event], edus: &[Value]) -> Value {
    let pdus: Vec<&Value> = pdus.iter().map(|event| &event.json).collect();
    json!({ "origin": ORIGIN, "origin_server_ts": now_ms(), "pdus": pdus, "edus": edus })
}

fn typed(event_type: &'static str) -> impl FnOnce(&mut Value) {
    move |event| event["type"] = json!(event_type)
}

#[tokio::test]
async fn events_go_into_the_log_in_their_order_and_are_answered_by_their_verdicts() {
    let world = World::new().await;
    let (first, second) = (world.event("first"), world.event("second"));
    let rejected = world.event_with("", typed("test.rejected"));
    let parked = world.event_with("", typed("test.parked"));
    let answer = world.send("1", &[&first, &rejected, &second, &parked, &first]).await;
    let expected = json!({
        &first.id: {}, &second.id: {}, &parked.id: {},
        &rejected.id: { "error": "auth_events: the rules refuse it" },
    });
    assert_eq!(answer, expected);
    let written = world.rooms.events();
    assert_eq!(written, [&first, &rejected, &second, &parked].map(|event| event.id.clone()));
    assert!(world.rooms.origins().iter().all(|origin| origin == ORIGIN));
}

#[tokio::test]
async fn a_transaction_that_is_repeated_is_answered_the_same_and_written_once() {
    let world = World::new().await;
    let (event, other) = (world.event("hello"), world.event("other"));
    let body = transaction(&[&event], &[]);
    let first = world.send_as(ORIGIN, "1", &body).await;
    assert_eq!(world.send_as(ORIGIN, "1", &body).await, first);
    assert_eq!(world.rooms.events(), std::slice::from_ref(&event.id));
    // A server that begins anew gives the same ID to another transaction.
    world.send("1", &[&other]).await;
    assert_eq!(world.rooms.events(), [event.id, other.id]);
}

#[tokio::test]
async fn what_is_not_judged_in_time_is_told_so() {
    let world = World::new().await;
    let slow = world.event_with("", typed("test.slow"));
    let elsewhere = world.event_with("", |event| event["room_id"] = json!(ELSEWHERE));
    // Another room is answered all the same.
    let answer = timeout(Duration::from_secs(5), world.send("1", &[&slow, &elsewhere])).await.unwrap();
    assert_eq!(answer[&slow.id], json!({ "error": "the event has not been judged yet" }));
    assert_eq!(answer[&elsewhere.id], json!({}));
    assert!(world.rooms.events().contains(&slow.id));
}

#[tokio::test]
async fn events_that_do_not_pass_are_told_so_and_written_nowhere() {
    let world = World::new().await;
    let good = world.event("good");
    let mut unsigned = world.event("not signed");
    unsigned.json["signatures"] = json!({});
    let mut forged = world.event("forged");
    forged.json["signatures"][ORIGIN]["ed25519:a"] = json!("AAAA");
    let own = world.event_with("", |event| event["sender"] = json!("@alice:us.test"));
    let unknown_key = world.event_with("", |event| event["sender"] = json!("@carol:192.0.2.77"));
    let mut deep = world.event("deep");
    deep.json["depth"] = json!(-1);
    let unknown_room = world.event_with("", |event| event["room_id"] = json!("!unknown:us.test"));
    let left_room = world.event_with("", |event| event["room_id"] = json!("!left:us.test"));
    let bad = [&unsigned, &forged, &own, &unknown_key, &deep, &unknown_room, &left_room];
    let mut all = bad.to_vec();
    all.push(&good);
    let answer = world.send("1", &all).await;
    assert_eq!(answer[&good.id], json!({}));
    for (what, event) in [("unsigned", &unsigned), ("forged", &forged), ("own", &own)] {
        assert!(answer[&event.id]["error"].is_string(), "{what}: {answer}");
    }
    assert!(answer[&unknown_key.id]["error"].as_str().unwrap().contains("no key"), "{answer}");
    assert!(answer[&left_room.id]["error"].is_string(), "{answer}");
    // Nobody knows the ID of an event whose room version is not known.
    assert!(answer.get(&unknown_room.id).is_none(), "{answer}");
    assert_eq!(world.rooms.events(), [good.id]);
}

#[tokio::test]
async fn a_changed_event_comes_in_redacted() {
    let world = World::new().await;
    let mut event = world.event("as it was signed");
    event.json["content"]["body"] = json!("as somebody would have it");
    assert_eq!(world.send("1", &[&event]).await[&event.id], json!({}));
    let written = world.rooms.written();
    let Some(Input::Pdus(batch)) = &written[0].body else { panic!("{written:?}") };
    let stored: Value = serde_json::from_slice(&batch.pdus[0].json).unwrap();
    assert_eq!(stored["content"], json!({}));
}

#[tokio::test]
async fn the_acl_of_the_room_is_asked_about_the_sending_server() {
    let world = World::new().await;
    let event = world.event("relayed");
    let mut body = transaction(&[&event], &[]);
    body["origin"] = json!(DENIED);
    let (status, answer) = world.send_as(DENIED, "1", &body).await;
    assert_eq!(status, StatusCode::OK);
    assert!(answer["pdus"][&event.id]["error"].as_str().unwrap().contains("ACL"), "{answer}");
    assert!(world.rooms.written().is_empty());
}

#[tokio::test]
async fn transactions_that_are_none_are_refused_as_a_whole() {
    let world = World::new().await;
    let event = world.event("hello");
    let mut other = transaction(&[&event], &[]);
    other["origin"] = json!("other.test");
    for (what, body, status) in [
        ("51 events", transaction(&vec![&event; 51], &[]), StatusCode::BAD_REQUEST),
        ("101 EDUs", transaction(&[], &vec![json!({}); 101]), StatusCode::BAD_REQUEST),
        ("no events", json!({ "origin": ORIGIN, "origin_server_ts": 1 }), StatusCode::BAD_REQUEST),
        ("another server's", other, StatusCode::FORBIDDEN),
    ] {
        assert_eq!(world.send_as(ORIGIN, "1", &body).await.0, status, "{what}");
    }
    assert!(world.rooms.written().is_empty());
    // Fifty are a transaction; a repeated event counts once.
    let answer = world.send("2", &vec![&event; 50]).await;
    assert_eq!(answer, json!({ &event.id: {} }));
}

#[tokio::test]
async fn large_events_take_several_records() {
    let world = World::new().await;
    let events: Vec<Event> = (0..40).map(|_| world.event(&"x".repeat(60_000))).collect();
    let all: Vec<&Event> = events.iter().collect();
    let answer = world.send("1", &all).await;
    assert!(world.rooms.written().len() > 2);
    assert_eq!(world.rooms.events(), events.iter().map(|event| event.id.clone()).collect::<Vec<_>>());
    assert_eq!(answer.as_object().unwrap().len(), 40);
}

#[tokio::test]
async fn a_server_has_one_transaction_under_way_and_others_do_not_wait() {
    let world = World::new().await;
    let slow = world.event_with("", typed("test.slow"));
    let next = world.event("next");
    let (first, second) = (transaction(&[&slow], &[]), transaction(&[&next], &[]));
    let (first, second) =
        tokio::join!(world.send_as(ORIGIN, "1", &first), world.send_as(ORIGIN, "2", &second));
    assert_eq!((first.0, second.0), (StatusCode::OK, StatusCode::OK));
    assert_eq!(world.rooms.events(), [slow.id, next.id]);
}

/// A reader of a topic in the partition of the room.
async fn read<T: Topic>(world: &World) -> Reader<T> {
    let mut reader = world.fixture.log.reader::<T>().unwrap();
    reader.assign(partition_of(ROOM), StartAt::Oldest).await.unwrap();
    reader
}

async fn next<T: Topic>(reader: &mut Reader<T>) -> Vec<T::Record> {
    let batch = timeout(Duration::from_secs(5), reader.next_batch(100)).await.unwrap().unwrap();
    batch.into_iter().map(|entry| entry.record.unwrap()).collect()
}

#[tokio::test]
async fn who_types_is_told_to_those_who_follow() {
    let world = World::new().await;
    let bob = format!("@bob:{ORIGIN}");
    let typing = |room: &str, user: &str, typing: bool| json!({ "edu_type": "m.typing", "content": { "room_id": room, "user_id": user, "typing": typing } });
    let edus = [
        json!({ "edu_type": "m.typing", "content": { "room_id": ROOM } }),
        json!({ "edu_type": "m.unknown", "content": {} }),
        json!({ "edu_type": 7 }),
        json!(null),
        typing(ROOM, "@alice:us.test", true),
        typing(ROOM, "@carol:192.0.2.3", true),
        typing(ROOM, &format!("@stranger:{ORIGIN}"), true),
        typing("!unknown:us.test", &bob, true),
        typing(ROOM, &bob, true),
        typing(ROOM, &bob, false),
    ];
    let event = world.event("beside");
    let (status, answer) = world.send_as(ORIGIN, "1", &transaction(&[&event], &edus)).await;
    assert_eq!((status, &answer["pdus"]), (StatusCode::OK, &json!({ &event.id: {} })));
    let mut reader = read::<Ephemeral>(&world).await;
    let told = next(&mut reader).await.into_iter().map(|record| {
        let Some(ephemeral::Body::Typing(typing)) = record.body else { panic!("no typing") };
        (record.room_id, typing.user_id, typing.timeout_ms > 0)
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [(ROOM.to_owned(), bob.clone(), true), (ROOM.to_owned(), bob, false)]
    );
    // A server that the room denies tells nothing.
    let mut denied = transaction(&[], &[typing(ROOM, &format!("@bob:{DENIED}"), true)]);
    denied["origin"] = json!(DENIED);
    assert_eq!(world.send_as(DENIED, "2", &denied).await.0, StatusCode::OK);
    assert_eq!(world.fixture.log.watermarks::<Ephemeral>(partition_of(ROOM)).await.unwrap().high, 2);
}

#[tokio::test]
async fn public_receipts_of_users_of_the_server_are_written_and_bounded() {
    let world = World::new().await;
    let (bob, carol) = (format!("@bob:{ORIGIN}"), "@carol:192.0.2.3");
    let receipt = |event: &str| json!({ "event_ids": [event], "data": { "ts": 1, "thread_id": "main" } });
    let receipts = json!({
        ROOM: {
            "m.read": { &bob: receipt("$a"), carol: receipt("$a"), "@alice:us.test": receipt("$a") },
            "m.read.private": { &bob: receipt("$b") },
        },
        "!unknown:us.test": { "m.read": { &bob: receipt("$a") } },
    });
    let edu = |content: Value| json!({ "edu_type": "m.receipt", "content": content });
    let edus = [edu(json!(7)), edu(json!({ ROOM: 7 })), edu(receipts)];
    assert_eq!(world.send_as(ORIGIN, "1", &transaction(&[], &edus)).await.0, StatusCode::OK);
    let mut reader = read::<InputRoom>(&world).await;
    let set = |record: InputRoomEvent| match record.body {
        Some(Input::Control(control)) => match control.action {
            Some(Action::SetReceipt(receipt)) => receipt,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let written: Vec<_> = next(&mut reader).await.into_iter().map(set).collect();
    assert_eq!(written.len(), 1, "{written:?}");
    let receipt = &written[0];
    assert_eq!(
        (
            receipt.user_id.as_str(),
            receipt.r#type.as_str(),
            receipt.event_id.as_str(),
            receipt.thread_id.as_str()
        ),
        (bob.as_str(), "m.read", "$a", "main")
    );
    let many: serde_json::Map<String, Value> =
        (0..1_000).map(|index| (format!("@u{index}:{ORIGIN}"), json!({ "event_ids": ["$a"] }))).collect();
    let edus = [edu(json!({ ROOM: { "m.read": many } }))];
    assert_eq!(world.send_as(ORIGIN, "2", &transaction(&[], &edus)).await.0, StatusCode::OK);
    assert_eq!(world.fixture.log.watermarks::<InputRoom>(partition_of(ROOM)).await.unwrap().high, 201);
}
