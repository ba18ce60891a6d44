//! [Account data](https://spec.matrix.org/v1.19/client-server-api/#client-config)
//! and [filters](https://spec.matrix.org/v1.19/client-server-api/#filtering)

use serde_json::{Value, json};

use crate::{server::Server, wire::Json as _};

tests![
    data_are_set_and_read,
    data_are_replaced,
    sync_brings_data,
    data_of_a_room_are_set_and_read,
    sync_brings_data_of_a_room,
    data_of_a_room_are_not_global,
    absent_data_are_not_found,
    data_of_somebody_else_are_forbidden,
    data_of_somebody_else_are_not_set,
    data_that_are_not_an_object_are_refused,
    data_are_not_nested_without_end,
    data_that_the_server_manages_are_not_set,
    a_malformed_room_is_refused,
    another_session_reads_the_data,
    a_filter_is_kept,
    a_filter_of_somebody_else_is_forbidden,
    an_unknown_filter_is_not_found,
    a_malformed_filter_is_refused,
    a_filter_that_is_kept_can_be_used,
    a_format_of_events_is_one_that_there_is,
    the_same_filter_may_be_kept_twice,
];

async fn data_are_set_and_read(server: Server) {
    let alice = server.user("alice").await;
    let path = path!("/user/{}/account_data/org.example.tea", alice.id);
    assert_eq!(alice.put(path.clone(), json!({ "kind": "green" })).await.ok(), json!({}));
    assert_eq!(alice.get(path).await.ok(), json!({ "kind": "green" }));
}

async fn data_are_replaced(server: Server) {
    let alice = server.user("alice").await;
    let path = path!("/user/{}/account_data/org.example.tea", alice.id);
    alice.put(path.clone(), json!({ "kind": "green", "sugar": true })).await.ok();
    alice.put(path.clone(), json!({ "kind": "black" })).await.ok();
    assert_eq!(alice.get(path).await.ok(), json!({ "kind": "black" }));
}

fn has_data(events: &Value, event_type: &str, content: &Value) -> bool {
    let events = events.as_array().cloned().unwrap_or_default();
    events.iter().any(|event| event["type"] == event_type && event["content"] == *content)
}

async fn sync_brings_data(server: Server) {
    let alice = server.user("alice").await;
    let since = alice.sync_token().await;
    let content = json!({ "kind": "green" });
    let path = path!("/user/{}/account_data/org.example.tea", alice.id);
    alice.put(path, content.clone()).await.ok();
    let is_there = |answer: &Value| has_data(&answer["account_data"]["events"], "org.example.tea", &content);
    alice.syncs_until(&since, "the data", is_there).await;
    assert!(is_there(&alice.syncs().await.ok()));
}

async fn data_of_a_room_are_set_and_read(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/user/{}/rooms/{}/account_data/org.example.tea", alice.id, room);
    assert_eq!(alice.put(path.clone(), json!({ "kind": "green" })).await.ok(), json!({}));
    assert_eq!(alice.get(path).await.ok(), json!({ "kind": "green" }));
}

async fn sync_brings_data_of_a_room(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let since = alice.sync_token().await;
    let content = json!({ "kind": "green" });
    let path = path!("/user/{}/rooms/{}/account_data/org.example.tea", alice.id, room);
    alice.put(path, content.clone()).await.ok();
    let is_there = |answer: &Value| {
        let events = &answer["rooms"]["join"][&room.0]["account_data"]["events"];
        has_data(events, "org.example.tea", &content)
    };
    alice.syncs_until(&since, "the data", is_there).await;
}

async fn data_of_a_room_are_not_global(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/user/{}/rooms/{}/account_data/org.example.tea", alice.id, room);
    alice.put(path, json!({ "kind": "green" })).await.ok();
    let global = path!("/user/{}/account_data/org.example.tea", alice.id);
    alice.get(global).await.refused(404, "M_NOT_FOUND");
}

async fn absent_data_are_not_found(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/user/{}/account_data/org.example.nothing", alice.id);
    alice.get(path).await.refused(404, "M_NOT_FOUND");
    let path = path!("/user/{}/rooms/{}/account_data/org.example.nothing", alice.id, room);
    alice.get(path).await.refused(404, "M_NOT_FOUND");
}

async fn data_of_somebody_else_are_forbidden(server: Server) {
    let (alice, bob) = server.pair().await;
    let path = path!("/user/{}/account_data/org.example.tea", alice.id);
    alice.put(path.clone(), json!({ "kind": "green" })).await.ok();
    bob.get(path).await.refused(403, "M_FORBIDDEN");
}

async fn data_of_somebody_else_are_not_set(server: Server) {
    let (alice, bob) = server.pair().await;
    let path = path!("/user/{}/account_data/org.example.tea", alice.id);
    bob.put(path.clone(), json!({ "kind": "none" })).await.refused(403, "M_FORBIDDEN");
    alice.get(path).await.refused(404, "M_NOT_FOUND");
}

async fn data_that_are_not_an_object_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let path = path!("/user/{}/account_data/org.example.tea", alice.id);
    let answer = alice.put(path.clone(), json!("green")).await;
    answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]);
    alice.put(path, json!({})).raw("{").await.refused(400, "M_NOT_JSON");
}

async fn data_that_the_server_manages_are_not_set(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/user/{}/rooms/{}/account_data/m.fully_read", alice.id, room);
    alice.put(path, json!({ "event_id": "$x" })).await.refused(405, "M_BAD_JSON");
    let path = path!("/user/{}/account_data/m.push_rules", alice.id);
    alice.put(path, json!({})).await.refused(405, "M_BAD_JSON");
}

async fn a_malformed_room_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let path = path!("/user/{}/rooms/nonsense/account_data/org.example.tea", alice.id);
    alice.put(path, json!({})).await.refused(400, "M_INVALID_PARAM");
}

async fn another_session_reads_the_data(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let path = path!("/user/{}/account_data/org.example.tea", alice.id);
    alice.put(path.clone(), json!({ "kind": "green" })).await.ok();
    assert_eq!(phone.get(path).await.ok(), json!({ "kind": "green" }));
}

async fn a_filter_is_kept(server: Server) {
    let alice = server.user("alice").await;
    let filter = json!({ "room": { "timeline": { "limit": 5, "types": ["m.room.message"] } } });
    let answer = alice.post(path!("/user/{}/filter", alice.id), filter.clone()).await.ok();
    let id = answer.text("/filter_id");
    assert!(!id.starts_with('{'), "{id} would be taken for a filter");
    assert_eq!(alice.get(path!("/user/{}/filter/{}", alice.id, id)).await.ok(), filter);
}

async fn a_filter_of_somebody_else_is_forbidden(server: Server) {
    let (alice, bob) = server.pair().await;
    let answer = alice.post(path!("/user/{}/filter", alice.id), json!({})).await.ok();
    let path = path!("/user/{}/filter/{}", alice.id, answer.text("/filter_id"));
    bob.get(path).await.refused_as(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]);
    bob.post(path!("/user/{}/filter", alice.id), json!({})).await.refused(403, "M_FORBIDDEN");
}

async fn an_unknown_filter_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.get(path!("/user/{}/filter/987654", alice.id)).await;
    answer.refused(404, "M_NOT_FOUND");
}

async fn a_malformed_filter_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let filter = json!({ "room": { "timeline": { "limit": "many" } } });
    let answer = alice.post(path!("/user/{}/filter", alice.id), filter).await;
    assert_eq!(answer.status, 400, "{answer}");
    let filter = json!({ "room": { "rooms": "all" } });
    let answer = alice.post(path!("/user/{}/filter", alice.id), filter).await;
    assert_eq!(answer.status, 400, "{answer}");
}

/// Whatever a filter asks for: it is refused at once, or sync takes it.
async fn a_filter_that_is_kept_can_be_used(server: Server) {
    let alice = server.user("alice").await;
    let wildcards: Vec<_> = (0..500).map(|number| format!("org.example.{number}*")).collect();
    for filter in [
        json!({ "room": { "timeline": { "related_by_senders": ["nonsense"] } } }),
        json!({ "room": { "timeline": { "related_by_rel_types": 5 } } }),
        json!({ "room": { "timeline": { "types": wildcards } } }),
        json!({ "account_data": { "not_types": wildcards } }),
        json!({ "event_format": "nonsense" }),
        json!({ "event_fields": ["a.b", "", ".", "\\."] }),
    ] {
        let answer = alice.post(path!("/user/{}/filter", alice.id), filter.clone()).await;
        if answer.status == 200 {
            alice.syncs().query("filter", answer.body.text("/filter_id")).await.ok();
        } else {
            assert_eq!(answer.status, 400, "{filter} {answer}");
        }
    }
}

async fn a_format_of_events_is_one_that_there_is(server: Server) {
    let alice = server.user("alice").await;
    let filter = json!({ "event_format": "nonsense" });
    let answer = alice.post(path!("/user/{}/filter", alice.id), filter.clone()).await;
    assert_eq!(answer.status, 400, "{answer}");
    let answer = alice.syncs().query("filter", filter.to_string()).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn the_same_filter_may_be_kept_twice(server: Server) {
    let alice = server.user("alice").await;
    let filter = json!({ "event_fields": ["type", "content"] });
    for _ in 0..2 {
        let answer = alice.post(path!("/user/{}/filter", alice.id), filter.clone()).await.ok();
        let path = path!("/user/{}/filter/{}", alice.id, answer.text("/filter_id"));
        assert_eq!(alice.get(path).await.ok(), filter);
    }
}

async fn data_are_not_nested_without_end(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let nested = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for path in [
        path!("/user/{}/account_data/org.example.deep", alice.id),
        path!("/user/{}/rooms/{}/account_data/org.example.deep", alice.id, room),
        path!("/user/{}/rooms/{}/tags/u.deep", alice.id, room),
        path!("/profile/{}/org.example.deep", alice.id),
    ] {
        let answer = alice.put(path, json!({})).raw(&nested).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
    let answer = alice.post(path!("/user/{}/filter", alice.id), json!({})).raw(&nested).await;
    assert_eq!(answer.status, 400, "{answer}");
    alice.syncs().await.ok();
}
