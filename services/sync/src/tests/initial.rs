//! The first sync of a client.

use serde_json::json;

use super::world::{World, ids, keys, token};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const ROOM: &str = "!room:example.org";

#[tokio::test]
async fn a_small_room_comes_as_its_whole_timeline() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let said = world.say(ROOM, ALICE, "hello").await;
    let replica = world.replica().await;
    let answer = replica.sync(&world, ALICE, &[]).await;
    let room = &answer["rooms"]["join"][ROOM];
    assert_eq!(ids(&room["timeline"]).len(), 4);
    assert_eq!(ids(&room["timeline"]).last(), Some(&said.as_str()));
    assert_eq!(room["timeline"]["limited"], false);
    assert_eq!(room["timeline"]["prev_batch"], "t1_0");
    assert_eq!(keys(&room["state"]), Vec::<String>::new());
    assert_eq!(room["summary"]["m.joined_member_count"], 1);
    assert_eq!(room["summary"]["m.invited_member_count"], 0);
    assert_eq!(room["summary"]["m.heroes"], json!([]));
    assert_eq!(room["unread_notifications"]["notification_count"], 0);
    let event = &room["timeline"]["events"][3];
    assert_eq!(event["content"]["body"], "hello");
    assert_eq!(event["unsigned"]["membership"], "join");
    assert_eq!(event.get("auth_events"), None);
    assert_eq!(event.get("room_id"), None);
}

#[tokio::test]
async fn state_is_that_before_the_timeline() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.set(ROOM, ALICE, "m.room.name", "", json!({"name": "old"})).await;
    for number in 0..70 {
        world.say(ROOM, ALICE, &number.to_string()).await;
    }
    world.set(ROOM, ALICE, "m.room.name", "", json!({"name": "new"})).await;
    world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": "t"})).await;
    for number in 0..5 {
        world.say(ROOM, ALICE, &number.to_string()).await;
    }
    let replica = world.replica().await;
    let answer = replica.sync(&world, ALICE, &[]).await;
    let room = &answer["rooms"]["join"][ROOM];
    assert_eq!(ids(&room["timeline"]).len(), 10);
    assert_eq!(room["timeline"]["limited"], true);
    assert_eq!(
        keys(&room["state"]),
        ["m.room.create|", "m.room.join_rules|", "m.room.member|@alice:example.org", "m.room.name|",]
    );
    let events = room["state"]["events"].as_array().unwrap();
    let name = events.iter().find(|event| event["type"] == "m.room.name").unwrap();
    assert_eq!(name["content"]["name"], "old");
    let timeline = room["timeline"]["events"].as_array().unwrap();
    let renamed = timeline.iter().find(|event| event["type"] == "m.room.name").unwrap();
    assert_eq!(renamed["unsigned"]["prev_content"]["name"], "old");
    assert_eq!(room["summary"].get("m.heroes"), None);
    // Where the state after the timeline is wanted, the timeline tells nothing of it.
    let after = replica.sync(&world, ALICE, &[("use_state_after", "true")]).await;
    let room = &after["rooms"]["join"][ROOM];
    assert_eq!(room.get("state"), None);
    let events = room["state_after"]["events"].as_array().unwrap();
    let name = events.iter().find(|event| event["type"] == "m.room.name").unwrap();
    assert_eq!(name["content"]["name"], "new");
    assert_eq!(events.len(), 5);
}

#[tokio::test]
async fn a_timeline_longer_than_memory_is_completed_by_the_room_server() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    for number in 0..100 {
        world.say(ROOM, ALICE, &number.to_string()).await;
    }
    let replica = world.replica().await;
    let filter = r#"{"room":{"timeline":{"limit":80}}}"#;
    let answer = replica.sync(&world, ALICE, &[("filter", filter)]).await;
    let timeline = &answer["rooms"]["join"][ROOM]["timeline"];
    let bodies: Vec<_> =
        timeline["events"].as_array().unwrap().iter().map(|event| event["content"]["body"].clone()).collect();
    let expected: Vec<_> = (20..100).map(|number| json!(number.to_string())).collect();
    assert_eq!(bodies, expected);
    assert_eq!(timeline["limited"], true);
    assert_eq!(keys(&answer["rooms"]["join"][ROOM]["state"]).len(), 3);
}

#[tokio::test]
async fn account_data_and_invites_are_there_and_left_rooms_only_if_asked_for() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.set(ROOM, ALICE, "m.room.name", "", json!({"name": "a name"})).await;
    world.member(ROOM, ALICE, BOB, "invite").await;
    world.create("!left:example.org", ALICE).await;
    world.member("!left:example.org", BOB, BOB, "join").await;
    world.member("!left:example.org", ALICE, BOB, "leave").await;
    world.say("!left:example.org", ALICE, "unseen").await;
    world.set_account_data(BOB, "", "m.direct", json!({"a": []})).await;
    let replica = world.replica().await;
    let answer = replica.sync(&world, BOB, &[]).await;
    let data = answer["account_data"]["events"].as_array().unwrap();
    let own: Vec<_> = data.iter().filter(|event| event["type"] != "m.push_rules").collect();
    assert_eq!(own, [&json!({"type": "m.direct", "content": {"a": []}})]);
    assert_eq!(answer["rooms"]["leave"], json!({}));
    let invited = &answer["rooms"]["invite"][ROOM]["invite_state"];
    assert_eq!(
        keys(invited),
        [
            "m.room.create|",
            "m.room.join_rules|",
            "m.room.member|@alice:example.org",
            "m.room.member|@bob:example.org",
            "m.room.name|",
        ]
    );
    assert_eq!(invited["events"][0].get("event_id"), None);
    let filter = r#"{"room":{"include_leave":true}}"#;
    let answer = replica.sync(&world, BOB, &[("filter", filter)]).await;
    let timeline = &answer["rooms"]["leave"]["!left:example.org"]["timeline"];
    let events = timeline["events"].as_array().unwrap();
    assert_eq!(events.last().unwrap()["content"]["membership"], "leave");
    // A ban is told to whoever begins, until it is forgotten.
    world.member("!left:example.org", ALICE, BOB, "ban").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[]).await;
    let events = answer["rooms"]["leave"]["!left:example.org"]["timeline"]["events"].as_array().unwrap();
    assert_eq!(events.last().unwrap()["content"]["membership"], "ban");
    world.forget("!left:example.org", BOB).await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("filter", filter)]).await;
    assert_eq!(answer["rooms"]["leave"], json!({}));
}

#[tokio::test]
async fn broken_requests_are_refused() {
    let world = World::new();
    let replica = world.replica().await;
    let alice = world.login(ALICE, "D");
    for (query, status, errcode) in [
        (("since", "s2_garbage!"), 400, "M_UNKNOWN_POS"),
        (("since", "s72594_4483_1934"), 400, "M_UNKNOWN_POS"),
        (("filter", "{"), 400, "M_NOT_JSON"),
        (("filter", "missing"), 404, "M_NOT_FOUND"),
        (("timeout", "-1"), 400, "M_INVALID_PARAM"),
        (("set_presence", "asleep"), 400, "M_INVALID_PARAM"),
    ] {
        let (got, body) = replica.try_sync(&alice, &[query]).await;
        assert_eq!((got, body["errcode"].as_str()), (status, Some(errcode)), "{query:?}");
    }
    let (status, body) = replica.try_sync("unknown", &[]).await;
    assert_eq!((status, body["errcode"].as_str()), (401, Some("M_UNKNOWN_TOKEN")));
    let answer = replica.sync(&world, ALICE, &[("set_presence", "offline")]).await;
    assert!(token(&answer).starts_with("s3_"));
}
