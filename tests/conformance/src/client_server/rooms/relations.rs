//! [Relationships between events](https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events),
//! their aggregation, and the endpoints that list them.

use std::future::IntoFuture as _;

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wire::{Json as _, Request},
};

tests![
    events_that_relate_to_one_are_listed_newest_first,
    the_relation_type_and_the_event_type_choose,
    relations_are_paged_to_their_end,
    relations_are_listed_forward_too,
    recursion_finds_what_relates_indirectly,
    a_redacted_event_relates_to_nothing,
    relations_of_an_unknown_event_are_not_found,
    relations_are_not_for_strangers,
    wrong_pages_of_relations_are_refused,
    the_latest_edit_comes_with_the_event,
    only_the_sender_edits_an_event,
    an_edit_needs_new_content,
    a_redacted_event_comes_without_its_edit,
    a_redacted_edit_gives_way_to_the_one_before,
    references_come_with_the_event,
    a_repeated_annotation_is_refused,
    of_equal_annotations_at_once_one_is_accepted,
    messages_are_filtered_by_what_relates_to_them,
    relations_come_with_events_in_sync,
    relations_come_with_events_in_a_gap,
    relations_of_the_ignored_do_not_come_in_sync,
    sync_is_filtered_by_what_relates_to_events,
    relations_of_an_unknown_room_are_not_found,
];

/// Sends a message that relates to another one.
async fn relates(user: &User, room: &Room, rel_type: &str, event: &str, more: Value) -> String {
    let mut content = json!({
        "msgtype": "m.text", "body": "related",
        "m.relates_to": { "rel_type": rel_type, "event_id": event },
    });
    content.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    user.sends(room, "m.room.message", content).await.ok().text("/event_id")
}

async fn edits(user: &User, room: &Room, event: &str, body: &str) -> String {
    let new = json!({ "m.new_content": { "msgtype": "m.text", "body": body } });
    relates(user, room, "m.replace", event, new).await
}

async fn annotates(user: &User, room: &Room, event: &str, key: &str) -> String {
    user.sends(room, "m.reaction", annotation(event, key)).await.ok().text("/event_id")
}

fn annotation(event: &str, key: &str) -> Value {
    json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": event, "key": key } })
}

fn lists(user: &User, room: &Room, event: &str, more: &str) -> Request {
    user.get(format!("{}{more}", path!("/_matrix/client/v1/rooms/{}/relations/{}", room, event)))
}

fn ids(answer: &Value) -> Vec<String> {
    answer.list("/chunk").iter().map(|event| event.text("/event_id")).collect()
}

async fn events_that_relate_to_one_are_listed_newest_first(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let root = alice.says(&room, "root").await;
    let other = alice.says(&room, "other").await;
    let first = relates(&alice, &room, "m.thread", &root, json!({})).await;
    let second = relates(&bob, &room, "m.reference", &root, json!({})).await;
    relates(&bob, &room, "m.reference", &other, json!({})).await;
    let answer = lists(&bob, &room, &root, "").await.ok();
    assert_eq!(ids(&answer), [second, first]);
    assert!(!answer.has("/recursion_depth"), "{answer}");
    assert_eq!(answer["chunk"][0]["room_id"], room.0, "{answer}");
    assert!(ids(&lists(&bob, &room, &bob.says(&room, "alone").await, "").await.ok()).is_empty());
}

async fn the_relation_type_and_the_event_type_choose(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let thread = relates(&alice, &room, "m.thread", &root, json!({})).await;
    let annotation = annotates(&alice, &room, &root, "+").await;
    assert_eq!(ids(&lists(&alice, &room, &root, "/m.thread").await.ok()), std::slice::from_ref(&thread));
    assert_eq!(ids(&lists(&alice, &room, &root, "/m.annotation/m.reaction").await.ok()), [annotation]);
    assert_eq!(ids(&lists(&alice, &room, &root, "/m.thread/m.room.message").await.ok()), [thread]);
    assert!(ids(&lists(&alice, &room, &root, "/m.thread/m.reaction").await.ok()).is_empty());
}

async fn relations_are_paged_to_their_end(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(relates(&alice, &room, "m.thread", &root, json!({})).await);
    }
    sent.reverse();
    let mut seen = Vec::new();
    let mut from = None;
    for _ in 0..10 {
        let mut request = lists(&alice, &room, &root, "/m.thread").query("limit", 2);
        if let Some(from) = from {
            request = request.query("from", from);
        }
        let page = request.await.ok();
        assert!(page.list("/chunk").len() <= 2, "{page}");
        seen.extend(ids(&page));
        from = page["next_batch"].as_str().map(ToOwned::to_owned);
        if from.is_none() {
            break;
        }
    }
    assert_eq!((seen, from), (sent, None));
}

async fn relations_are_listed_forward_too(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let first = relates(&alice, &room, "m.thread", &root, json!({})).await;
    let second = relates(&alice, &room, "m.thread", &root, json!({})).await;
    let answer = lists(&alice, &room, &root, "").query("dir", "f").await.ok();
    assert_eq!(ids(&answer), [first, second]);
}

async fn recursion_finds_what_relates_indirectly(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let reply = relates(&alice, &room, "m.thread", &root, json!({})).await;
    let edit = edits(&alice, &room, &reply, "edited").await;
    let reaction = annotates(&alice, &room, &reply, "+").await;
    let answer = lists(&alice, &room, &root, "").query("recurse", true).await.ok();
    assert_eq!(ids(&answer), [reaction.clone(), edit, reply]);
    assert!(answer.at("/recursion_depth").as_u64().is_some_and(|depth| depth >= 3), "{answer}");
    // What is asked for need not be asked of the events on the way.
    let reactions = lists(&alice, &room, &root, "/m.annotation").query("recurse", true).await.ok();
    assert_eq!(ids(&reactions), [reaction]);
}

async fn a_redacted_event_relates_to_nothing(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let reply = relates(&alice, &room, "m.reference", &root, json!({})).await;
    alice.redacts(&room, &reply).await.ok();
    assert!(ids(&lists(&alice, &room, &root, "").await.ok()).is_empty());
    let event = alice.reads_event(&room, &root).await.ok();
    assert!(!event.has("/unsigned/m.relations/m.reference"), "{event}");
}

async fn relations_of_an_unknown_event_are_not_found(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let unknown = format!("${}", "A".repeat(43));
    lists(&alice, &room, &unknown, "").await.refused(404, "M_NOT_FOUND");
}

async fn relations_are_not_for_strangers(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let answer = lists(&bob, &room, &root, "").await;
    answer.refused_as(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
}

async fn wrong_pages_of_relations_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    for (name, value) in [("limit", "x"), ("dir", "x"), ("from", "nothing"), ("recurse", "x")] {
        let answer = lists(&alice, &room, &root, "").query(name, value).await;
        answer.refused_as(&[(400, "M_INVALID_PARAM"), (400, "M_UNKNOWN")]);
    }
}

async fn the_latest_edit_comes_with_the_event(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    edits(&alice, &room, &root, "first").await;
    let latest = edits(&alice, &room, &root, "second").await;
    let event = alice.reads_event(&room, &root).await.ok();
    assert_eq!(event.text("/unsigned/m.relations/m.replace/event_id"), latest);
    assert_eq!(event.text("/unsigned/m.relations/m.replace/content/m.new_content/body"), "second");
    assert_eq!(event.text("/content/body"), "root", "the content stays as it was");
    let messages = alice.reads_messages(&room).await.ok();
    let found = messages.list("/chunk").iter().find(|event| event["event_id"] == root).expect("the event");
    assert_eq!(found.text("/unsigned/m.relations/m.replace/event_id"), latest);
    let context = alice.reads_context(&room, &root).await.ok();
    assert_eq!(context.text("/event/unsigned/m.relations/m.replace/event_id"), latest);
}

async fn only_the_sender_edits_an_event(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let root = alice.says(&room, "root").await;
    edits(&bob, &room, &root, "not mine").await;
    let event = alice.reads_event(&room, &root).await.ok();
    assert!(!event.has("/unsigned/m.relations/m.replace"), "{event}");
}

async fn an_edit_needs_new_content(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let edit = edits(&alice, &room, &root, "better").await;
    // It relates to the event, and is no edit of it.
    relates(&alice, &room, "m.replace", &root, json!({})).await;
    let event = alice.reads_event(&room, &root).await.ok();
    assert_eq!(event.text("/unsigned/m.relations/m.replace/event_id"), edit);
}

async fn a_redacted_event_comes_without_its_edit(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    edits(&alice, &room, &root, "better").await;
    alice.redacts(&room, &root).await.ok();
    let event = alice.reads_event(&room, &root).await.ok();
    assert!(!event.has("/unsigned/m.relations/m.replace"), "{event}");
    assert!(!event.has("/content/body"), "{event}");
}

async fn a_redacted_edit_gives_way_to_the_one_before(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let first = edits(&alice, &room, &root, "first").await;
    let second = edits(&alice, &room, &root, "second").await;
    alice.redacts(&room, &second).await.ok();
    let event = alice.reads_event(&room, &root).await.ok();
    assert_eq!(event.text("/unsigned/m.relations/m.replace/event_id"), first);
}

async fn references_come_with_the_event(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let first = relates(&alice, &room, "m.reference", &root, json!({})).await;
    let second = relates(&alice, &room, "m.reference", &root, json!({})).await;
    let event = alice.reads_event(&room, &root).await.ok();
    let mut told: Vec<String> = event
        .list("/unsigned/m.relations/m.reference/chunk")
        .iter()
        .map(|reference| reference.text("/event_id"))
        .collect();
    let mut sent = vec![first, second];
    told.sort();
    sent.sort();
    assert_eq!(told, sent);
}

async fn a_repeated_annotation_is_refused(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let root = alice.says(&room, "root").await;
    annotates(&alice, &room, &root, "+").await;
    annotates(&alice, &room, &root, "-").await;
    annotates(&bob, &room, &root, "+").await;
    let again = alice.sends(&room, "m.reaction", annotation(&root, "+")).await;
    again.refused(400, "M_DUPLICATE_ANNOTATION");
}

async fn of_equal_annotations_at_once_one_is_accepted(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    for key in ["+", "-", "?"] {
        let root = alice.says(&room, "root").await;
        let reacts = (0..6).map(|_| bob.sends(&room, "m.reaction", annotation(&root, key)).into_future());
        let answers = futures::future::join_all(reacts).await;
        let (accepted, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!(accepted.len(), 1, "{accepted:?}");
        for answer in refused {
            answer.refused(400, "M_DUPLICATE_ANNOTATION");
        }
        // It may be made again once it is redacted.
        let event = accepted[0].body.text("/event_id");
        bob.redacts(&room, &event).await.ok();
        bob.sends(&room, "m.reaction", annotation(&root, key)).await.ok();
    }
}

async fn messages_are_filtered_by_what_relates_to_them(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let threaded = alice.says(&room, "threaded").await;
    let referred = alice.says(&room, "referred").await;
    alice.says(&room, "alone").await;
    relates(&bob, &room, "m.thread", &threaded, json!({})).await;
    relates(&alice, &room, "m.reference", &referred, json!({})).await;
    for (filter, expected) in [
        (json!({ "related_by_rel_types": ["m.thread"] }), vec![threaded.clone()]),
        (json!({ "related_by_senders": [alice.id] }), vec![referred.clone()]),
        (json!({ "related_by_rel_types": ["m.thread", "m.reference"] }), vec![referred, threaded.clone()]),
        (json!({ "related_by_rel_types": ["m.thread"], "related_by_senders": [bob.id] }), vec![threaded]),
    ] {
        let answer = alice.reads_messages(&room).query("filter", &filter).await.ok();
        assert_eq!(ids(&answer), expected, "{filter}");
    }
}

/// An event in the timeline of a room, in an answer to `/sync`.
fn told<'a>(answer: &'a Value, room: &Room, event: &str) -> &'a Value {
    let timeline = sync::timeline(answer, room);
    timeline
        .into_iter()
        .find(|found| found["event_id"] == event)
        .unwrap_or_else(|| panic!("no event: {answer}"))
}

async fn relations_come_with_events_in_sync(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let (edited, root) = (alice.says(&room, "edited").await, alice.says(&room, "root").await);
    let edit = edits(&alice, &room, &edited, "better").await;
    let reference = relates(&bob, &room, "m.reference", &edited, json!({})).await;
    let since = bob.sync_token().await;
    let reply = relates(&bob, &room, "m.thread", &root, json!({})).await;
    bob.hears(&since, &room, &reply).await;
    let answer = bob.syncs().await.ok();
    let edited = told(&answer, &room, &edited);
    assert_eq!(edited.text("/unsigned/m.relations/m.replace/event_id"), edit);
    assert_eq!(edited.list("/unsigned/m.relations/m.reference/chunk"), &[json!({ "event_id": reference })]);
    assert_eq!(edited.text("/content/body"), "edited", "the content stays as it was");
    let thread = told(&answer, &room, &root).at("/unsigned/m.relations/m.thread").clone();
    assert_eq!(thread.text("/latest_event/event_id"), reply);
    assert_eq!((&thread["count"], &thread["current_user_participated"]), (&json!(1), &json!(true)));
    assert!(!told(&answer, &room, &reply).has("/unsigned/m.relations"), "{answer}");
}

async fn relations_come_with_events_in_a_gap(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let since = alice.sync_token().await;
    for _ in 0..4 {
        alice.says(&room, "hidden by the gap").await;
    }
    let event = alice.says(&room, "edited").await;
    let edit = edits(&alice, &room, &event, "better").await;
    let last = alice.says(&room, "last").await;
    alice.hears(&since, &room, &last).await;
    let filter = json!({ "room": { "timeline": { "limit": 3 } } });
    let answer = alice.syncs_since(&since).query("filter", filter).await.ok();
    let event = told(&answer, &room, &event);
    assert_eq!(event.text("/unsigned/m.relations/m.replace/event_id"), edit);
}

async fn relations_of_the_ignored_do_not_come_in_sync(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let root = alice.says(&room, "root").await;
    let since = alice.sync_token().await;
    let reply = relates(&bob, &room, "m.thread", &root, json!({})).await;
    alice.hears(&since, &room, &reply).await;
    let ignored = json!({ "ignored_users": { (&bob.id): {} } });
    alice.put(path!("/user/{}/account_data/m.ignored_user_list", alice.id), ignored).await.ok();
    let answer = alice
        .syncs_until(&since, "the list", |answer| answer.to_string().contains("m.ignored_user_list"))
        .await;
    drop(answer);
    let answer = alice.syncs().await.ok();
    assert!(!told(&answer, &room, &root).has("/unsigned/m.relations"), "{answer}");
}

async fn sync_is_filtered_by_what_relates_to_events(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let threaded = alice.says(&room, "threaded").await;
    let referred = alice.says(&room, "referred").await;
    alice.says(&room, "alone").await;
    let since = alice.sync_token().await;
    relates(&bob, &room, "m.thread", &threaded, json!({})).await;
    let last = relates(&alice, &room, "m.reference", &referred, json!({})).await;
    alice.hears(&since, &room, &last).await;
    for (filter, expected) in [
        (json!({ "related_by_rel_types": ["m.thread"] }), vec![threaded.clone()]),
        (json!({ "related_by_senders": [alice.id] }), vec![referred.clone()]),
        (json!({ "related_by_rel_types": ["m.thread", "m.reference"] }), vec![threaded.clone(), referred]),
        (json!({ "related_by_rel_types": ["m.thread"], "related_by_senders": [bob.id] }), vec![threaded]),
    ] {
        let wanted = json!({ "room": { "timeline": filter } });
        let answer = alice.syncs().query("filter", &wanted).await.ok();
        let found: Vec<_> =
            sync::timeline(&answer, &room).iter().map(|event| event.text("/event_id")).collect();
        assert_eq!(found, expected, "{filter}");
    }
}

async fn relations_of_an_unknown_room_are_not_found(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let other = alice.creates_room().await;
    for more in ["", "/m.thread", "/m.thread/m.room.message"] {
        let answer = lists(&alice, &server.nowhere(), &root, more).await;
        answer.refused_as(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
        // An event of another room is none of this one.
        lists(&alice, &other, &root, more).await.refused_as(&[(404, "M_NOT_FOUND"), (404, "M_UNKNOWN")]);
    }
}
