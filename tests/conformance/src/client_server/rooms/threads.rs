//! [Threads](https://spec.matrix.org/v1.19/client-server-api/#threading)

use serde_json::{Value, json};

use crate::{
    actor::{Room, User},
    server::Server,
    wire::{Json as _, Request},
};

tests![
    the_root_tells_of_its_thread,
    the_latest_event_tells_of_its_edit,
    a_redacted_reply_does_not_count,
    threads_are_listed_by_their_latest_event,
    threads_one_took_part_in_can_be_chosen,
    threads_are_paged,
    a_thread_cannot_begin_within_a_thread,
    threads_are_not_for_strangers,
    wrong_pages_of_threads_are_refused,
    a_limit_of_none_is_refused,
    ignored_users_do_not_count,
];

async fn replies(user: &User, room: &Room, root: &str) -> String {
    let content = json!({
        "msgtype": "m.text", "body": "reply", "m.relates_to": { "rel_type": "m.thread", "event_id": root },
    });
    user.sends(room, "m.room.message", content).await.ok().text("/event_id")
}

fn lists(user: &User, room: &Room) -> Request {
    user.get(path!("/_matrix/client/v1/rooms/{}/threads", room))
}

fn ids(answer: &Value) -> Vec<String> {
    answer.list("/chunk").iter().map(|event| event.text("/event_id")).collect()
}

async fn thread(user: &User, room: &Room, root: &str) -> Value {
    user.reads_event(room, root).await.ok().at("/unsigned/m.relations/m.thread").clone()
}

async fn the_root_tells_of_its_thread(server: Server) {
    let (alice, bob, carol) = server.trio().await;
    let room = alice.creates_room().member(&bob).member(&carol).await;
    let root = alice.says(&room, "root").await;
    replies(&bob, &room, &root).await;
    let latest = replies(&bob, &room, &root).await;
    let told = thread(&alice, &room, &root).await;
    assert_eq!((&told["count"], &told["current_user_participated"]), (&json!(2), &json!(true)));
    assert_eq!(
        (told.text("/latest_event/event_id"), told.text("/latest_event/sender")),
        (latest, bob.id.clone())
    );
    assert_eq!(thread(&bob, &room, &root).await["current_user_participated"], true);
    assert_eq!(thread(&carol, &room, &root).await["current_user_participated"], false);
}

async fn the_latest_event_tells_of_its_edit(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let reply = replies(&alice, &room, &root).await;
    let edit = json!({
        "msgtype": "m.text", "body": "* better", "m.new_content": { "msgtype": "m.text", "body": "better" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": reply },
    });
    let edit = alice.sends(&room, "m.room.message", edit).await.ok().text("/event_id");
    let told = thread(&alice, &room, &root).await;
    assert_eq!(told.text("/latest_event/unsigned/m.relations/m.replace/event_id"), edit);
}

async fn a_redacted_reply_does_not_count(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let first = replies(&alice, &room, &root).await;
    let second = replies(&alice, &room, &root).await;
    alice.redacts(&room, &second).await.ok();
    let told = thread(&alice, &room, &root).await;
    assert_eq!((told.text("/latest_event/event_id"), &told["count"]), (first.clone(), &json!(1)));
    alice.redacts(&room, &first).await.ok();
    assert!(!alice.reads_event(&room, &root).await.ok().has("/unsigned/m.relations/m.thread"));
    assert!(ids(&lists(&alice, &room).await.ok()).is_empty());
}

async fn threads_are_listed_by_their_latest_event(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let (first, second) = (alice.says(&room, "first").await, alice.says(&room, "second").await);
    alice.says(&room, "alone").await;
    replies(&alice, &room, &first).await;
    replies(&alice, &room, &second).await;
    assert_eq!(ids(&lists(&alice, &room).await.ok()), [second.clone(), first.clone()]);
    let latest = replies(&alice, &room, &first).await;
    let answer = lists(&alice, &room).await.ok();
    assert_eq!(ids(&answer), [first, second]);
    assert_eq!(answer.text("/chunk/0/unsigned/m.relations/m.thread/latest_event/event_id"), latest);
}

async fn threads_one_took_part_in_can_be_chosen(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let (first, second) = (alice.says(&room, "first").await, bob.says(&room, "second").await);
    let third = alice.says(&room, "third").await;
    replies(&alice, &room, &first).await;
    replies(&alice, &room, &second).await;
    replies(&bob, &room, &third).await;
    let chosen = lists(&bob, &room).query("include", "participated").await.ok();
    assert_eq!(ids(&chosen), [third.clone(), second.clone()]);
    assert_eq!(ids(&lists(&bob, &room).query("include", "all").await.ok()), [third, second, first]);
}

async fn threads_are_paged(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let mut roots = Vec::new();
    for number in 0..3 {
        let root = alice.says(&room, &format!("root {number}")).await;
        replies(&alice, &room, &root).await;
        roots.insert(0, root);
    }
    let first = lists(&alice, &room).query("limit", 2).await.ok();
    assert_eq!(ids(&first), roots[..2]);
    let second = lists(&alice, &room).query("limit", 2).query("from", first.text("/next_batch")).await.ok();
    assert_eq!(ids(&second), roots[2..]);
    assert!(!second.has("/next_batch"), "{second}");
}

async fn a_thread_cannot_begin_within_a_thread(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let root = alice.says(&room, "root").await;
    let reply = replies(&alice, &room, &root).await;
    let content = json!({
        "msgtype": "m.text", "body": "nested", "m.relates_to": { "rel_type": "m.thread", "event_id": reply },
    });
    let answer = alice.sends(&room, "m.room.message", content).await;
    assert_eq!(answer.status, 400, "{answer}");
    answer.refused_as(&[(400, "M_UNKNOWN")]);
}

async fn threads_are_not_for_strangers(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    lists(&bob, &room).await.refused(403, "M_FORBIDDEN");
    lists(&bob, &server.nowhere()).await.refused(403, "M_FORBIDDEN");
}

async fn wrong_pages_of_threads_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    for (name, value) in [("limit", "x"), ("include", "some"), ("from", "nothing")] {
        let answer = lists(&alice, &room).query(name, value).await;
        answer.refused_as(&[(400, "M_INVALID_PARAM"), (400, "M_UNKNOWN")]);
    }
}

async fn a_limit_of_none_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    lists(&alice, &room).query("limit", 0).await.refused(400, "M_INVALID_PARAM");
}

async fn ignored_users_do_not_count(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let root = alice.says(&room, "root").await;
    let mine = replies(&alice, &room, &root).await;
    replies(&bob, &room, &root).await;
    let ignored = json!({ "ignored_users": { bob.id.clone(): {} } });
    alice.put(path!("/user/{}/account_data/m.ignored_user_list", alice.id), ignored).await.ok();
    let told = thread(&alice, &room, &root).await;
    assert_eq!((told.text("/latest_event/event_id"), &told["count"]), (mine, &json!(1)));
    let messages = alice.reads_messages(&room).await.ok();
    let heard = messages.list("/chunk").iter().filter(|event| event["type"] == "m.room.message");
    assert!(heard.into_iter().all(|event| event["sender"] == alice.id), "{messages}");
    assert_eq!(thread(&bob, &room, &root).await["count"], 2);
}
