//! [Push rules](https://spec.matrix.org/v1.19/client-server-api/#push-rules-api)
//! and [unread notifications](https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications)

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wire::{Json as _, Request},
};

tests![
    predefined_rules_are_there,
    rules_of_a_user_are_told_at_first,
    a_rule_is_added_and_told,
    a_rule_is_read_alone,
    a_rule_is_replaced,
    a_rule_is_removed,
    a_predefined_rule_is_not_removed,
    an_unknown_rule_is_not_found,
    a_new_rule_is_the_first_of_the_user,
    rules_are_placed_before_and_after_others,
    a_place_by_an_unknown_rule_is_refused,
    a_place_by_a_predefined_rule_is_refused,
    a_rule_is_turned_off_and_on,
    a_predefined_rule_is_turned_off,
    the_actions_of_a_rule_are_set,
    the_actions_of_a_predefined_rule_are_set,
    a_name_with_a_dot_is_reserved,
    a_rule_without_actions_is_refused,
    a_rule_of_an_unknown_kind_is_refused,
    a_rule_for_content_needs_a_pattern,
    historical_actions_do_nothing,
    messages_count_as_unread,
    reading_makes_them_read,
    a_private_receipt_makes_them_read,
    own_messages_do_not_count,
    a_mention_is_highlighted,
    a_mention_of_the_room_needs_the_power,
    a_notice_does_not_count,
    an_edit_does_not_count,
    a_muted_room_does_not_count,
    a_word_of_ones_own_is_highlighted,
    threads_are_counted_apart,
    notifications_are_listed,
    only_highlights_are_listed,
    notifications_come_in_pages,
    malformed_parts_of_rules_are_refused,
    an_unknown_scope_has_no_rules,
    wrong_pages_of_notifications_are_refused,
];

fn rule(kind: &str, id: &str) -> String {
    path!("/pushrules/global/{}/{}", kind, id)
}

pub(super) fn puts(user: &User, kind: &str, id: &str, body: Value) -> Request {
    user.put(rule(kind, id), body)
}

fn cake() -> Value {
    json!({ "pattern": "cake", "actions": ["notify", { "set_tweak": "highlight" }] })
}

async fn ids(user: &User, kind: &str) -> Vec<String> {
    let rules = user.get("/pushrules/").await.ok();
    rules["global"].list(&format!("/{kind}")).iter().map(|rule| rule.text("/rule_id")).collect()
}

fn told_rules(answer: &Value) -> Option<&Value> {
    let data = answer["account_data"]["events"].as_array()?;
    data.iter().find(|data| data["type"] == "m.push_rules").map(|data| &data["content"])
}

async fn predefined_rules_are_there(server: Server) {
    let alice = server.user("alice").await;
    let of_override = ids(&alice, "override").await;
    assert_eq!(of_override.first().map(String::as_str), Some(".m.rule.master"));
    for id in [
        "suppress_notices",
        "invite_for_me",
        "member_event",
        "is_user_mention",
        "is_room_mention",
        "tombstone",
        "reaction",
        "room.server_acl",
        "suppress_edits",
    ] {
        assert!(of_override.contains(&format!(".m.rule.{id}")), "no {id} among {of_override:?}");
    }
    let of_underride = ids(&alice, "underride").await;
    for id in ["call", "encrypted_room_one_to_one", "room_one_to_one", "message", "encrypted"] {
        assert!(of_underride.contains(&format!(".m.rule.{id}")), "no {id} among {of_underride:?}");
    }
    let global = alice.get("/pushrules/global/").await.ok();
    assert_eq!(global, alice.get("/pushrules/").await.ok()["global"]);
}

async fn rules_of_a_user_are_told_at_first(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.syncs().await.ok();
    assert_eq!(told_rules(&answer), Some(&alice.get("/pushrules/").await.ok()));
}

async fn a_rule_is_added_and_told(server: Server) {
    let alice = server.user("alice").await;
    let since = alice.sync_token().await;
    assert_eq!(puts(&alice, "content", "cake", cake()).await.ok(), json!({}));
    let is_told = |answer: &Value| told_rules(answer).is_some_and(|rules| rules.to_string().contains("cake"));
    alice.syncs_until(&since, "the rule", is_told).await;
}

async fn a_rule_is_read_alone(server: Server) {
    let alice = server.user("alice").await;
    puts(&alice, "content", "cake", cake()).await.ok();
    let found = alice.get(rule("content", "cake")).await.ok();
    assert_eq!(found["pattern"], "cake");
    assert_eq!(found["actions"], cake()["actions"]);
    assert_eq!((&found["default"], &found["enabled"]), (&json!(false), &json!(true)));
}

async fn a_rule_is_replaced(server: Server) {
    let alice = server.user("alice").await;
    puts(&alice, "content", "cake", cake()).await.ok();
    puts(&alice, "content", "cake", json!({ "pattern": "pie", "actions": [] })).await.ok();
    assert_eq!(alice.get(rule("content", "cake")).await.ok()["pattern"], "pie");
    assert_eq!(ids(&alice, "content").await.iter().filter(|id| *id == "cake").count(), 1);
}

async fn a_rule_is_removed(server: Server) {
    let alice = server.user("alice").await;
    puts(&alice, "content", "cake", cake()).await.ok();
    assert_eq!(alice.delete(rule("content", "cake")).await.ok(), json!({}));
    alice.get(rule("content", "cake")).await.refused(404, "M_NOT_FOUND");
}

async fn a_predefined_rule_is_not_removed(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.delete(rule("underride", ".m.rule.message")).await;
    assert!(answer.status >= 400, "removed: {answer}");
    alice.get(rule("underride", ".m.rule.message")).await.ok();
}

async fn an_unknown_rule_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    alice.get(rule("content", "cake")).await.refused(404, "M_NOT_FOUND");
    alice.get(rule("content", "cake") + "/enabled").await.refused(404, "M_NOT_FOUND");
    alice.get(rule("content", "cake") + "/actions").await.refused(404, "M_NOT_FOUND");
    alice.delete(rule("content", "cake")).await.refused(404, "M_NOT_FOUND");
    let enabled = alice.put(rule("content", "cake") + "/enabled", json!({ "enabled": true }));
    enabled.await.refused(404, "M_NOT_FOUND");
    let actions = alice.put(rule("content", "cake") + "/actions", json!({ "actions": [] }));
    actions.await.refused(404, "M_NOT_FOUND");
}

async fn a_new_rule_is_the_first_of_the_user(server: Server) {
    let alice = server.user("alice").await;
    for id in ["a", "b"] {
        puts(&alice, "content", id, cake()).await.ok();
        puts(&alice, "override", id, json!({ "conditions": [], "actions": [] })).await.ok();
    }
    assert_eq!(ids(&alice, "content").await[..2], ["b", "a"]);
    assert_eq!(ids(&alice, "override").await[..3], [".m.rule.master", "b", "a"]);
}

async fn rules_are_placed_before_and_after_others(server: Server) {
    let alice = server.user("alice").await;
    puts(&alice, "content", "a", cake()).await.ok();
    puts(&alice, "content", "b", cake()).query("after", "a").await.ok();
    puts(&alice, "content", "c", cake()).query("before", "b").await.ok();
    assert_eq!(ids(&alice, "content").await[..3], ["a", "c", "b"]);
    puts(&alice, "content", "b", cake()).query("before", "a").await.ok();
    assert_eq!(ids(&alice, "content").await[..3], ["b", "a", "c"]);
}

async fn a_place_by_an_unknown_rule_is_refused(server: Server) {
    let alice = server.user("alice").await;
    for place in ["before", "after"] {
        let answer = puts(&alice, "content", "a", cake()).query(place, "nosuch").await;
        answer.refused_as(&[(400, "M_UNKNOWN"), (404, "M_NOT_FOUND")]);
    }
}

async fn a_place_by_a_predefined_rule_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let body = json!({ "conditions": [], "actions": [] });
    let answer = puts(&alice, "underride", "a", body).query("before", ".m.rule.message").await;
    answer.refused_as(&[(400, "M_UNKNOWN"), (404, "M_NOT_FOUND")]);
}

async fn a_rule_is_turned_off_and_on(server: Server) {
    let alice = server.user("alice").await;
    puts(&alice, "content", "cake", cake()).await.ok();
    let path = rule("content", "cake") + "/enabled";
    for enabled in [false, true] {
        assert_eq!(alice.put(path.clone(), json!({ "enabled": enabled })).await.ok(), json!({}));
        assert_eq!(alice.get(path.clone()).await.ok(), json!({ "enabled": enabled }));
    }
}

async fn a_predefined_rule_is_turned_off(server: Server) {
    let alice = server.user("alice").await;
    let path = rule("underride", ".m.rule.message") + "/enabled";
    alice.put(path.clone(), json!({ "enabled": false })).await.ok();
    assert_eq!(alice.get(path).await.ok(), json!({ "enabled": false }));
}

async fn the_actions_of_a_rule_are_set(server: Server) {
    let alice = server.user("alice").await;
    puts(&alice, "content", "cake", cake()).await.ok();
    let path = rule("content", "cake") + "/actions";
    let actions = json!({ "actions": ["notify", { "set_tweak": "sound", "value": "bing" }] });
    assert_eq!(alice.put(path.clone(), actions.clone()).await.ok(), json!({}));
    assert_eq!(alice.get(path).await.ok(), actions);
}

async fn the_actions_of_a_predefined_rule_are_set(server: Server) {
    let alice = server.user("alice").await;
    let path = rule("underride", ".m.rule.message") + "/actions";
    alice.put(path.clone(), json!({ "actions": [] })).await.ok();
    assert_eq!(alice.get(path).await.ok(), json!({ "actions": [] }));
}

async fn a_name_with_a_dot_is_reserved(server: Server) {
    let alice = server.user("alice").await;
    let answer = puts(&alice, "content", ".cake", cake()).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn a_rule_without_actions_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = puts(&alice, "content", "cake", json!({ "pattern": "cake" })).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn a_rule_of_an_unknown_kind_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let answer = puts(&alice, "sweets", "cake", cake()).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn a_rule_for_content_needs_a_pattern(server: Server) {
    let alice = server.user("alice").await;
    let answer = puts(&alice, "content", "cake", json!({ "actions": [] })).await;
    assert_eq!(answer.status, 400, "{answer}");
}

/// Alice listens, Bob talks, and Carol makes the room one of three.
pub(super) async fn room_of_three(server: &Server) -> (User, User, User, Room) {
    let (alice, bob, carol) = server.trio().await;
    let room = bob.creates_room().member(&alice).member(&carol).await;
    (alice, bob, carol, room)
}

fn counts(section: &Value) -> (u64, u64) {
    let count = |name: &str| section[name].as_u64().unwrap_or_default();
    (count("notification_count"), count("highlight_count"))
}

/// Unread notifications and highlights in the room.
fn unread(answer: &Value, room: &Room) -> Option<(u64, u64)> {
    sync::section(answer, "join", room).map(|room| counts(&room["unread_notifications"]))
}

/// Waits ever longer between questions, which leaves a slow server time to count, and not for ever.
struct Patience {
    end: Instant,
    pause: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { end: Instant::now() + Duration::from_secs(30), pause: Duration::from_millis(50) }
    }

    async fn wait<T: Debug>(&mut self, expected: T, found: T) {
        assert!(Instant::now() < self.end, "wanted {expected:?} unread, found {found:?}");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Duration::from_secs(1));
    }
}

/// Waits until so much is unread.
pub(super) async fn has_unread(user: &User, room: &Room, expected: (u64, u64)) {
    let mut patience = Patience::new();
    loop {
        let found = unread(&user.syncs().await.ok(), room);
        if found == Some(expected) {
            return;
        }
        patience.wait(Some(expected), found).await;
    }
}

/// Sends what does not count, and then what does: when that is seen, the other was looked at too.
async fn counts_not(alice: &User, bob: &User, room: &Room) {
    bob.says(room, "and this does").await;
    has_unread(alice, room, (1, 0)).await;
}

pub(super) async fn sends(user: &User, room: &Room, extra: Value) -> String {
    let mut content = json!({ "msgtype": "m.text", "body": "hello" });
    for (key, value) in extra.as_object().into_iter().flatten() {
        content[key] = value.clone();
    }
    user.sends(room, "m.room.message", content).await.ok().text("/event_id")
}

async fn historical_actions_do_nothing(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    let words = json!({ "pattern": "cake", "actions": ["dont_notify"] });
    puts(&alice, "content", "cake", words).await.ok();
    bob.says(&room, "there is cake").await;
    counts_not(&alice, &bob, &room).await;
}

async fn messages_count_as_unread(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    has_unread(&alice, &room, (0, 0)).await;
    let since = alice.sync_token().await;
    let event = bob.says(&room, "one").await;
    // The count comes with the event.
    let is_there = |answer: &Value| {
        sync::timeline(answer, &room).iter().any(|found| found["event_id"] == event.as_str())
    };
    let answer = alice.syncs_until(&since, "the message", is_there).await;
    assert_eq!(unread(&answer, &room), Some((1, 0)));
    bob.says(&room, "two").await;
    has_unread(&alice, &room, (2, 0)).await;
}

async fn reading_makes_them_read(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    let first = bob.says(&room, "one").await;
    let last = bob.says(&room, "two").await;
    has_unread(&alice, &room, (2, 0)).await;
    for (event, left) in [(first, 1), (last, 0)] {
        alice.post(path!("/rooms/{}/receipt/m.read/{}", room, event), json!({})).await.ok();
        has_unread(&alice, &room, (left, 0)).await;
    }
}

async fn a_private_receipt_makes_them_read(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    let first = bob.says(&room, "one").await;
    let last = bob.says(&room, "two").await;
    has_unread(&alice, &room, (2, 0)).await;
    alice.post(path!("/rooms/{}/receipt/m.read.private/{}", room, last), json!({})).await.ok();
    has_unread(&alice, &room, (0, 0)).await;
    // The public one lags behind.
    alice.post(path!("/rooms/{}/receipt/m.read/{}", room, first), json!({})).await.ok();
    has_unread(&alice, &room, (0, 0)).await;
}

async fn own_messages_do_not_count(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    let own = alice.says(&room, "of my own").await;
    alice.post(path!("/rooms/{}/receipt/m.read/{}", room, own), json!({})).await.ok();
    counts_not(&alice, &bob, &room).await;
}

async fn a_mention_is_highlighted(server: Server) {
    let (alice, bob, carol, room) = room_of_three(&server).await;
    sends(&bob, &room, json!({ "m.mentions": { "user_ids": [alice.id] } })).await;
    has_unread(&alice, &room, (1, 1)).await;
    has_unread(&carol, &room, (1, 0)).await;
}

async fn a_mention_of_the_room_needs_the_power(server: Server) {
    let (alice, bob, carol, room) = room_of_three(&server).await;
    let all = json!({ "m.mentions": { "room": true } });
    sends(&carol, &room, all.clone()).await;
    has_unread(&alice, &room, (1, 0)).await;
    sends(&bob, &room, all).await;
    has_unread(&alice, &room, (2, 1)).await;
}

async fn a_notice_does_not_count(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    sends(&bob, &room, json!({ "msgtype": "m.notice" })).await;
    counts_not(&alice, &bob, &room).await;
}

async fn an_edit_does_not_count(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    let event = bob.says(&room, "helo").await;
    alice.post(path!("/rooms/{}/receipt/m.read/{}", room, event), json!({})).await.ok();
    has_unread(&alice, &room, (0, 0)).await;
    let relation = json!({ "rel_type": "m.replace", "event_id": event });
    let new = json!({ "msgtype": "m.text", "body": "hello" });
    sends(&bob, &room, json!({ "m.relates_to": relation, "m.new_content": new })).await;
    counts_not(&alice, &bob, &room).await;
}

async fn a_muted_room_does_not_count(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    puts(&alice, "room", &room.0, json!({ "actions": [] })).await.ok();
    bob.says(&room, "not heard").await;
    alice.delete(rule("room", &room.0)).await.ok();
    let path = rule("content", "loud");
    alice.put(path, json!({ "pattern": "loud", "actions": ["notify"] })).await.ok();
    puts(&alice, "room", &room.0, json!({ "actions": [] })).await.ok();
    // A rule for content comes before one for the room.
    bob.says(&room, "this is loud").await;
    has_unread(&alice, &room, (1, 0)).await;
}

async fn a_word_of_ones_own_is_highlighted(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    puts(&alice, "content", "cake", cake()).await.ok();
    bob.says(&room, "is there CAKE?").await;
    has_unread(&alice, &room, (1, 1)).await;
    bob.says(&room, "cakes, I mean").await;
    has_unread(&alice, &room, (2, 1)).await;
}

/// What is unread in the main timeline and in a thread.
type ByThread = ((u64, u64), Option<(u64, u64)>);

pub(super) fn counts_of_thread(main: (u64, u64), thread: (u64, u64)) -> ByThread {
    (main, Some(thread))
}

/// Waits until so much is unread in the main timeline and in a thread.
pub(super) async fn has_unread_by_thread(user: &User, room: &Room, root: &str, expected: ByThread) {
    let filter = json!({ "room": { "timeline": { "unread_thread_notifications": true } } });
    let mut patience = Patience::new();
    loop {
        let answer = user.syncs().query("filter", filter.clone()).await.ok();
        let section = sync::section(&answer, "join", room).cloned().unwrap_or_default();
        let thread = section["unread_thread_notifications"].get(root).map(counts);
        // A thread without notifications may be told or not.
        let found = (counts(&section["unread_notifications"]), thread.filter(|counts| *counts != (0, 0)));
        if found == expected {
            return;
        }
        patience.wait(expected, found).await;
    }
}

async fn threads_are_counted_apart(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    let root = bob.says(&room, "root").await;
    let relation = json!({ "rel_type": "m.thread", "event_id": root });
    let inside = sends(&bob, &room, json!({ "m.relates_to": relation })).await;
    has_unread(&alice, &room, (2, 0)).await;
    has_unread_by_thread(&alice, &room, &root, ((1, 0), Some((1, 0)))).await;
    let receipt = path!("/rooms/{}/receipt/m.read/{}", room, root);
    alice.post(receipt, json!({ "thread_id": "main" })).await.ok();
    has_unread_by_thread(&alice, &room, &root, ((0, 0), Some((1, 0)))).await;
    let receipt = path!("/rooms/{}/receipt/m.read/{}", room, inside);
    alice.post(receipt, json!({ "thread_id": root })).await.ok();
    has_unread_by_thread(&alice, &room, &root, ((0, 0), None)).await;
}

async fn notifications_are_listed(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    let event = bob.says(&room, "hello").await;
    has_unread(&alice, &room, (1, 0)).await;
    let list = alice.get("/notifications").await.ok();
    let found = list.list("/notifications").iter().find(|found| found["event"]["event_id"] == event.as_str());
    let found = found.expect("the message is listed");
    assert_eq!((found.text("/room_id"), &found["read"]), (room.0.clone(), &json!(false)));
    assert!(found["ts"].is_u64() && found.list("/actions").contains(&json!("notify")), "{found}");
}

async fn only_highlights_are_listed(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    bob.says(&room, "hello").await;
    let mention = sends(&bob, &room, json!({ "m.mentions": { "user_ids": [alice.id] } })).await;
    has_unread(&alice, &room, (2, 1)).await;
    let list = alice.get("/notifications").query("only", "highlight").await.ok();
    let events: Vec<String> =
        list.list("/notifications").iter().map(|found| found.text("/event/event_id")).collect();
    assert_eq!(events, [mention]);
}

async fn notifications_come_in_pages(server: Server) {
    let (alice, bob, _, room) = room_of_three(&server).await;
    let mut said = Vec::new();
    for number in 0..3 {
        said.push(bob.says(&room, &number.to_string()).await);
    }
    has_unread(&alice, &room, (3, 0)).await;
    let first = alice.get("/notifications").query("limit", 2).await.ok();
    let second =
        alice.get("/notifications").query("limit", 2).query("from", first.text("/next_token")).await.ok();
    let mut listed = Vec::new();
    for page in [&first, &second] {
        listed.extend(page.list("/notifications").iter().map(|found| found.text("/event/event_id")));
    }
    listed.retain(|event| said.contains(event));
    said.reverse();
    assert_eq!(listed, said);
}

async fn malformed_parts_of_rules_are_refused(server: Server) {
    let alice = server.user("alice").await;
    for body in [
        json!({ "pattern": "cake", "actions": "notify" }),
        json!({ "pattern": 1, "actions": [] }),
        json!({ "pattern": "cake", "actions": [1] }),
    ] {
        let answer = puts(&alice, "content", "cake", body).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
    let answer = puts(&alice, "override", "cake", json!({ "conditions": {}, "actions": [] })).await;
    assert_eq!(answer.status, 400, "{answer}");
    puts(&alice, "content", "cake", cake()).await.ok();
    for (part, body) in [
        ("/enabled", json!({ "enabled": "yes" })),
        ("/enabled", json!({})),
        ("/actions", json!({ "actions": "notify" })),
        ("/actions", json!({})),
    ] {
        let answer = alice.put(rule("content", "cake") + part, body).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
    let kept = alice.get(rule("content", "cake")).await.ok();
    assert_eq!((&kept["enabled"], &kept["actions"]), (&json!(true), &cake()["actions"]), "{kept}");
}

async fn an_unknown_scope_has_no_rules(server: Server) {
    let alice = server.user("alice").await;
    for path in ["/pushrules/local/override/.m.rule.master", "/pushrules/global/sweets/cake"] {
        let answer = alice.get(path).await;
        assert!((400..500).contains(&answer.status), "{answer}");
    }
}

async fn wrong_pages_of_notifications_are_refused(server: Server) {
    let alice = server.user("alice").await;
    for (name, value) in [("limit", "x"), ("from", "nothing")] {
        let answer = alice.get("/notifications").query(name, value).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
}
