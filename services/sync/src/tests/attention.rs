//! Tests notifications, and the work that they may take.

use serde_json::{Value, json};

use super::world::{Send, World, token};

const ALICE: &str = "@alice:test";
const BOB: &str = "@bob:test";
const CAROL: &str = "@carol:test";
const ROOM: &str = "!room:test";

async fn room() -> World {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    for user in [BOB, CAROL] {
        world.member(ROOM, user, user, "join").await;
    }
    world
}

impl World {
    async fn mentions_alice(&self, sender: &str) -> String {
        let content = json!({ "msgtype": "m.text", "body": "x", "m.mentions": { "user_ids": [ALICE] } });
        self.send(Send { room: ROOM, sender, kind: "m.room.message", state_key: None, content, txn: None })
            .await
    }

    async fn has_words(&self, user: &str, patterns: &[String]) {
        let rule = |(id, pattern): (usize, &String)| {
            let id = id.to_string();
            json!({ "rule_id": id, "default": false, "enabled": true, "pattern": pattern, "actions": ["notify"] })
        };
        let rules: Vec<Value> = patterns.iter().enumerate().map(rule).collect();
        self.set_account_data(user, "", "m.push_rules", json!({ "global": { "content": rules } })).await;
    }
}

fn counts(answer: &Value) -> Option<(u64, u64)> {
    let counts = answer["rooms"]["join"][ROOM].get("unread_notifications")?;
    Some((counts["notification_count"].as_u64()?, counts["highlight_count"].as_u64()?))
}

#[tokio::test]
async fn ignored_users_do_not_notify() {
    let world = room().await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.mentions_alice(BOB).await;
    world.mentions_alice(CAROL).await;
    replica.settle(&world).await;
    assert_eq!(counts(&replica.sync(&world, ALICE, &[("since", &since)]).await), Some((2, 2)));
    for (ignored, expected) in
        [(json!({ BOB: {} }), (1, 1)), (json!({}), (2, 2)), (json!({ BOB: {} }), (1, 1))]
    {
        let list = json!({ "ignored_users": ignored });
        world.set_account_data(ALICE, "", "m.ignored_user_list", list).await;
        replica.settle(&world).await;
        assert_eq!(counts(&replica.sync(&world, ALICE, &[]).await), Some(expected), "carried on");
        assert_eq!(counts(&world.replica().await.sync(&world, ALICE, &[]).await), Some(expected), "fresh");
        let (status, list) = replica.get("notifications", &world.login(ALICE, "D"), &[]).await;
        assert_eq!((status, list["notifications"].as_array().unwrap().len() as u64), (200, expected.0));
    }
}

#[tokio::test]
async fn an_invite_is_listed_unless_it_is_not_wanted() {
    const OTHER: &str = "!other:test";
    let world = World::new();
    world.create(OTHER, BOB).await;
    let invite = world.member(OTHER, BOB, ALICE, "invite").await;
    let replica = world.replica().await;
    let session = world.login(ALICE, "D");
    let (_, list) = replica.get("notifications", &session, &[]).await;
    let listed = &list["notifications"][0];
    assert_eq!((&listed["event"]["event_id"], &listed["room_id"]), (&json!(invite), &json!(OTHER)));
    assert_eq!((&listed["read"], &listed["actions"][0]), (&json!(false), &json!("notify")));
    for unwanted in [
        ("m.ignored_user_list", json!({ "ignored_users": { BOB: {} } })),
        ("m.ignored_user_list", json!({})),
        (
            "m.push_rules",
            json!({ "global": { "override": [
            { "rule_id": ".m.rule.master", "default": true, "enabled": true, "actions": [] },
        ] } }),
        ),
    ] {
        let is_back = unwanted.1 == json!({});
        world.set_account_data(ALICE, "", unwanted.0, unwanted.1).await;
        replica.settle(&world).await;
        let (_, list) = replica.get("notifications", &session, &[]).await;
        assert_eq!(list["notifications"].as_array().unwrap().len(), usize::from(is_back), "{}", unwanted.0);
    }
}

#[tokio::test]
async fn where_counting_is_too_much_work_it_is_left_out_and_nothing_else_is() {
    let world = room().await;
    // Within the bounds of one rule, but all that there may be of them; each message is looked through for all of them.
    let patterns: Vec<String> = (0..100).map(|number| format!("*{}{number}", "a".repeat(200))).collect();
    world.has_words(ALICE, &patterns).await;
    world.say(ROOM, BOB, "before").await;
    let replica = world.replica().await;
    let first = replica.sync(&world, ALICE, &[]).await;
    assert_eq!(counts(&first), Some((1, 0)));
    let mut last = String::new();
    for _ in 0..150 {
        last = world.say(ROOM, BOB, &"a".repeat(8_000)).await;
    }
    replica.settle(&world).await;
    // One who counts from there on knows what was counted before, one who begins anew nothing.
    let answer = replica.sync(&world, ALICE, &[("since", &token(&first))]).await;
    let events = answer["rooms"]["join"][ROOM]["timeline"]["events"].as_array().unwrap();
    assert_eq!(events.last().unwrap()["event_id"], json!(last));
    let (counted, _) = counts(&answer).expect("what was last known");
    assert!((1..151).contains(&counted), "{counted}");
    let fresh = world.replica().await.sync(&world, ALICE, &[]).await;
    assert_eq!(counts(&fresh), None);
    assert!(
        fresh["rooms"]["join"][ROOM]["timeline"]["events"]
            .as_array()
            .is_some_and(|events| !events.is_empty())
    );
    // Others are not concerned.
    assert_eq!(counts(&replica.sync(&world, CAROL, &[]).await), Some((151, 0)));
}
