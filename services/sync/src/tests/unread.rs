//! Unread notifications and push rules.

use serde_json::{Value, json};

use super::world::{Replica, Send, World, token};
use crate::limits;

const ALICE: &str = "@alice:test";
const BOB: &str = "@bob:test";
const CAROL: &str = "@carol:test";
const ROOM: &str = "!room:test";
const BY_THREAD: &str = r#"{"room":{"timeline":{"unread_thread_notifications":true}}}"#;

async fn room() -> (World, Replica) {
    let world = World::new();
    let replica = world.replica().await;
    world.create(ROOM, ALICE).await;
    for user in [BOB, CAROL] {
        world.member(ROOM, user, user, "join").await;
    }
    replica.settle(&world).await;
    replica.sync(&world, ALICE, &[]).await;
    (world, replica)
}

impl World {
    async fn sends(&self, sender: &str, content: Value) -> String {
        let kind = "m.room.message";
        self.send(Send { room: ROOM, sender, kind, state_key: None, content, txn: None }).await
    }

    async fn in_thread(&self, sender: &str, root: &str) -> String {
        let relation = json!({ "rel_type": "m.thread", "event_id": root });
        self.sends(sender, json!({ "msgtype": "m.text", "body": "x", "m.relates_to": relation })).await
    }

    async fn mentions(&self, sender: &str, user: &str) -> String {
        let mentions = json!({ "user_ids": [user] });
        self.sends(sender, json!({ "msgtype": "m.text", "body": "x", "m.mentions": mentions })).await
    }
}

fn counts(value: &Value) -> (u64, u64) {
    let count = |name: &str| value[name].as_u64().expect("a count");
    (count("notification_count"), count("highlight_count"))
}

/// Unread notifications and highlights of Alice in the room: carried on here, and counted anew by a process that knows
/// nothing. Both say the same.
async fn unread(world: &World, replica: &Replica) -> (u64, u64) {
    replica.settle(world).await;
    let of = |answer: &Value| counts(&answer["rooms"]["join"][ROOM]["unread_notifications"]);
    let carried_on = of(&replica.sync(world, ALICE, &[]).await);
    let fresh = world.replica().await;
    assert_eq!(of(&fresh.sync(world, ALICE, &[]).await), carried_on);
    carried_on
}

async fn by_thread(world: &World, replica: &Replica, root: &str) -> ((u64, u64), Option<(u64, u64)>) {
    replica.settle(world).await;
    let of = |answer: &Value| {
        let room = &answer["rooms"]["join"][ROOM];
        let thread = room["unread_thread_notifications"].get(root).map(counts);
        (counts(&room["unread_notifications"]), thread)
    };
    let carried_on = of(&replica.sync(world, ALICE, &[("filter", BY_THREAD)]).await);
    let fresh = world.replica().await;
    assert_eq!(of(&fresh.sync(world, ALICE, &[("filter", BY_THREAD)]).await), carried_on);
    carried_on
}

#[tokio::test]
async fn messages_of_others_count_until_they_are_read() {
    let (world, replica) = room().await;
    assert_eq!(unread(&world, &replica).await, (0, 0));
    let first = world.say(ROOM, BOB, "one").await;
    assert_eq!(unread(&world, &replica).await, (1, 0));
    world.mentions(BOB, ALICE).await;
    let last = world.say(ROOM, CAROL, "three").await;
    assert_eq!(unread(&world, &replica).await, (3, 1));
    world.receipt(ROOM, ALICE, "m.read", &first, "").await;
    assert_eq!(unread(&world, &replica).await, (2, 1));
    world.receipt(ROOM, ALICE, "m.read.private", &last, "").await;
    assert_eq!(unread(&world, &replica).await, (0, 0));
    // The public one lags behind: what was read stays read.
    world.receipt(ROOM, ALICE, "m.read", &first, "").await;
    assert_eq!(unread(&world, &replica).await, (0, 0));
    world.say(ROOM, BOB, "four").await;
    assert_eq!(unread(&world, &replica).await, (1, 0));
    // Bob's receipts are Bob's.
    let last = world.say(ROOM, CAROL, "five").await;
    world.receipt(ROOM, BOB, "m.read", &last, "").await;
    assert_eq!(unread(&world, &replica).await, (2, 0));
}

#[tokio::test]
async fn saying_something_reads_what_was_said_before() {
    let (world, replica) = room().await;
    world.say(ROOM, BOB, "one").await;
    assert_eq!(unread(&world, &replica).await, (1, 0));
    world.say(ROOM, ALICE, "two").await;
    assert_eq!(unread(&world, &replica).await, (0, 0));
    world.say(ROOM, BOB, "three").await;
    // A new name is no answer.
    world.set(ROOM, ALICE, "m.room.member", ALICE, json!({ "membership": "join", "displayname": "A" })).await;
    assert_eq!(unread(&world, &replica).await, (1, 0));
}

#[tokio::test]
async fn nothing_counts_that_came_before_the_user() {
    let (world, replica) = room().await;
    world.say(ROOM, BOB, "one").await;
    world.member(ROOM, ALICE, ALICE, "leave").await;
    world.say(ROOM, BOB, "two").await;
    world.member(ROOM, ALICE, ALICE, "join").await;
    assert_eq!(unread(&world, &replica).await, (0, 0));
    world.say(ROOM, BOB, "three").await;
    assert_eq!(unread(&world, &replica).await, (1, 0));
}

#[tokio::test]
async fn threads_are_read_apart() {
    let (world, replica) = room().await;
    let root = world.say(ROOM, BOB, "root").await;
    world.in_thread(BOB, &root).await;
    let second = world.in_thread(BOB, &root).await;
    assert_eq!(unread(&world, &replica).await, (3, 0));
    assert_eq!(by_thread(&world, &replica, &root).await, ((1, 0), Some((2, 0))));
    world.receipt(ROOM, ALICE, "m.read", &root, "main").await;
    assert_eq!(by_thread(&world, &replica, &root).await, ((0, 0), Some((2, 0))));
    world.receipt(ROOM, ALICE, "m.read", &second, &root).await;
    assert_eq!(by_thread(&world, &replica, &root).await, ((0, 0), None));
    world.in_thread(CAROL, &root).await;
    let main = world.say(ROOM, BOB, "main").await;
    assert_eq!(by_thread(&world, &replica, &root).await, ((1, 0), Some((1, 0))));
    world.receipt(ROOM, ALICE, "m.read", &main, "").await;
    assert_eq!(by_thread(&world, &replica, &root).await, ((0, 0), None), "without a thread, it reads all");
    world.in_thread(BOB, &root).await;
    world.say(ROOM, BOB, "main").await;
    world.in_thread(ALICE, &root).await;
    assert_eq!(by_thread(&world, &replica, &root).await, ((1, 0), None), "an answer reads its thread");
}

#[tokio::test]
async fn rules_decide_what_counts() {
    let (world, replica) = room().await;
    world.say(ROOM, BOB, "one").await;
    world.mentions(BOB, ALICE).await;
    assert_eq!(unread(&world, &replica).await, (2, 1));
    let mut rules = plexus_push::Rules::predefined(ruma::user_id!("@alice:test"));
    rules.set_actions("underride", ".m.rule.message", b"[]").unwrap();
    let content: Value = serde_json::from_slice(&rules.content().unwrap()).unwrap();
    world.set_account_data(ALICE, "", "m.push_rules", content).await;
    assert_eq!(unread(&world, &replica).await, (1, 1), "only mentions count from now on");
    // With two in the room, the rule for such rooms applies to what comes then, and not to what came before.
    world.member(ROOM, CAROL, CAROL, "leave").await;
    world.say(ROOM, BOB, "two").await;
    assert_eq!(unread(&world, &replica).await, (2, 1));
}

#[tokio::test]
async fn only_those_with_the_power_notify_the_room() {
    let (world, replica) = room().await;
    let levels = json!({ "users": { BOB: 50 }, "notifications": { "room": 50 } });
    world.set(ROOM, ALICE, "m.room.power_levels", "", levels).await;
    let of_all = json!({ "msgtype": "m.text", "body": "x", "m.mentions": { "room": true } });
    world.sends(CAROL, of_all.clone()).await;
    assert_eq!(unread(&world, &replica).await, (1, 0));
    world.sends(BOB, of_all.clone()).await;
    assert_eq!(unread(&world, &replica).await, (2, 1));
    // What was said under other levels stays what it was, though Alice, who changes them, has read it.
    let levels = json!({ "users": { CAROL: 50 }, "notifications": { "room": 50 } });
    world.set(ROOM, ALICE, "m.room.power_levels", "", levels).await;
    world.sends(BOB, of_all).await;
    assert_eq!(unread(&world, &replica).await, (1, 0));
}

#[tokio::test]
async fn what_is_not_in_memory_is_asked_for() {
    let (world, replica) = room().await;
    // A rule that looks at the number of members has to know it at each event, however long ago.
    let mut rules = plexus_push::Rules::predefined(ruma::user_id!("@alice:test"));
    rules.set_actions("underride", ".m.rule.message", b"[]").unwrap();
    let content: Value = serde_json::from_slice(&rules.content().unwrap()).unwrap();
    world.set_account_data(ALICE, "", "m.push_rules", content).await;
    world.say(ROOM, BOB, "of three").await;
    world.member(ROOM, CAROL, CAROL, "leave").await;
    for _ in 0..3 {
        world.say(ROOM, BOB, "of two").await;
    }
    world.member(ROOM, CAROL, CAROL, "join").await;
    for number in 0..limits::TIMELINE + 50 {
        world.say(ROOM, BOB, &number.to_string()).await;
    }
    world.mentions(BOB, ALICE).await;
    assert_eq!(unread(&world, &replica).await, (4, 1));
    // Counting on costs nothing more: nobody is asked again.
    let asked = world.facts.lock().timelines;
    world.mentions(BOB, ALICE).await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, ALICE, &[]).await;
    assert_eq!(counts(&answer["rooms"]["join"][ROOM]["unread_notifications"]), (5, 2));
    assert_eq!(world.facts.lock().timelines, asked);
}

#[tokio::test]
async fn counts_come_with_what_changes_them() {
    let (world, replica) = room().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    let event = world.say(ROOM, BOB, "one").await;
    let answer = replica.sync(&world, ALICE, &[("since", &since), ("timeout", "10000")]).await;
    assert_eq!(counts(&answer["rooms"]["join"][ROOM]["unread_notifications"]), (1, 0));
    // A receipt changes them too, even where receipts are not wanted.
    let filter = r#"{"room":{"ephemeral":{"types":[]}}}"#;
    world.receipt(ROOM, ALICE, "m.read.private", &event, "").await;
    let since = token(&answer);
    let query = [("since", since.as_str()), ("timeout", "10000"), ("filter", filter)];
    let answer = replica.sync(&world, ALICE, &query).await;
    assert_eq!(counts(&answer["rooms"]["join"][ROOM]["unread_notifications"]), (0, 0));
    assert_eq!(answer["rooms"]["join"][ROOM]["ephemeral"]["events"], json!([]));
}

#[tokio::test]
async fn push_rules_come_as_account_data() {
    let (world, replica) = room().await;
    let rules = |answer: &Value| {
        let events = answer["account_data"]["events"].as_array().unwrap();
        events.iter().find(|event| event["type"] == "m.push_rules").map(|event| event["content"].clone())
    };
    let answer = replica.sync(&world, ALICE, &[]).await;
    let content = rules(&answer).expect("the predefined ones");
    assert_eq!(content["global"]["override"][0]["rule_id"], ".m.rule.master");
    let mention = &content["global"]["override"][4];
    assert_eq!(mention["conditions"][0]["value"], ALICE, "they are the user's");
    assert_eq!(rules(&replica.sync(&world, ALICE, &[("since", &token(&answer))]).await), None);
    // Rules of an older version lack predefined ones.
    world.set_account_data(ALICE, "", "m.push_rules", json!({ "global": { "room": [] } })).await;
    let answer = replica.sync(&world, ALICE, &[("since", &token(&answer)), ("timeout", "10000")]).await;
    assert_eq!(rules(&answer), Some(content));
}
