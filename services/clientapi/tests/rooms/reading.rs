use plexus_proto::room::v1::{Direction, ListTimelineResponse};
use serde_json::{Value, json};

use crate::fakes::{ROOM, World, assert_error, assert_ok, event};

#[tokio::test]
async fn state_is_read_in_both_formats() {
    let world = World::with_room(&[("alice", "join")]);
    world.add_state(ROOM, "m.room.name", "", json!({ "name": "Pub" }));
    let name = format!("/rooms/{ROOM}/state/m.room.name");
    assert_eq!(world.get("alice", &name).await.1, json!({ "name": "Pub" }));
    assert_eq!(world.get("alice", &format!("{name}/?format=content")).await.1, json!({ "name": "Pub" }));
    let full = world.get("alice", &format!("{name}?format=event")).await.1;
    assert_eq!(
        (&full["event_id"], &full["room_id"], &full["content"]["name"]),
        (&json!("$event1"), &json!(ROOM), &json!("Pub"))
    );
    assert!(full.get("auth_events").is_none());
    let all = world.get("alice", &format!("/rooms/{ROOM}/state")).await.1;
    assert_eq!(all.as_array().unwrap().len(), 1);

    assert_error(&world.get("alice", &format!("{name}/other")).await, 404, "M_NOT_FOUND");
    assert_error(&world.get("alice", &format!("{name}?format=x")).await, 400, "M_INVALID_PARAM");
    for path in
        [name.as_str(), "/rooms/!room:example.org/state", "/rooms/!none:x/state", "/rooms/!none:x/state/m.x"]
    {
        assert_error(&world.get("bob", path).await, 403, "M_FORBIDDEN");
    }
}

#[tokio::test]
async fn large_states_are_handed_on_as_they_come() {
    let world = World::with_room(&[("alice", "join")]);
    for number in 0..50 {
        let content = json!({ "text": "x".repeat(50_000), "number": number });
        world.add_state(ROOM, "m.x", &number.to_string(), content);
        world.add_state(
            ROOM,
            "m.room.member",
            &format!("@u{number}:x"),
            json!({ "membership": "join", "reason": "y".repeat(50_000) }),
        );
    }
    let all = world.get("alice", &format!("/rooms/{ROOM}/state")).await;
    assert_ok(&all);
    assert_eq!(all.1.as_array().unwrap().len(), 100);
    let members = world.get("alice", &format!("/rooms/{ROOM}/members")).await;
    assert_ok(&members);
    assert_eq!(members.1["chunk"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn events_show_their_transaction_to_the_device_that_sent_them() {
    let world = World::with_room(&[("alice", "join"), ("bob", "join")]);
    let message = event(ROOM, "m.room.message", None, json!({ "body": "hi" }), 7);
    world.known.lock().unwrap().events.insert("$event7".to_owned(), message);
    let path = format!("/rooms/{ROOM}/event/$event7");
    assert_eq!(world.get("alice", &path).await.1["unsigned"]["transaction_id"], "txn");
    let seen_by_bob = world.get("bob", &path).await;
    assert_ok(&seen_by_bob);
    assert_eq!(seen_by_bob.1["unsigned"].get("transaction_id"), None);
    assert_error(&world.get("carol", &path).await, 404, "M_NOT_FOUND");
    assert_error(&world.get("alice", &format!("/rooms/{ROOM}/event/$none")).await, 404, "M_NOT_FOUND");
}

fn page(seqs: &[u64], next: Option<i64>) -> ListTimelineResponse {
    let events =
        seqs.iter().map(|seq| event(ROOM, "m.room.message", None, json!({ "n": seq }), *seq)).collect();
    ListTimelineResponse { events, next, start: 9 }
}

#[tokio::test]
async fn messages_are_paged_on_before_the_timeline() {
    let world = World::with_room(&[("alice", "join")]);
    world.known.lock().unwrap().timeline = ListTimelineResponse { start: 0, ..page(&[], Some(-2)) };
    let answer = world.get("alice", &format!("/rooms/{ROOM}/messages?dir=b&from=t1_0&limit=2")).await;
    assert_ok(&answer);
    assert_eq!((&answer.1["start"], &answer.1["end"]), (&json!("t1_0"), &json!("t1_-2")));
    assert_ok(&world.get("alice", &format!("/rooms/{ROOM}/messages?dir=b&from=t1_-2")).await);
    let asked: Vec<_> =
        world.known.lock().unwrap().timeline_requests.iter().map(|request| request.from).collect();
    assert_eq!(asked, [Some(0), Some(-2)]);
}

#[tokio::test]
async fn messages_are_paged() {
    let world = World::with_room(&[("alice", "join")]);
    world.known.lock().unwrap().timeline = page(&[9, 8], Some(7));
    let answer = world.get("alice", &format!("/rooms/{ROOM}/messages?dir=b&limit=2")).await;
    assert_ok(&answer);
    assert_eq!((&answer.1["start"], &answer.1["end"]), (&json!("t1_9"), &json!("t1_7")));
    assert_eq!(answer.1["chunk"][0]["event_id"], "$event9");
    assert_eq!(answer.1["chunk"][1]["content"]["n"], 8);
    assert_eq!(answer.1.get("state"), None);

    world.known.lock().unwrap().timeline = page(&[], None);
    let filter = r#"{"types":["m.*"],"not_senders":["@bob:example.org"],"contains_url":false,"limit":5}"#;
    let filter: String = form_urlencoded(filter);
    let path = format!("/rooms/{ROOM}/messages?dir=f&from=t1_7&to=t1_9&limit=100000&filter={filter}");
    let answer = world.get("alice", &path).await;
    assert_eq!(answer.1, json!({ "start": "t1_7", "chunk": [] }));
    let requests = std::mem::take(&mut world.known.lock().unwrap().timeline_requests);
    let (first, second) = (&requests[0], &requests[1]);
    assert_eq!((first.direction(), first.from, first.to, first.limit), (Direction::Backward, None, None, 2));
    assert_eq!(
        (second.direction(), second.from, second.to, second.limit),
        (Direction::Forward, Some(7), Some(9), 5)
    );
    let filter = second.filter.clone().unwrap();
    assert_eq!((filter.types, filter.has_types, filter.has_senders), (vec!["m.*".to_owned()], true, false));
    assert_eq!((filter.not_senders, filter.contains_url), (vec!["@bob:example.org".to_owned()], Some(false)));
}

#[tokio::test]
async fn messages_are_read_forward_unless_a_direction_is_given() {
    let world = World::with_room(&[("alice", "join")]);
    world.known.lock().unwrap().timeline = page(&[1, 2], None);
    let messages = format!("/rooms/{ROOM}/messages");
    assert_ok(&world.get("alice", &messages).await);
    let requests = std::mem::take(&mut world.known.lock().unwrap().timeline_requests);
    assert_eq!((requests[0].direction(), requests[0].limit), (Direction::Forward, 10));
    assert_error(&world.get("bob", &messages).await, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn wrong_paging_is_refused() {
    let world = World::with_room(&[("alice", "join")]);
    let cases = [
        ("?dir=x", "M_INVALID_PARAM"),
        ("?dir=b&from=nothing", "M_INVALID_PARAM"),
        ("?dir=b&to=s2_nothing", "M_INVALID_PARAM"),
        ("?dir=b&limit=x", "M_INVALID_PARAM"),
        ("?dir=b&filter=x", "M_INVALID_PARAM"),
    ];
    for (query, errcode) in cases {
        let answer = world.get("alice", &format!("/rooms/{ROOM}/messages{query}")).await;
        assert_error(&answer, 400, errcode);
    }
    for room in [ROOM, "!none:x"] {
        let answer = world.get("bob", &format!("/rooms/{room}/messages?dir=b")).await;
        assert_error(&answer, 403, "M_FORBIDDEN");
    }
}

#[tokio::test]
async fn lazy_members_are_those_of_the_senders() {
    let world = World::with_room(&[("alice", "join")]);
    world.add_state(ROOM, "m.room.member", "@alice:example.org", json!({ "membership": "join" }));
    world.add_state(ROOM, "m.room.member", "@bob:example.org", json!({ "membership": "join" }));
    world.known.lock().unwrap().timeline = page(&[9, 8], None);
    let filter = form_urlencoded(r#"{"lazy_load_members":true}"#);
    let answer = world.get("alice", &format!("/rooms/{ROOM}/messages?dir=b&filter={filter}")).await;
    assert_ok(&answer);
    let state = answer.1["state"].as_array().unwrap();
    assert_eq!(
        state.iter().map(|event| &event["state_key"]).collect::<Vec<_>>(),
        [&json!("@alice:example.org")]
    );
}

#[tokio::test]
async fn context_lies_around_the_event() {
    let world = World::with_room(&[("alice", "join")]);
    world.add_state(ROOM, "m.room.name", "", json!({ "name": "Pub" }));
    let middle = event(ROOM, "m.room.message", None, json!({ "n": 5 }), 5);
    world.known.lock().unwrap().events.insert("$event5".to_owned(), middle);
    world.known.lock().unwrap().timeline = page(&[], None);
    let answer = world.get("alice", &format!("/rooms/{ROOM}/context/$event5?limit=3")).await;
    assert_ok(&answer);
    assert_eq!(answer.1["event"]["event_id"], "$event5");
    assert_eq!(answer.1["state"][0]["type"], "m.room.name");
    let requests = std::mem::take(&mut world.known.lock().unwrap().timeline_requests);
    let asked: Vec<_> = requests.iter().map(|asked| (asked.direction(), asked.from, asked.limit)).collect();
    assert_eq!(asked, [(Direction::Backward, Some(4), 2), (Direction::Forward, Some(5), 1)]);
    assert_eq!((&answer.1["start"], &answer.1["end"]), (&json!("t1_4"), &json!("t1_5")));
    assert_error(&world.get("alice", &format!("/rooms/{ROOM}/context/$none")).await, 404, "M_NOT_FOUND");
    let alone = world.get("alice", &format!("/rooms/{ROOM}/context/$event5?limit=0")).await;
    assert_ok(&alone);
    assert!(world.known.lock().unwrap().timeline_requests.is_empty());
    assert_eq!(alone.1.get("events_before"), None::<&Value>);
}

#[tokio::test]
async fn the_filter_of_context_chooses_its_state() {
    let world = World::with_room(&[("alice", "join"), ("bob", "join")]);
    world.add_state(ROOM, "m.room.name", "", json!({ "name": "Pub" }));
    world.add_state(ROOM, "m.room.topic", "", json!({ "topic": "Beer" }));
    for user in ["@alice:example.org", "@bob:example.org"] {
        world.add_state(ROOM, "m.room.member", user, json!({ "membership": "join" }));
    }
    let middle = event(ROOM, "m.room.message", None, json!({ "n": 5 }), 5);
    world.known.lock().unwrap().events.insert("$event5".to_owned(), middle);
    let state = async |filter: Value| {
        world.known.lock().unwrap().timeline = page(&[], None);
        let filter = form_urlencoded(&filter.to_string());
        let answer = world.get("alice", &format!("/rooms/{ROOM}/context/$event5?filter={filter}")).await;
        assert_ok(&answer);
        let state = answer.1["state"].as_array().cloned().unwrap_or_default();
        let key = |event: &Value| format!("{}|{}", event["type"], event["state_key"]).replace('"', "");
        let mut keys: Vec<String> = state.iter().map(key).collect();
        keys.sort();
        keys
    };
    let (alice, bob) = ("m.room.member|@alice:example.org", "m.room.member|@bob:example.org");
    let (name, topic) = ("m.room.name|", "m.room.topic|");
    assert_eq!(state(json!({})).await, [alice, bob, name, topic]);
    assert_eq!(state(json!({ "lazy_load_members": true })).await, [alice, name, topic]);
    assert_eq!(state(json!({ "types": ["m.room.name"] })).await, [name]);
    assert_eq!(state(json!({ "not_types": ["m.room.*"] })).await, Vec::<String>::new());
    assert_eq!(state(json!({ "rooms": ["!other:example.org"] })).await, Vec::<String>::new());
}

fn form_urlencoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
