//! What users are notified of: [ignored users](https://spec.matrix.org/v1.19/client-server-api/#ignoring-users),
//! [invites](https://spec.matrix.org/v1.19/client-server-api/#default-override-rules), and what rules may be.

use serde_json::{Value, json};

use super::push::{counts_of_thread, has_unread, has_unread_by_thread, puts, room_of_three, sends};
use crate::{
    actor::{Room, User, sync},
    server::Server,
    wire::Json as _,
};

tests![
    ignored_users_do_not_count,
    ignored_users_do_not_count_in_threads,
    ignoring_changes_what_is_unread,
    what_ignored_users_say_is_not_listed,
    an_invite_is_listed,
    an_invite_of_an_ignored_user_is_not_listed,
    a_rule_with_too_much_in_it_is_refused,
    too_many_words_are_refused,
    settings_of_many_rooms_are_kept,
];

async fn ignores(user: &User, ignored: &[&User]) {
    let since = user.sync_token().await;
    let users: serde_json::Map<_, _> = ignored.iter().map(|user| (user.id.clone(), json!({}))).collect();
    let list = json!({ "ignored_users": users });
    user.put(path!("/user/{}/account_data/m.ignored_user_list", user.id), list).await.ok();
    let is_told = |answer: &Value| answer.to_string().contains("m.ignored_user_list");
    user.syncs_until(&since, "the list", is_told).await;
}

fn mention(of: &User) -> Value {
    json!({ "m.mentions": { "user_ids": [of.id] } })
}

async fn ignored_users_do_not_count(server: Server) {
    let (alice, bob, carol, room) = room_of_three(&server).await;
    ignores(&alice, &[&bob]).await;
    sends(&bob, &room, mention(&alice)).await;
    bob.says(&room, "hello?").await;
    has_unread(&carol, &room, (2, 0)).await;
    carol.says(&room, "hello").await;
    has_unread(&alice, &room, (1, 0)).await;
}

async fn ignored_users_do_not_count_in_threads(server: Server) {
    let (alice, bob, carol, room) = room_of_three(&server).await;
    let root = carol.says(&room, "root").await;
    ignores(&alice, &[&bob]).await;
    let relation = json!({ "rel_type": "m.thread", "event_id": root });
    let mut content = mention(&alice);
    content["m.relates_to"] = relation.clone();
    sends(&bob, &room, content).await;
    sends(&carol, &room, json!({ "m.relates_to": relation })).await;
    has_unread_by_thread(&alice, &room, &root, counts_of_thread((1, 0), (1, 0))).await;
}

async fn ignoring_changes_what_is_unread(server: Server) {
    let (alice, bob, carol, room) = room_of_three(&server).await;
    ignores(&alice, &[&bob]).await;
    sends(&bob, &room, mention(&alice)).await;
    let last = carol.says(&room, "hello").await;
    has_unread(&alice, &room, (1, 0)).await;
    alice.post(path!("/rooms/{}/receipt/m.read/{}", room, last), json!({})).await.ok();
    has_unread(&alice, &room, (0, 0)).await;
    ignores(&alice, &[]).await;
    sends(&bob, &room, mention(&alice)).await;
    has_unread(&alice, &room, (1, 1)).await;
}

async fn what_ignored_users_say_is_not_listed(server: Server) {
    let (alice, bob, carol, room) = room_of_three(&server).await;
    ignores(&alice, &[&bob]).await;
    let unheard = sends(&bob, &room, mention(&alice)).await;
    let heard = carol.says(&room, "hello").await;
    has_unread(&alice, &room, (1, 0)).await;
    // The invite came before Bob was ignored: some servers go on listing that.
    let listed = listed(&alice, &room).await;
    assert!(listed.contains(&heard) && !listed.contains(&unheard), "{listed:?}");
}

/// The events of a room that are listed as notifications, newest first.
async fn listed(user: &User, room: &Room) -> Vec<String> {
    let list = user.get("/notifications").await.ok();
    let of_room = list.list("/notifications").iter().filter(|found| found["room_id"] == *room.0);
    of_room.map(|found| found.text("/event/event_id")).collect()
}

async fn is_invited(user: &User, room: &Room) {
    let invited = |answer: &Value| sync::section(answer, "invite", room).is_some();
    let answer = user.syncs().await.ok();
    if !invited(&answer) {
        user.syncs_until(&answer.text("/next_batch"), "the invite", invited).await;
    }
}

async fn an_invite_is_listed(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = bob.creates_room().await;
    bob.invites(&alice, &room).await.ok();
    is_invited(&alice, &room).await;
    let list = alice.get("/notifications").await.ok();
    let found = list.list("/notifications").iter().find(|found| found["room_id"] == *room.0);
    let found = found.expect("the invite is listed");
    assert_eq!(found.text("/event/content/membership"), "invite");
    assert_eq!((found.text("/event/state_key"), &found["read"]), (alice.id.clone(), &json!(false)));
    assert!(found.list("/actions").contains(&json!("notify")), "{found}");
}

async fn an_invite_of_an_ignored_user_is_not_listed(server: Server) {
    let (alice, bob, carol) = server.trio().await;
    ignores(&alice, &[&bob]).await;
    let (unheard, heard) = (bob.creates_room().await, carol.creates_room().await);
    bob.invites(&alice, &unheard).await.ok();
    carol.invites(&alice, &heard).await.ok();
    is_invited(&alice, &heard).await;
    assert_eq!(listed(&alice, &unheard).await, [""; 0]);
    assert_eq!(listed(&alice, &heard).await.len(), 1);
}

async fn a_rule_with_too_much_in_it_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let condition =
        |key: &str, pattern: &str| json!({ "kind": "event_match", "key": key, "pattern": pattern });
    let with = |conditions: Vec<Value>| json!({ "conditions": conditions, "actions": ["notify"] });
    for (kind, body) in [
        ("content", json!({ "pattern": "a".repeat(257), "actions": ["notify"] })),
        ("content", json!({ "pattern": "a".to_owned() + &"?".repeat(100_000), "actions": ["notify"] })),
        ("content", json!({ "pattern": "?".repeat(17), "actions": ["notify"] })),
        ("override", with(vec![condition("content.x", &("*".to_owned() + &"a".repeat(30_000) + "b"))])),
        ("override", with(vec![condition(&"content.".repeat(100), "a")])),
        ("underride", with(vec![condition("content.body", "a"); 33])),
    ] {
        puts(&alice, kind, "much", body).await.refused(400, "M_UNKNOWN");
    }
    let body = json!({ "pattern": "?*".repeat(8), "actions": ["notify"] });
    puts(&alice, "content", "some", body).await.ok();
    puts(&alice, "underride", "some", with(vec![condition("content.body", &"a".repeat(256)); 32])).await.ok();
}

async fn too_many_words_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let word = |number: usize| json!({ "pattern": format!("word{number}"), "actions": ["notify"] });
    for number in 0..100 {
        puts(&alice, "content", &number.to_string(), word(number)).await.ok();
    }
    puts(&alice, "content", "one more", word(100)).await.refused(400, "M_UNKNOWN");
    puts(&alice, "content", "5", word(500)).await.ok();
}

async fn settings_of_many_rooms_are_kept(server: Server) {
    let alice = server.user("alice").await;
    for number in 0..120 {
        let room = format!("!{number}:example.org");
        let condition = json!({ "kind": "event_match", "key": "room_id", "pattern": room });
        puts(&alice, "override", &room, json!({ "conditions": [condition], "actions": [] })).await.ok();
    }
    let room = "!one:example.org";
    puts(&alice, "room", room, json!({ "actions": [] })).await.ok();
    puts(&alice, "content", "word", json!({ "pattern": "word", "actions": ["notify"] })).await.ok();
}
