//! [Typing notifications](https://spec.matrix.org/v1.19/client-server-api/#typing-notifications)

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wire::{Json as _, Request},
};

tests![
    typing_is_told_to_the_room,
    who_stops_is_told_to_have_stopped,
    typing_ends_by_itself,
    several_users_type,
    nobody_types_for_somebody_else,
    who_is_not_in_the_room_does_not_type,
    typing_is_said_or_denied,
    a_filter_hides_typing,
    who_is_banned_types_no_longer,
    who_logs_out_everywhere_types_no_longer,
    it_must_be_said_whether_one_types,
    a_timeout_that_is_no_number_is_refused,
];

fn types(user: &User, room: &Room, timeout: u64) -> Request {
    let body = json!({ "typing": true, "timeout": timeout });
    user.put(path!("/rooms/{}/typing/{}", room, user.id), body)
}

/// Who types, if an answer says anything of it.
fn typists(answer: &Value, room: &Room) -> Option<Vec<String>> {
    let events = sync::section(answer, "join", room)?["ephemeral"]["events"].as_array()?;
    let event = events.iter().find(|event| event["type"] == "m.typing")?;
    let mut users: Vec<String> = event["content"]
        .list("/user_ids")
        .iter()
        .filter_map(|user| user.as_str().map(str::to_owned))
        .collect();
    users.sort();
    Some(users)
}

/// Syncs on until these users type; returns where to go on.
async fn sees(listener: &User, since: &str, room: &Room, users: &[&User]) -> String {
    let mut expected: Vec<String> = users.iter().map(|user| user.id.clone()).collect();
    expected.sort();
    let are_there = |answer: &Value| typists(answer, room).as_ref() == Some(&expected);
    listener.syncs_until(since, "typing", are_there).await.text("/next_batch")
}

async fn typing_is_told_to_the_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    assert_eq!(types(&bob, &room, 20_000).await.ok(), json!({}));
    sees(&alice, &since, &room, &[&bob]).await;
}

async fn who_stops_is_told_to_have_stopped(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    types(&bob, &room, 20_000).await.ok();
    let since = sees(&alice, &since, &room, &[&bob]).await;
    bob.put(path!("/rooms/{}/typing/{}", room, bob.id), json!({ "typing": false })).await.ok();
    sees(&alice, &since, &room, &[]).await;
}

async fn typing_ends_by_itself(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    types(&bob, &room, 1_000).await.ok();
    let since = sees(&alice, &since, &room, &[&bob]).await;
    sees(&alice, &since, &room, &[]).await;
}

async fn several_users_type(server: Server) {
    let (alice, bob, carol) = server.trio().await;
    let room = alice.creates_room().member(&bob).member(&carol).await;
    let since = alice.sync_token().await;
    types(&bob, &room, 20_000).await.ok();
    types(&carol, &room, 20_000).await.ok();
    sees(&alice, &since, &room, &[&bob, &carol]).await;
}

async fn nobody_types_for_somebody_else(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let path = path!("/rooms/{}/typing/{}", room, alice.id);
    let answer = bob.put(path, json!({ "typing": true, "timeout": 1000 })).await;
    // Which status it has, the specification does not say.
    answer.refused_as(&[(403, "M_FORBIDDEN"), (400, "M_FORBIDDEN")]);
}

async fn who_is_not_in_the_room_does_not_type(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    types(&bob, &room, 1_000).await.refused(403, "M_FORBIDDEN");
}

async fn typing_is_said_or_denied(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/rooms/{}/typing/{}", room, alice.id);
    alice.put(path, json!([])).await.refused_as(&[(400, "M_BAD_JSON")]);
}

async fn a_filter_hides_typing(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    types(&bob, &room, 20_000).await.ok();
    sees(&alice, &since, &room, &[&bob]).await;
    let filter = json!({ "room": { "ephemeral": { "types": ["m.receipt"] } } });
    let answer = alice.syncs().query("filter", filter).await.ok();
    assert_eq!(typists(&answer, &room), None);
}

async fn it_must_be_said_whether_one_types(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = alice.put(path!("/rooms/{}/typing/{}", room, alice.id), json!({ "timeout": 1000 })).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

async fn a_timeout_that_is_no_number_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let body = json!({ "typing": true, "timeout": "long" });
    let answer = alice.put(path!("/rooms/{}/typing/{}", room, alice.id), body).await;
    answer.refused(400, "M_BAD_JSON");
}

async fn who_is_banned_types_no_longer(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    types(&bob, &room, 60_000).await.ok();
    let since = sees(&alice, &since, &room, &[&bob]).await;
    alice.bans(&bob, &room).await.ok();
    sees(&alice, &since, &room, &[]).await;
}

async fn who_logs_out_everywhere_types_no_longer(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    types(&bob, &room, 60_000).await.ok();
    let since = sees(&alice, &since, &room, &[&bob]).await;
    bob.post("/logout/all", json!({})).await.ok();
    sees(&alice, &since, &room, &[]).await;
}
