//! U+0000 in what events say: JSON has it, so nothing that one writes may keep others from reading.
//! [Events](https://spec.matrix.org/v1.19/client-server-api/#size-limits)

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wait::eventually,
    wire::Json as _,
};

tests![
    a_nul_in_the_reason_of_an_invite_hides_nothing,
    a_nul_in_the_reason_of_a_kick_hides_nothing,
    a_nul_in_the_reason_of_a_ban_hides_nothing,
    a_nul_in_a_display_name_hides_nothing,
    a_display_name_with_a_nul_is_told_of_a_member,
    a_nul_in_what_a_room_is_called_hides_nothing,
    a_name_with_a_nul_is_told_of_a_room_from_outside,
    a_nul_in_messages_and_relations_hides_nothing,
    a_nul_in_what_tells_a_relation_hides_nothing,
    a_thread_whose_id_has_a_nul_has_no_receipts,
];

const NUL: &str = "x\0y";

/// How many texts with the NUL there are in a page of messages.
fn with_nul_in(messages: &Value) -> usize {
    // What an event has replaced comes with it, or not.
    let mut chunk = messages.list("/chunk").to_vec();
    for event in chunk.iter_mut().filter_map(Value::as_object_mut) {
        event.remove("prev_content");
        if let Some(unsigned) = event.get_mut("unsigned").and_then(Value::as_object_mut) {
            unsigned.remove("prev_content");
        }
    }
    Value::Array(chunk).to_string().matches("x\\u0000y").count()
}

/// The user reads all that there is to be read of a room, and finds so many texts with the NUL in the timeline.
async fn reads_everything(user: &User, room: &Room, event: &str, with_nul: usize) {
    let read = || async { user.reads_messages(room).query("limit", 100).await.ok() };
    eventually("all that was said is told", read, |messages| with_nul_in(messages) == with_nul).await;
    user.reads_all_state(room).await.ok();
    user.reads_members(room).await.ok();
    user.get(path!("/rooms/{}/joined_members", room)).await.ok();
    user.reads_event(room, event).await.ok();
    user.reads_context(room, event).await.ok();
    user.get(path!("/rooms/{}/initialSync", room)).await.ok();
    user.get(path!("/_matrix/client/v1/rooms/{}/threads", room)).await.ok();
    user.get(path!("/_matrix/client/v1/rooms/{}/relations/{}", room, event)).await.ok();
    user.get(path!("/_matrix/client/v1/rooms/{}/hierarchy", room)).await.ok();
    let answer = user.syncs().await.ok();
    assert!(!sync::timeline(&answer, room).is_empty(), "{answer}");
}

/// Both go on: more messages than an answer has, told from a token before them, and the same in single steps.
async fn goes_on(alice: &User, bob: &User, room: &Room, since: &str) {
    let mut last = String::new();
    for number in 0..15 {
        last = alice.says(room, &format!("{number} {NUL}")).await;
    }
    let heard = bob.hears(since, room, &last).await;
    assert_eq!(heard["content"]["body"], format!("14 {NUL}"));
    let since = bob.sync_token().await;
    let event = alice.says(room, NUL).await;
    assert_eq!(bob.hears(&since, room, &event).await["content"]["body"], NUL);
}

async fn a_nul_in_the_reason_of_an_invite_hides_nothing(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "before").await;
    let since = bob.sync_token().await;
    alice.invites(&bob, &room).json(json!({ "user_id": bob.id, "reason": NUL })).await.ok();
    bob.syncs_until(&since, "the invite", |answer| sync::section(answer, "invite", &room).is_some()).await;
    bob.joins(&room).json(json!({ "reason": NUL })).await.ok();
    reads_everything(&bob, &room, &event, 2).await;
    reads_everything(&alice, &room, &event, 2).await;
    goes_on(&alice, &bob, &room, &since).await;
}

/// Bob is put out with a reason that has a NUL, and hears of it; what he saw before he still sees.
async fn put_out(server: Server, action: &str) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().member(&bob).await;
    let event = alice.says(&room, NUL).await;
    let since = bob.sync_token().await;
    let body = json!({ "user_id": bob.id, "reason": NUL });
    alice.post(path!("/rooms/{}/{}", room, action), body).await.ok();
    let answer = bob
        .syncs_until(&since, "that he is out", |answer| sync::section(answer, "leave", &room).is_some())
        .await;
    assert!(answer.to_string().contains("x\\u0000y"), "{answer}");
    bob.reads_event(&room, &event).await.ok();
    if action == "kick" {
        let messages = bob.reads_messages(&room).await.ok();
        assert_eq!(messages.to_string().matches("x\\u0000y").count(), 2, "{messages}");
    } else {
        alice.unbans(&bob, &room).json(json!({ "user_id": bob.id, "reason": NUL })).await.ok();
    }
    bob.joins(&room).await.ok();
    let since = bob.sync_token().await;
    goes_on(&alice, &bob, &room, &since).await;
}

async fn a_nul_in_the_reason_of_a_kick_hides_nothing(server: Server) {
    put_out(server, "kick").await;
}

async fn a_nul_in_the_reason_of_a_ban_hides_nothing(server: Server) {
    put_out(server, "ban").await;
}

async fn a_nul_in_a_display_name_hides_nothing(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().member(&bob).await;
    let event = alice.says(&room, "before").await;
    let since = bob.sync_token().await;
    bob.sets_state(&room, "m.room.member", &bob.id, json!({ "membership": "join", "displayname": NUL }))
        .await
        .ok();
    reads_everything(&bob, &room, &event, 1).await;
    reads_everything(&alice, &room, &event, 1).await;
    goes_on(&alice, &bob, &room, &since).await;
}

async fn a_display_name_with_a_nul_is_told_of_a_member(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().member(&bob).await;
    bob.sets_state(&room, "m.room.member", &bob.id, json!({ "membership": "join", "displayname": NUL }))
        .await
        .ok();
    let members = alice.get(path!("/rooms/{}/joined_members", room)).await.ok();
    assert_eq!(members["joined"][&bob.id]["display_name"], NUL, "{members}");
}

async fn a_nul_in_what_a_room_is_called_hides_nothing(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice
        .creates_room()
        .public()
        .with("visibility", json!("public"))
        .with("name", json!(NUL))
        .with("topic", json!(NUL))
        .member(&bob)
        .await;
    let event = alice.says(&room, "before").await;
    let named = bob.reads_state(&room, "m.room.name", "").await.ok();
    assert_eq!(named["name"], NUL);
    bob.reads_all_state(&room).await.ok();
    bob.reads_event(&room, &event).await.ok();
    bob.get(path!("/_matrix/client/v1/rooms/{}/hierarchy", room)).await.ok();
    let since = bob.sync_token().await;
    alice.sets_state(&room, "m.room.topic", "", json!({ "topic": format!("{NUL}!") })).await.ok();
    goes_on(&alice, &bob, &room, &since).await;
    for term in ["room", "x"] {
        let filter = json!({ "filter": { "generic_search_term": term } });
        bob.post("/publicRooms", filter).await.ok();
    }
}

async fn a_name_with_a_nul_is_told_of_a_room_from_outside(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().public().with("name", json!(NUL)).await;
    let walked = alice.get(path!("/_matrix/client/v1/rooms/{}/hierarchy", room)).await.ok();
    assert_eq!(walked["rooms"][0]["name"], NUL, "{walked}");
}

/// A message that is related to an event, with a NUL in all its texts.
fn related(rel_type: &str, event: &str) -> Value {
    json!({
        "msgtype": "m.text", "body": NUL, "key": NUL, "m.new_content": { "msgtype": "m.text", "body": NUL },
        "m.relates_to": { "rel_type": rel_type, "event_id": event, "key": NUL },
    })
}

/// Everybody reads the event, so many of those that are related to it, and the one thread of the room.
async fn read_relations(users: &[&User], room: &Room, root: &str, count: usize) {
    for user in users {
        user.reads_event(room, root).await.ok();
        user.reads_context(room, root).await.ok();
        let relations = path!("/_matrix/client/v1/rooms/{}/relations/{}", room, root);
        let found: Value = user.get(relations).await.ok();
        assert!(found.list("/chunk").len() >= count, "{found}");
        let threads = user.get(path!("/_matrix/client/v1/rooms/{}/threads", room)).await.ok();
        assert_eq!(threads.list("/chunk").len(), 1, "{threads}");
        user.reads_messages(room).await.ok();
    }
}

async fn a_nul_in_messages_and_relations_hides_nothing(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().member(&bob).await;
    let since = bob.sync_token().await;
    let root = alice.says(&room, NUL).await;
    for (sender, content) in [
        (&alice, related("m.replace", &root)),
        (&bob, related("m.thread", &root)),
        (&alice, json!({ "a": [NUL], "body": "key", "msgtype": "m.text" })),
    ] {
        sender.sends(&room, "m.room.message", content).await.ok();
    }
    alice.sets_state(&room, "org.example.state", "", related("m.reference", &root)).await.ok();
    read_relations(&[&alice, &bob], &room, &root, 3).await;
    goes_on(&alice, &bob, &room, &since).await;
}

async fn a_nul_in_what_tells_a_relation_hides_nothing(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().member(&bob).await;
    let since = bob.sync_token().await;
    let root = alice.says(&room, NUL).await;
    for (event_type, content) in [
        ("m.room.message", related("m.thread", &root)),
        ("m.room.message", related(NUL, &root)),
        ("m.room.message", related("m.reference", &format!("{root}\0"))),
        ("m.reaction", related("m.annotation", &root)),
    ] {
        bob.sends(&room, event_type, content).await.ok();
    }
    read_relations(&[&alice, &bob], &room, &root, 2).await;
    goes_on(&alice, &bob, &room, &since).await;
}

async fn a_thread_whose_id_has_a_nul_has_no_receipts(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().member(&bob).await;
    let content = json!({ "m.relates_to": { "rel_type": "m.thread", "event_id": "$a\0" } });
    let sent = alice.sets_state(&room, "org.example.state", "", content).await;
    // Whether such a relation is refused, or relates to nothing, is left to the server.
    let event = match sent.status {
        200 => sent.ok().text("/event_id"),
        _ => alice.says(&room, "instead").await,
    };
    let body = json!({ "thread_id": "$a\0" });
    let answer = bob.post(path!("/rooms/{}/receipt/m.read/{}", room, event), body).await;
    assert!(answer.status == 200 || answer.status == 400, "{answer:?}");
    bob.post(path!("/rooms/{}/receipt/m.read/{}", room, event), json!({})).await.ok();
}
