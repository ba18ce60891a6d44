//! Rooms in `/sync` that one comes into, leaves, is invited to or knocks on.

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wait::eventually,
    wire::Json as _,
};

tests![
    a_room_that_was_left_is_told_up_to_the_leave,
    a_room_that_was_left_is_told_with_its_state_then,
    who_is_kicked_is_told_so,
    who_is_banned_is_told_so,
    a_ban_is_told_to_a_client_that_begins,
    who_is_unbanned_is_told_so,
    an_invite_that_was_declined_is_left,
    an_invite_that_was_taken_back_is_left,
    who_was_only_invited_hears_nothing_of_the_room,
    an_invite_comes_again,
    the_create_event_is_in_the_stripped_state,
    stripped_events_have_four_fields,
    a_knock_becomes_an_invite_and_a_join,
    a_knock_that_was_turned_down_is_left,
    what_was_said_while_one_was_away_is_not_told,
    who_left_and_came_back_is_in_the_room,
    who_comes_and_goes_at_once_is_told_as_left,
    history_since_the_invite_is_told,
    forgotten_rooms_are_not_told_with_those_that_were_left,
    who_is_banned_after_leaving_hears_nothing_of_the_room_since,
    who_was_invited_in_vain_does_not_read_the_room,
];

fn all_left() -> Value {
    json!({ "room": { "include_leave": true } })
}

fn ids(room: &Value) -> Vec<String> {
    room.list("/timeline/events").iter().map(|event| event.text("/event_id")).collect()
}

/// Waits until a room is told as left, and returns what is told of it.
async fn left(user: &User, since: &str, room: &Room) -> Value {
    let is_there = |answer: &Value| sync::section(answer, "leave", room).is_some();
    let answer = user.syncs_until(since, "the room to be left", is_there).await;
    sync::section(&answer, "leave", room).cloned().unwrap_or_default()
}

/// A room of alice's with bob in it who leaves; the events are before, while and after he was there.
async fn visited(alice: &User, bob: &User, visibility: &str) -> (Room, [String; 3]) {
    let content = json!({ "history_visibility": visibility });
    let room = alice.creates_room().public().state("m.room.history_visibility", content).await;
    let before = alice.says(&room, "before").await;
    bob.joins(&room).await.ok();
    alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "while" })).await.ok();
    let during = alice.says(&room, "while").await;
    bob.leaves(&room).await.ok();
    alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "after" })).await.ok();
    let after = alice.says(&room, "after").await;
    (room, [before, during, after])
}

async fn a_room_that_was_left_is_told_up_to_the_leave(server: Server) {
    let (alice, bob) = server.pair().await;
    for (visibility, sees_before) in [("shared", true), ("joined", false)] {
        let (room, [before, during, after]) = visited(&alice, &bob, visibility).await;
        let answer = bob.syncs().query("filter", all_left()).await.ok();
        let told = sync::section(&answer, "leave", &room).expect("the room");
        let ids = ids(told);
        assert_eq!(ids.contains(&before), sees_before, "{visibility}: {told}");
        assert!(ids.contains(&during), "{told}");
        assert!(!ids.contains(&after), "{told}");
        let last = told.list("/timeline/events").last().expect("the leave");
        assert_eq!((&last["state_key"], &last["content"]["membership"]), (&json!(bob.id), &json!("leave")));
        assert!(sync::section(&answer, "join", &room).is_none(), "{answer}");
    }
}

async fn a_room_that_was_left_is_told_with_its_state_then(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, _) = visited(&alice, &bob, "shared").await;
    let mut filter = all_left();
    filter["room"]["timeline"] = json!({ "limit": 1 });
    let answer = bob.syncs().query("filter", filter).await.ok();
    let told = sync::section(&answer, "leave", &room).expect("the room");
    let state = told.list("/state/events");
    let find = |event_type: &str| state.iter().find(|event| event["type"] == event_type);
    assert_eq!(find("m.room.topic").expect("a topic")["content"]["topic"], "while", "{told}");
    assert!(find("m.room.create").is_some() && find("m.room.power_levels").is_some(), "{told}");
}

async fn who_is_kicked_is_told_so(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = bob.sync_token().await;
    alice.kicks(&bob, &room).with("reason", json!("too loud")).await.ok();
    alice.says(&room, "in private").await;
    let told = left(&bob, &since, &room).await;
    let last = told.list("/timeline/events").last().expect("the kick").clone();
    assert_eq!((&last["sender"], &last["state_key"]), (&json!(alice.id), &json!(bob.id)));
    assert_eq!(last["content"]["reason"], "too loud");
    assert!(!told.to_string().contains("in private"), "{told}");
}

async fn who_is_banned_is_told_so(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = bob.sync_token().await;
    alice.bans(&bob, &room).await.ok();
    let told = left(&bob, &since, &room).await;
    let last = told.list("/timeline/events").last().expect("the ban").clone();
    assert_eq!((&last["state_key"], &last["content"]["membership"]), (&json!(bob.id), &json!("ban")));
}

async fn a_ban_is_told_to_a_client_that_begins(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.bans(&bob, &room).await.ok();
    let is_there = |answer: &Value| sync::section(answer, "leave", &room).is_some();
    let first = || async { bob.syncs().await.ok() };
    crate::wait::eventually("the ban", first, is_there).await;
    bob.forgets(&room).await.ok();
    crate::wait::eventually("an answer without it", first, |answer| !is_there(answer)).await;
}

async fn who_is_unbanned_is_told_so(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.bans(&bob, &room).await.ok();
    let since = bob.sync_token().await;
    alice.says(&room, "in private").await;
    alice.unbans(&bob, &room).await.ok();
    let told = left(&bob, &since, &room).await;
    let last = told.list("/timeline/events").last().expect("the end of the ban").clone();
    assert_eq!((&last["state_key"], &last["content"]["membership"]), (&json!(bob.id), &json!("leave")));
    assert!(!told.to_string().contains("in private"), "{told}");
}

async fn an_invite_that_was_declined_is_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("invite", json!([bob.id])).await;
    let since = bob.sync_token().await;
    bob.leaves(&room).await.ok();
    left(&bob, &since, &room).await;
    let answer = bob.syncs().await.ok();
    assert!(sync::section(&answer, "invite", &room).is_none(), "{answer}");
}

async fn an_invite_that_was_taken_back_is_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("invite", json!([bob.id])).await;
    let since = bob.sync_token().await;
    alice.kicks(&bob, &room).await.ok();
    left(&bob, &since, &room).await;
    let answer = bob.syncs().await.ok();
    assert!(sync::section(&answer, "invite", &room).is_none(), "{answer}");
}

async fn who_was_only_invited_hears_nothing_of_the_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("topic", json!("a secret")).await;
    alice.says(&room, "another secret").await;
    alice.invites(&bob, &room).await.ok();
    let since = bob.sync_token().await;
    alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "a third secret" })).await.ok();
    bob.leaves(&room).await.ok();
    let told = left(&bob, &since, &room).await;
    assert!(!told.to_string().contains("secret"), "{told}");
}

async fn an_invite_comes_again(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("invite", json!([bob.id])).await;
    let since = bob.sync_token().await;
    bob.leaves(&room).await.ok();
    left(&bob, &since, &room).await;
    let since = bob.sync_token().await;
    alice.invites(&bob, &room).await.ok();
    let is_there = |answer: &Value| sync::section(answer, "invite", &room).is_some();
    bob.syncs_until(&since, "the invite", is_there).await;
}

async fn the_create_event_is_in_the_stripped_state(server: Server) {
    let (alice, bob) = server.pair().await;
    let content = json!({ "join_rule": "knock" });
    let creation = json!({ "type": "org.example.kind", "org.example.more": 1 });
    let room = alice
        .creates_room()
        .with("creation_content", creation)
        .with("room_version", json!("11"))
        .state("m.room.join_rules", content)
        .await;
    let create = alice.reads_state(&room, "m.room.create", "").await.ok();
    let since = bob.sync_token().await;
    bob.knocks(&room).await.ok();
    let knocked = |answer: &Value| sync::section(answer, "knock", &room).is_some();
    let answer = bob.syncs_until(&since, "the knock", knocked).await;
    let find = |state: &Value| {
        let events = state.as_array().into_iter().flatten();
        events.clone().find(|event| event["type"] == "m.room.create").cloned()
    };
    let stripped = find(&answer["rooms"]["knock"][&room.0]["knock_state"]["events"]).expect("the event");
    assert_eq!((&stripped["content"], &stripped["sender"]), (&create, &json!(alice.id)));
    alice.invites(&bob, &room).await.ok();
    let invited = |answer: &Value| sync::section(answer, "invite", &room).is_some();
    let answer = bob.syncs_until(&answer.text("/next_batch"), "the invite", invited).await;
    let stripped = find(&answer["rooms"]["invite"][&room.0]["invite_state"]["events"]).expect("the event");
    assert_eq!((&stripped["content"], &stripped["sender"]), (&create, &json!(alice.id)));
}

async fn stripped_events_have_four_fields(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().with("name", json!("Tea")).with("invite", json!([bob.id])).await;
    let answer = bob.syncs().await.ok();
    let told = sync::section(&answer, "invite", &room).expect("the invite");
    for event in told.list("/invite_state/events") {
        // The invite itself may have more: clients want its time and ID.
        if event["state_key"] == bob.id {
            continue;
        }
        let mut fields: Vec<_> = event.as_object().expect("an event").keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["content", "sender", "state_key", "type"], "{event}");
    }
}

async fn a_knock_becomes_an_invite_and_a_join(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().state("m.room.join_rules", json!({ "join_rule": "knock" })).await;
    bob.knocks(&room).await.ok();
    let answer = bob.syncs().await.ok();
    assert!(sync::section(&answer, "knock", &room).is_some(), "{answer}");
    alice.invites(&bob, &room).await.ok();
    let invited = |answer: &Value| sync::section(answer, "invite", &room).is_some();
    let answer = bob.syncs_until(&answer.text("/next_batch"), "the invite", invited).await;
    assert!(sync::section(&answer, "knock", &room).is_none(), "{answer}");
    bob.joins(&room).await.ok();
    let joined = |answer: &Value| sync::section(answer, "join", &room).is_some();
    bob.syncs_until(&answer.text("/next_batch"), "the room", joined).await;
    let answer = bob.syncs().await.ok();
    for kind in ["knock", "invite", "leave"] {
        assert!(sync::section(&answer, kind, &room).is_none(), "{kind}: {answer}");
    }
}

async fn a_knock_that_was_turned_down_is_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().state("m.room.join_rules", json!({ "join_rule": "knock" })).await;
    bob.knocks(&room).await.ok();
    let since = bob.sync_token().await;
    alice.kicks(&bob, &room).await.ok();
    left(&bob, &since, &room).await;
    let answer = bob.syncs().await.ok();
    assert!(sync::section(&answer, "knock", &room).is_none(), "{answer}");
}

async fn what_was_said_while_one_was_away_is_not_told(server: Server) {
    let (alice, bob) = server.pair().await;
    let content = json!({ "history_visibility": "joined" });
    let room = alice.creates_room().public().state("m.room.history_visibility", content).member(&bob).await;
    let since = bob.sync_token().await;
    let here = alice.says(&room, "bob is here").await;
    bob.leaves(&room).await.ok();
    let away = alice.says(&room, "bob is away").await;
    bob.joins(&room).await.ok();
    let back = alice.says(&room, "bob is back").await;
    bob.hears(&since, &room, &back).await;
    for request in [bob.syncs_since(&since), bob.syncs()] {
        let answer = request.await.ok();
        let told = sync::section(&answer, "join", &room).expect("the room");
        let ids = ids(told);
        assert!(!ids.contains(&away), "{told}");
        assert!(ids.contains(&back), "{told}");
    }
    let page = bob.reads_messages(&room).query("limit", 50).await.ok();
    let read: Vec<_> = page.list("/chunk").iter().map(|event| event.text("/event_id")).collect();
    assert!(read.contains(&here) && !read.contains(&away), "{page}");
}

async fn who_left_and_came_back_is_in_the_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().with("name", json!("Tea")).member(&bob).await;
    let since = bob.sync_token().await;
    bob.leaves(&room).await.ok();
    alice.sets_state(&room, "m.room.name", "", json!({ "name": "Coffee" })).await.ok();
    bob.joins(&room).await.ok();
    let last = alice.says(&room, "hello again").await;
    bob.hears(&since, &room, &last).await;
    let answer = bob.syncs_since(&since).await.ok();
    assert!(sync::section(&answer, "leave", &room).is_none(), "{answer}");
    let mut events = sync::state(&answer, &room);
    events.extend(sync::timeline(&answer, &room));
    let name = events.iter().rfind(|event| event["type"] == "m.room.name").expect("a name");
    assert_eq!(name["content"]["name"], "Coffee", "{answer}");
}

async fn who_comes_and_goes_at_once_is_told_as_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    let since = bob.sync_token().await;
    bob.joins(&room).await.ok();
    let heard = alice.says(&room, "hello").await;
    bob.leaves(&room).await.ok();
    let unheard = alice.says(&room, "bye").await;
    left(&bob, &since, &room).await;
    let answer = bob.syncs_since(&since).await.ok();
    let told = sync::section(&answer, "leave", &room).expect("the room");
    let ids = ids(told);
    assert!(ids.contains(&heard) && !ids.contains(&unheard), "{told}");
}

async fn history_since_the_invite_is_told(server: Server) {
    let (alice, bob) = server.pair().await;
    let content = json!({ "history_visibility": "invited" });
    let room = alice.creates_room().state("m.room.history_visibility", content).await;
    let hidden = alice.says(&room, "before the invite").await;
    alice.invites(&bob, &room).await.ok();
    let since = bob.sync_token().await;
    let told = alice.says(&room, "since the invite").await;
    bob.joins(&room).await.ok();
    let last = alice.says(&room, "hello").await;
    bob.hears(&since, &room, &last).await;
    for request in [bob.syncs_since(&since), bob.syncs()] {
        let answer = request.await.ok();
        let ids = ids(sync::section(&answer, "join", &room).expect("the room"));
        assert!(ids.contains(&told) && !ids.contains(&hidden), "{answer}");
    }
}

async fn forgotten_rooms_are_not_told_with_those_that_were_left(server: Server) {
    let (alice, bob) = server.pair().await;
    let (left, _) = visited(&alice, &bob, "shared").await;
    let (forgotten, _) = visited(&alice, &bob, "shared").await;
    bob.forgets(&forgotten).await.ok();
    let syncs = || async { bob.syncs().query("filter", all_left()).await.ok() };
    let is_gone = |answer: &Value| sync::section(answer, "leave", &forgotten).is_none();
    let answer = eventually("the room is gone", syncs, is_gone).await;
    assert!(sync::section(&answer, "leave", &left).is_some(), "{answer}");
}

async fn who_is_banned_after_leaving_hears_nothing_of_the_room_since(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = bob.sync_token().await;
    bob.leaves(&room).await.ok();
    alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "a secret" })).await.ok();
    alice.says(&room, "another secret").await;
    alice.bans(&bob, &room).await.ok();
    left(&bob, &since, &room).await;
    for request in [bob.syncs_since(&since), bob.syncs().query("filter", all_left())] {
        for state_after in [false, true] {
            let answer = request.clone().query("use_state_after", state_after).await.ok();
            let told = sync::section(&answer, "leave", &room).expect("the room");
            assert!(!told.to_string().contains("secret"), "{told}");
        }
    }
}

async fn who_was_invited_in_vain_does_not_read_the_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = bob.sync_token().await;
    bob.leaves(&room).await.ok();
    left(&bob, &since, &room).await;
    let since = bob.sync_token().await;
    alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "a secret" })).await.ok();
    alice.invites(&bob, &room).await.ok();
    alice.kicks(&bob, &room).await.ok();
    let told = left(&bob, &since, &room).await;
    assert!(!told.to_string().contains("secret"), "{told}");
    // The kick is his to know of; what the room was like then is not.
    let kick = told.list("/timeline/events").last().expect("the kick").text("/event_id");
    let context = bob.reads_context(&room, &kick).await;
    assert!(!context.body.to_string().contains("secret"), "{context}");
    let state = bob.reads_state(&room, "m.room.topic", "").await;
    assert!(!state.body.to_string().contains("secret"), "{state}");
}
