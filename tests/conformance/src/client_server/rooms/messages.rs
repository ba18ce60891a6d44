//! [`GET /rooms/{roomId}/messages`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages)
//! and [`GET /rooms/{roomId}/event/{eventId}`][event]
//!
//! [event]: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid

use serde_json::{Value, json};

use crate::{
    actor::{Room, User},
    server::Server,
    wire::Json as _,
};

tests![
    the_newest_come_first_backwards,
    the_oldest_come_first_forwards,
    pages_follow_each_other_without_gaps,
    pages_forwards_follow_each_other_without_gaps,
    the_end_of_the_history_has_no_token,
    a_token_of_sync_goes_back,
    a_page_ends_where_it_is_told_to,
    the_limit_is_kept,
    an_unknown_direction_is_refused,
    a_malformed_token_is_refused,
    a_limit_that_is_not_a_number_is_refused,
    a_filter_chooses_types,
    a_filter_leaves_out_types,
    a_filter_chooses_senders,
    a_malformed_filter_is_refused,
    somebody_else_reads_nothing,
    an_unknown_room_is_forbidden_or_not_found,
    one_who_left_reads_what_was_before,
    members_are_told_lazily_if_wanted,
    an_event_is_read,
    an_event_of_another_room_is_not_found,
    an_unknown_event_is_not_found,
    somebody_else_does_not_read_an_event,
    the_transaction_is_told_to_the_device_that_sent_it,
];

/// A room with so many messages, which its creator has heard of.
async fn chat(alice: &User, count: usize) -> (Room, Vec<String>) {
    let room = alice.creates_room().await;
    let since = alice.sync_token().await;
    let mut events = Vec::new();
    for number in 0..count {
        events.push(alice.says(&room, &format!("message {number}")).await);
    }
    if let Some(last) = events.last() {
        alice.hears(&since, &room, last).await;
    }
    (room, events)
}

fn ids(page: &Value) -> Vec<String> {
    page.list("/chunk").iter().map(|event| event.text("/event_id")).collect()
}

fn reversed(events: &[String]) -> Vec<String> {
    events.iter().rev().cloned().collect()
}

async fn the_newest_come_first_backwards(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 4).await;
    let page = alice.reads_messages(&room).query("limit", 4).await.ok();
    assert_eq!(ids(&page), reversed(&events));
    assert!(page.list("/chunk").iter().all(|event| event["room_id"] == room.0), "{page}");
    assert!(!page.text("/start").is_empty());
}

async fn the_oldest_come_first_forwards(server: Server) {
    let alice = server.user("alice").await;
    let (room, _) = chat(&alice, 1).await;
    let page = alice.get(path!("/rooms/{}/messages", room)).query("dir", "f").query("limit", 1);
    let page = page.await.ok();
    assert_eq!(page.list("/chunk")[0]["type"], "m.room.create");
}

async fn pages_follow_each_other_without_gaps(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 7).await;
    let mut found = Vec::new();
    let mut request = alice.reads_messages(&room).query("limit", 3);
    for _ in 0..20 {
        let page = request.await.ok();
        found.extend(ids(&page));
        let Some(end) = page["end"].as_str() else { break };
        request = alice.reads_messages(&room).query("limit", 3).query("from", end);
    }
    assert_eq!(found[..7], reversed(&events));
    let mut unique = found.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), found.len(), "an event came twice: {found:?}");
    let last = alice.reads_event(&room, found.last().expect("no events")).await.ok();
    assert_eq!(last["type"], "m.room.create");
}

async fn pages_forwards_follow_each_other_without_gaps(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 7).await;
    let backwards = alice.reads_messages(&room).query("limit", 7).await.ok();
    let mut from = backwards.text("/end");
    let mut found = Vec::new();
    for _ in 0..20 {
        let page = alice.get(path!("/rooms/{}/messages", room)).query("dir", "f").query("limit", 3);
        let page = page.query("from", from.clone()).await.ok();
        found.extend(ids(&page));
        match page["end"].as_str() {
            Some(end) if !page.list("/chunk").is_empty() => end.clone_into(&mut from),
            _ => break,
        }
    }
    assert_eq!(found, events);
}

async fn the_end_of_the_history_has_no_token(server: Server) {
    let alice = server.user("alice").await;
    let (room, _) = chat(&alice, 1).await;
    let mut page = alice.reads_messages(&room).query("limit", 100).await.ok();
    // A server may give one more page that is empty.
    if let Some(end) = page["end"].as_str().map(ToOwned::to_owned) {
        page = alice.reads_messages(&room).query("limit", 100).query("from", end).await.ok();
        assert_eq!(ids(&page), Vec::<String>::new());
    }
    assert!(!page.has("/end"), "{page}");
}

async fn a_token_of_sync_goes_back(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 5).await;
    let filter = json!({ "room": { "timeline": { "limit": 2 } } });
    let answer = alice.syncs().query("filter", filter).await.ok();
    let timeline = &answer["rooms"]["join"][&room.0]["timeline"];
    let from = timeline.text("/prev_batch");
    let page = alice.reads_messages(&room).query("from", from).query("limit", 3).await.ok();
    assert_eq!(ids(&page), reversed(&events[..3]));
}

async fn a_page_ends_where_it_is_told_to(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 6).await;
    let first = alice.reads_messages(&room).query("limit", 4).await.ok();
    let page = alice.reads_messages(&room).query("limit", 50).query("to", first.text("/end"));
    assert_eq!(ids(&page.await.ok()), reversed(&events[2..]));
}

async fn the_limit_is_kept(server: Server) {
    let alice = server.user("alice").await;
    let (room, _) = chat(&alice, 3).await;
    for limit in 1..3 {
        let page = alice.reads_messages(&room).query("limit", limit).await.ok();
        assert_eq!(ids(&page).len(), limit);
    }
}

async fn an_unknown_direction_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let (room, _) = chat(&alice, 1).await;
    let answer = alice.get(path!("/rooms/{}/messages", room)).query("dir", "sideways").await;
    answer.refused_as(&[(400, "M_UNKNOWN"), (400, "M_INVALID_PARAM")]);
}

async fn a_malformed_token_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let (room, _) = chat(&alice, 1).await;
    let answer = alice.reads_messages(&room).query("from", "nonsense").await;
    answer.refused_as(&[(400, "M_INVALID_PARAM"), (400, "M_UNKNOWN")]);
}

async fn a_limit_that_is_not_a_number_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let (room, _) = chat(&alice, 1).await;
    alice.reads_messages(&room).query("limit", "many").await.refused(400, "M_INVALID_PARAM");
}

async fn a_filter_chooses_types(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 2).await;
    let filter = json!({ "types": ["m.room.message"] });
    let page = alice.reads_messages(&room).query("filter", filter).query("limit", 50).await.ok();
    assert_eq!(ids(&page), reversed(&events));
}

async fn a_filter_leaves_out_types(server: Server) {
    let alice = server.user("alice").await;
    let (room, events) = chat(&alice, 2).await;
    let filter = json!({ "not_types": ["m.room.*"] });
    let page = alice.reads_messages(&room).query("filter", filter).query("limit", 50).await.ok();
    assert!(ids(&page).iter().all(|id| !events.contains(id)), "{page}");
}

async fn a_filter_chooses_senders(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    let event = bob.says(&room, "from bob").await;
    let last = alice.says(&room, "from alice").await;
    alice.hears(&since, &room, &last).await;
    let filter = json!({ "senders": [bob.id], "types": ["m.room.message"] });
    let page = alice.reads_messages(&room).query("filter", filter).query("limit", 50).await.ok();
    assert_eq!(ids(&page), [event]);
}

async fn a_malformed_filter_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let (room, _) = chat(&alice, 1).await;
    let answer = alice.reads_messages(&room).query("filter", "{nonsense").await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn somebody_else_reads_nothing(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, _) = chat(&alice, 1).await;
    bob.reads_messages(&room).await.refused(403, "M_FORBIDDEN");
}

async fn an_unknown_room_is_forbidden_or_not_found(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.reads_messages(&server.nowhere()).await;
    answer.refused_as(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]);
}

async fn one_who_left_reads_what_was_before(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let before = alice.says(&room, "before").await;
    bob.leaves(&room).await.ok();
    let since = alice.sync_token().await;
    let after = alice.says(&room, "after").await;
    alice.hears(&since, &room, &after).await;
    let found = ids(&bob.reads_messages(&room).query("limit", 50).await.ok());
    assert!(found.contains(&before), "{found:?}");
    assert!(!found.contains(&after), "{found:?}");
}

async fn members_are_told_lazily_if_wanted(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).member(&carl).await;
    let since = alice.sync_token().await;
    let event = bob.says(&room, "from bob").await;
    alice.hears(&since, &room, &event).await;
    let filter = json!({ "lazy_load_members": true, "types": ["m.room.message"] });
    let page = alice.reads_messages(&room).query("filter", filter).query("limit", 1).await.ok();
    assert_eq!(ids(&page), [event]);
    let state = page["state"].as_array().cloned().unwrap_or_default();
    let members: Vec<_> = state.iter().filter(|event| event["type"] == "m.room.member").collect();
    assert!(members.iter().any(|member| member["state_key"] == bob.id), "{page}");
    assert!(!members.iter().any(|member| member["state_key"] == carl.id), "{page}");
}

async fn an_event_is_read(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let event = alice.says(&room, "hello").await;
    let found = bob.reads_event(&room, &event).await.ok();
    assert_eq!(found["event_id"], event);
    assert_eq!(found["content"]["body"], "hello");
    assert!(!found.has("/unsigned/transaction_id"), "{found}");
}

async fn an_event_of_another_room_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let (_, events) = chat(&alice, 1).await;
    let other = alice.creates_room().await;
    alice.reads_event(&other, &events[0]).await.refused(404, "M_NOT_FOUND");
}

async fn an_unknown_event_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let unknown = format!("${}", "A".repeat(43));
    alice.reads_event(&room, &unknown).await.refused(404, "M_NOT_FOUND");
}

async fn somebody_else_does_not_read_an_event(server: Server) {
    let (alice, bob) = server.pair().await;
    let (room, events) = chat(&alice, 1).await;
    let answer = bob.reads_event(&room, &events[0]).await;
    answer.refused_as(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
}

async fn the_transaction_is_told_to_the_device_that_sent_it(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let room = alice.creates_room().await;
    let (here, there) = (alice.sync_token().await, phone.sync_token().await);
    let content = json!({ "msgtype": "m.text", "body": "hello" });
    let answer = alice.put(path!("/rooms/{}/send/m.room.message/mine", room), content).await.ok();
    let event = answer.text("/event_id");
    let heard = alice.hears(&here, &room, &event).await;
    assert_eq!(heard["unsigned"]["transaction_id"], "mine", "{heard}");
    let heard = phone.hears(&there, &room, &event).await;
    assert!(!heard.has("/unsigned/transaction_id"), "{heard}");
}
