//! [`GET /sync`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync)

pub(super) mod filters;
pub(super) mod members;
pub(super) mod rooms;
pub(super) mod sessions;
pub(super) mod sliding;
pub(super) mod state;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wait::eventually,
    wire::Json as _,
};

tests![
    the_first_answer_has_the_rooms,
    the_first_answer_has_state_and_timeline,
    nothing_new_is_nothing,
    an_event_comes_once,
    events_come_in_order,
    the_answer_comes_as_soon_as_there_is_news,
    an_empty_answer_comes_after_the_timeout,
    a_token_may_be_used_twice,
    a_malformed_token_is_refused,
    a_timeout_that_is_not_a_number_is_refused,
    a_filter_in_the_query_is_used,
    a_kept_filter_is_used,
    an_unknown_filter_is_refused,
    a_malformed_filter_is_refused,
    the_limit_of_the_timeline_is_kept,
    a_gap_is_limited_and_can_be_filled,
    the_state_of_a_gap_is_told,
    all_state_comes_if_wanted,
    a_filter_chooses_rooms,
    a_filter_leaves_out_rooms,
    a_filter_chooses_types_of_state,
    a_filter_chooses_senders,
    a_filter_chooses_fields,
    a_filter_chooses_account_data,
    the_format_for_federation_has_the_whole_event,
    members_are_told_lazily,
    the_summary_has_counts_and_heroes,
    rooms_that_one_left_come_only_if_wanted,
    a_new_room_comes_with_its_state,
    an_invite_comes_once,
    a_join_after_an_invite_takes_its_place,
    events_have_no_room_id_in_sync,
    an_event_that_was_sent_before_is_not_new,
    each_device_has_its_own_position,
    state_before_the_timeline_does_not_repeat_it,
    somebody_elses_room_is_not_told,
    two_rooms_come_in_one_answer,
    a_state_change_comes_in_the_timeline,
    words_that_mean_nothing_are_refused,
];

fn limit(limit: u64) -> Value {
    json!({ "room": { "timeline": { "limit": limit } } })
}

fn ids(events: &[&Value]) -> Vec<String> {
    events.iter().map(|event| event.text("/event_id")).collect()
}

/// Says so many things, and waits until they are heard.
async fn says(alice: &User, room: &Room, count: usize) -> Vec<String> {
    let since = alice.sync_token().await;
    let mut events = Vec::new();
    for number in 0..count {
        events.push(alice.says(room, &format!("message {number}")).await);
    }
    if let Some(last) = events.last() {
        // A gap may hide all but the latest.
        alice.hears(&since, room, last).await;
    }
    events
}

async fn the_first_answer_has_the_rooms(server: Server) {
    let (alice, bob) = server.pair().await;
    let joined = alice.creates_room().member(&bob).await;
    let invited = alice.creates_room().with("invite", json!([bob.id])).await;
    let answer = bob.syncs().await.ok();
    assert!(sync::section(&answer, "join", &joined).is_some(), "{answer}");
    assert!(sync::section(&answer, "invite", &invited).is_some(), "{answer}");
    assert!(sync::section(&answer, "join", &invited).is_none(), "{answer}");
    assert!(!answer.text("/next_batch").is_empty());
}

async fn the_first_answer_has_state_and_timeline(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("name", json!("Tea")).await;
    let event = alice.says(&room, "hello").await;
    let answer = eventually(
        "the last event is told",
        || async { alice.syncs().await.ok() },
        |answer| ids(&sync::timeline(answer, &room)).last() == Some(&event),
    )
    .await;
    let mut events = sync::state(&answer, &room);
    events.extend(sync::timeline(&answer, &room));
    for event_type in ["m.room.create", "m.room.member", "m.room.power_levels", "m.room.name"] {
        assert!(events.iter().any(|event| event["type"] == event_type), "no {event_type}: {answer}");
    }
    assert!(answer["rooms"]["join"][&room.0]["timeline"]["prev_batch"].is_string(), "{answer}");
}

async fn nothing_new_is_nothing(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    says(&alice, &room, 1).await;
    let since = alice.sync_token().await;
    let answer = alice.syncs_since(&since).await.ok();
    assert!(sync::timeline(&answer, &room).is_empty(), "{answer}");
    assert!(!answer.text("/next_batch").is_empty());
}

async fn an_event_comes_once(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let mut since = alice.sync_token().await;
    let event = alice.says(&room, "once").await;
    let mut found = 0;
    for _ in 0..4 {
        let answer = alice.syncs_since(&since).query("timeout", 300).await.ok();
        found += ids(&sync::timeline(&answer, &room)).iter().filter(|id| **id == event).count();
        since = answer.text("/next_batch");
    }
    assert_eq!(found, 1);
}

async fn events_come_in_order(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let mut since = bob.sync_token().await;
    let mut sent = Vec::new();
    for number in 0..8 {
        sent.push(alice.says(&room, &format!("message {number}")).await);
    }
    let mut heard = Vec::new();
    let end = Instant::now() + Duration::from_secs(10);
    while heard.len() < sent.len() && Instant::now() < end {
        let answer = bob.syncs_since(&since).query("timeout", 1000).await.ok();
        let mut new = ids(&sync::timeline(&answer, &room));
        new.retain(|id| sent.contains(id));
        heard.append(&mut new);
        since = answer.text("/next_batch");
    }
    assert_eq!(heard, sent);
}

async fn the_answer_comes_as_soon_as_there_is_news(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = bob.sync_token().await;
    // Whatever is left of setting up.
    let since = bob.syncs_since(&since).query("timeout", 300).await.ok().text("/next_batch");
    let waits = async {
        let mut since = since;
        loop {
            let answer = bob.syncs_since(&since).query("timeout", 20_000).await.ok();
            since = answer.text("/next_batch");
            let heard = ids(&sync::timeline(&answer, &room));
            if !heard.is_empty() {
                return heard;
            }
        }
    };
    let speaks = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        alice.says(&room, "news").await
    };
    let began = Instant::now();
    let (heard, event) = futures::join!(waits, speaks);
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
    assert_eq!(heard, [event]);
}

async fn an_empty_answer_comes_after_the_timeout(server: Server) {
    let alice = server.user("alice").await;
    let since = alice.sync_token().await;
    let since = alice.syncs_since(&since).query("timeout", 300).await.ok().text("/next_batch");
    let began = Instant::now();
    let answer = alice.syncs_since(&since).query("timeout", 1500).await.ok();
    assert!(began.elapsed() >= Duration::from_millis(1000), "it took {:?}", began.elapsed());
    assert!(answer["rooms"]["join"].as_object().is_none_or(serde_json::Map::is_empty), "{answer}");
}

async fn a_token_may_be_used_twice(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let since = alice.sync_token().await;
    let event = alice.says(&room, "hello").await;
    alice.hears(&since, &room, &event).await;
    let answer = alice.syncs_since(&since).await.ok();
    assert_eq!(ids(&sync::timeline(&answer, &room)), [event]);
}

async fn a_malformed_token_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.syncs_since("nonsense").await;
    assert_eq!(answer.status, 400, "{answer}");
    assert!(!answer.errcode().is_empty(), "{answer}");
}

async fn a_timeout_that_is_not_a_number_is_refused(server: Server) {
    let alice = server.user("alice").await;
    alice.syncs().query("timeout", "long").await.refused(400, "M_INVALID_PARAM");
}

async fn a_filter_in_the_query_is_used(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let events = says(&alice, &room, 3).await;
    let answer = alice.syncs().query("filter", limit(2)).await.ok();
    assert_eq!(ids(&sync::timeline(&answer, &room)), events[1..]);
}

async fn a_kept_filter_is_used(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let events = says(&alice, &room, 3).await;
    let filter = alice.post(path!("/user/{}/filter", alice.id), limit(1)).await.ok().text("/filter_id");
    let answer = alice.syncs().query("filter", filter).await.ok();
    assert_eq!(ids(&sync::timeline(&answer, &room)), events[2..]);
}

async fn an_unknown_filter_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.syncs().query("filter", "987654").await;
    assert!([400, 404].contains(&answer.status), "{answer}");
    assert!(!answer.errcode().is_empty(), "{answer}");
}

async fn a_malformed_filter_is_refused(server: Server) {
    let alice = server.user("alice").await;
    for filter in ["{nonsense", r#"{"room":{"timeline":{"limit":"many"}}}"#, r#"{"room":[]}"#] {
        let answer = alice.syncs().query("filter", filter).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
}

async fn the_limit_of_the_timeline_is_kept(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let events = says(&alice, &room, 6).await;
    let answer = alice.syncs().query("filter", limit(4)).await.ok();
    assert_eq!(ids(&sync::timeline(&answer, &room)), events[2..]);
    assert_eq!(answer["rooms"]["join"][&room.0]["timeline"]["limited"], true);
}

async fn a_gap_is_limited_and_can_be_filled(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let since = alice.sync_token().await;
    let events = says(&alice, &room, 6).await;
    let answer = alice.syncs_since(&since).query("filter", limit(2)).await.ok();
    assert_eq!(ids(&sync::timeline(&answer, &room)), events[4..]);
    let timeline = &answer["rooms"]["join"][&room.0]["timeline"];
    assert_eq!(timeline["limited"], true);
    let page = alice.reads_messages(&room).query("from", timeline.text("/prev_batch"));
    let page = page.query("to", since).query("limit", 20).await.ok();
    let mut filled: Vec<_> = page.list("/chunk").iter().map(|event| event.text("/event_id")).collect();
    filled.reverse();
    // The token may be from before the last events of the room's creation.
    assert!(filled.ends_with(&events[..4]), "{filled:?} does not end in {:?}", &events[..4]);
}

async fn the_state_of_a_gap_is_told(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let since = alice.sync_token().await;
    alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "in the gap" })).await.ok();
    says(&alice, &room, 4).await;
    let answer = alice.syncs_since(&since).query("filter", limit(2)).await.ok();
    let state = sync::state(&answer, &room);
    let topic = state.iter().find(|event| event["type"] == "m.room.topic");
    assert_eq!(topic.expect("no topic")["content"]["topic"], "in the gap");
    // What did not change since is not told again.
    assert!(!state.iter().any(|event| event["type"] == "m.room.create"), "{answer}");
}

async fn all_state_comes_if_wanted(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("name", json!("Tea")).await;
    says(&alice, &room, 1).await;
    let since = alice.sync_token().await;
    let answer = alice.syncs_since(&since).query("full_state", true).await.ok();
    let state = sync::state(&answer, &room);
    for event_type in ["m.room.create", "m.room.member", "m.room.name", "m.room.join_rules"] {
        assert!(state.iter().any(|event| event["type"] == event_type), "no {event_type}: {answer}");
    }
}

async fn a_filter_chooses_rooms(server: Server) {
    let alice = server.user("alice").await;
    let (one, two) = (alice.creates_room().await, alice.creates_room().await);
    let filter = json!({ "room": { "rooms": [one.0] } });
    let answer = alice.syncs().query("filter", filter).await.ok();
    assert!(sync::section(&answer, "join", &one).is_some(), "{answer}");
    assert!(sync::section(&answer, "join", &two).is_none(), "{answer}");
}

async fn a_filter_leaves_out_rooms(server: Server) {
    let alice = server.user("alice").await;
    let (one, two) = (alice.creates_room().await, alice.creates_room().await);
    let filter = json!({ "room": { "rooms": [one.0, two.0], "not_rooms": [one.0] } });
    let answer = alice.syncs().query("filter", filter).await.ok();
    assert!(sync::section(&answer, "join", &one).is_none(), "{answer}");
    assert!(sync::section(&answer, "join", &two).is_some(), "{answer}");
}

async fn a_filter_chooses_types_of_state(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().with("name", json!("Tea")).await;
    let filter = json!({ "room": {
        "timeline": { "limit": 0, "types": [] },
        "state": { "types": ["m.room.name"] },
    } });
    let answer = alice.syncs().query("filter", filter).await.ok();
    let types: Vec<_> = sync::state(&answer, &room).iter().map(|event| event.text("/type")).collect();
    assert_eq!(types, ["m.room.name"]);
}

async fn a_filter_chooses_senders(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    let event = bob.says(&room, "from bob").await;
    let last = alice.says(&room, "from alice").await;
    alice.hears(&since, &room, &last).await;
    let filter = json!({ "room": { "timeline": { "senders": [bob.id] } } });
    let answer = alice.syncs_since(&since).query("filter", filter).await.ok();
    let heard = sync::timeline(&answer, &room);
    assert!(heard.iter().all(|event| event["sender"] == bob.id), "{answer}");
    assert_eq!(ids(&heard).last(), Some(&event));
}

async fn a_filter_chooses_fields(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    says(&alice, &room, 1).await;
    let filter = json!({
        "event_fields": ["content.body", "type"],
        "room": { "timeline": { "limit": 1 } },
    });
    let answer = alice.syncs().query("filter", filter).await.ok();
    let timeline = sync::timeline(&answer, &room);
    assert_eq!(timeline[0]["content"], json!({ "body": "message 0" }));
    assert!(!timeline[0].has("/origin_server_ts"), "{answer}");
}

async fn a_filter_chooses_account_data(server: Server) {
    let alice = server.user("alice").await;
    for kind in ["org.example.tea", "org.example.coffee"] {
        alice.put(path!("/user/{}/account_data/{}", alice.id, kind), json!({})).await.ok();
    }
    let filter = json!({ "account_data": { "types": ["org.example.tea"] } });
    let answer = alice.syncs().query("filter", filter).await.ok();
    let found: Vec<_> = answer.list("/account_data/events").iter().map(|event| event.text("/type")).collect();
    assert_eq!(found, ["org.example.tea"]);
}

async fn the_format_for_federation_has_the_whole_event(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    says(&alice, &room, 1).await;
    let filter = json!({ "event_format": "federation", "room": { "timeline": { "limit": 1 } } });
    let answer = alice.syncs().query("filter", filter).await.ok();
    let timeline = sync::timeline(&answer, &room);
    for field in ["auth_events", "prev_events", "depth", "hashes", "signatures"] {
        assert!(timeline[0].get(field).is_some(), "no {field}: {answer}");
    }
}

async fn members_are_told_lazily(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    // Without a name, the members that stand for it are told.
    let room = alice.creates_room().with("name", json!("Tea")).member(&bob).member(&carl).await;
    let since = alice.sync_token().await;
    let event = bob.says(&room, "from bob").await;
    alice.hears(&since, &room, &event).await;
    let filter = json!({ "room": {
        "state": { "lazy_load_members": true }, "timeline": { "limit": 1 },
    } });
    let answer = alice.syncs().query("filter", filter).await.ok();
    let state = sync::state(&answer, &room);
    let members: Vec<_> = state.iter().filter(|event| event["type"] == "m.room.member").collect();
    assert!(members.iter().any(|member| member["state_key"] == bob.id), "{answer}");
    assert!(!members.iter().any(|member| member["state_key"] == carl.id), "{answer}");
}

async fn the_summary_has_counts_and_heroes(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).await;
    alice.invites(&carl, &room).await.ok();
    // A server may leave it out where members are not told lazily.
    let filter = json!({ "room": { "state": { "lazy_load_members": true } } });
    let answer = alice.syncs().query("filter", filter).await.ok();
    let summary = &answer["rooms"]["join"][&room.0]["summary"];
    assert_eq!(summary["m.joined_member_count"], 2, "{summary}");
    assert_eq!(summary["m.invited_member_count"], 1, "{summary}");
    let mut heroes = summary.list("/m.heroes").clone();
    heroes.sort_by_key(ToString::to_string);
    let mut wanted = vec![json!(bob.id), json!(carl.id)];
    wanted.sort_by_key(ToString::to_string);
    assert_eq!(heroes, wanted);
}

async fn rooms_that_one_left_come_only_if_wanted(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.leaves(&room).await.ok();
    let answer = bob.syncs().await.ok();
    assert!(sync::section(&answer, "leave", &room).is_none(), "{answer}");
    let filter = json!({ "room": { "include_leave": true } });
    let answer = bob.syncs().query("filter", filter).await.ok();
    assert!(sync::section(&answer, "leave", &room).is_some(), "{answer}");
}

async fn a_new_room_comes_with_its_state(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().with("name", json!("Tea")).await;
    says(&alice, &room, 12).await;
    let since = bob.sync_token().await;
    bob.joins(&room).await.ok();
    let is_there = |answer: &Value| sync::section(answer, "join", &room).is_some();
    let answer = bob.syncs_until(&since, "the room", is_there).await;
    let state = sync::state(&answer, &room);
    for event_type in ["m.room.create", "m.room.name", "m.room.power_levels"] {
        assert!(state.iter().any(|event| event["type"] == event_type), "no {event_type}: {answer}");
    }
}

async fn an_invite_comes_once(server: Server) {
    let (alice, bob) = server.pair().await;
    let since = bob.sync_token().await;
    let room = alice.creates_room().with("invite", json!([bob.id])).await;
    let is_there = |answer: &Value| sync::section(answer, "invite", &room).is_some();
    let answer = bob.syncs_until(&since, "the invite", is_there).await;
    let again = bob.syncs_since(&answer.text("/next_batch")).await.ok();
    assert!(!is_there(&again), "{again}");
}

async fn a_join_after_an_invite_takes_its_place(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("invite", json!([bob.id])).await;
    let since = bob.sync_token().await;
    bob.joins(&room).await.ok();
    let is_there = |answer: &Value| sync::section(answer, "join", &room).is_some();
    let answer = bob.syncs_until(&since, "the room", is_there).await;
    assert!(sync::section(&answer, "invite", &room).is_none(), "{answer}");
    let answer = bob.syncs().await.ok();
    assert!(sync::section(&answer, "invite", &room).is_none(), "{answer}");
}

async fn events_have_no_room_id_in_sync(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    says(&alice, &room, 1).await;
    let answer = alice.syncs().await.ok();
    for event in sync::timeline(&answer, &room) {
        assert!(!event.has("/room_id"), "{event}");
        for field in ["/event_id", "/type", "/sender", "/origin_server_ts", "/content"] {
            assert!(event.has(field), "no {field}: {event}");
        }
    }
}

async fn an_event_that_was_sent_before_is_not_new(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let events = says(&alice, &room, 2).await;
    let since = alice.sync_token().await;
    let event = alice.says(&room, "new").await;
    let is_there = |answer: &Value| ids(&sync::timeline(answer, &room)).contains(&event);
    let answer = alice.syncs_until(&since, "the event", is_there).await;
    assert!(!ids(&sync::timeline(&answer, &room)).iter().any(|id| events.contains(id)), "{answer}");
}

async fn each_device_has_its_own_position(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let room = alice.creates_room().await;
    let (here, there) = (alice.sync_token().await, phone.sync_token().await);
    let event = alice.says(&room, "hello").await;
    alice.hears(&here, &room, &event).await;
    phone.hears(&there, &room, &event).await;
}

async fn state_before_the_timeline_does_not_repeat_it(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.syncs().await.ok();
    let timeline = ids(&sync::timeline(&answer, &room));
    let state = ids(&sync::state(&answer, &room));
    assert!(!state.iter().any(|id| timeline.contains(id)), "{answer}");
}

async fn somebody_elses_room_is_not_told(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    says(&alice, &room, 1).await;
    let answer = bob.syncs().query("full_state", true).await.ok();
    assert!(!answer.to_string().contains(&room.0), "{answer}");
}

async fn two_rooms_come_in_one_answer(server: Server) {
    let alice = server.user("alice").await;
    let (one, two) = (alice.creates_room().await, alice.creates_room().await);
    let since = alice.sync_token().await;
    let (first, second) = (alice.says(&one, "one").await, alice.says(&two, "two").await);
    alice.hears(&since, &two, &second).await;
    let answer = alice.syncs_since(&since).await.ok();
    // The token may be from before the rooms were complete.
    assert_eq!(ids(&sync::timeline(&answer, &one)).last(), Some(&first));
    assert_eq!(ids(&sync::timeline(&answer, &two)).last(), Some(&second));
}

async fn a_state_change_comes_in_the_timeline(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let since = alice.sync_token().await;
    let answer = alice.sets_state(&room, "m.room.name", "", json!({ "name": "Tea" })).await.ok();
    let event = answer.text("/event_id");
    let is_there = |answer: &Value| ids(&sync::timeline(answer, &room)).contains(&event);
    let answer = alice.syncs_until(&since, "the event", is_there).await;
    assert!(!ids(&sync::state(&answer, &room)).contains(&event), "{answer}");
}

async fn words_that_mean_nothing_are_refused(server: Server) {
    let alice = server.user("alice").await;
    for (name, value) in [("full_state", "maybe"), ("set_presence", "asleep")] {
        alice.get("/sync").query(name, value).await.refused(400, "M_INVALID_PARAM");
    }
}
