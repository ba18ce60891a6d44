//! Filters.

use serde_json::json;

use super::world::{World, ids, keys, token};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const ROOM: &str = "!room:example.org";

#[tokio::test]
async fn filters_choose_events_and_rooms() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.create("!other:example.org", ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    let said = world.say(ROOM, BOB, "hi").await;
    let replica = world.replica().await;
    let filter = json!({
        "room": {
            "rooms": [ROOM],
            "timeline": {"types": ["m.room.*"], "not_types": ["m.room.member"], "senders": [BOB]},
            "state": {"types": ["m.room.create"]},
        },
        "account_data": {"not_types": ["*"]},
    });
    world.set_account_data(ALICE, "", "m.direct", json!({})).await;
    let answer = replica.sync(&world, ALICE, &[("filter", &filter.to_string())]).await;
    assert_eq!(answer["account_data"]["events"], json!([]));
    assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), 1);
    let room = &answer["rooms"]["join"][ROOM];
    assert_eq!(ids(&room["timeline"]), [said.as_str()]);
    assert_eq!(keys(&room["state"]), ["m.room.create|"]);
}

#[tokio::test]
async fn state_that_the_timeline_hides_is_told() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": "t"})).await;
    let said = world.say(ROOM, ALICE, "x").await;
    replica.settle(&world).await;
    let filter = r#"{"room":{"timeline":{"types":["m.room.message"]}}}"#;
    let answer = replica.sync(&world, ALICE, &[("since", &since), ("filter", filter)]).await;
    let room = &answer["rooms"]["join"][ROOM];
    assert_eq!(ids(&room["timeline"]), [said.as_str()]);
    assert_eq!(keys(&room["state"]), ["m.room.topic|"]);
}

#[tokio::test]
async fn stored_filters_fields_and_the_federation_format_work() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let key = (ALICE.to_owned(), "f1".to_owned());
    world.facts.lock().filters.insert(key, json!({"event_fields": ["type", "content.membership"]}));
    let replica = world.replica().await;
    let answer = replica.sync(&world, ALICE, &[("filter", "f1")]).await;
    let event = &answer["rooms"]["join"][ROOM]["timeline"]["events"][1];
    assert_eq!(*event, json!({"type": "m.room.member", "content": {"membership": "join"}}));
    let answer = replica.sync(&world, ALICE, &[("filter", r#"{"event_format":"federation"}"#)]).await;
    let event = &answer["rooms"]["join"][ROOM]["timeline"]["events"][1];
    assert!(event["auth_events"].is_array());
}

#[tokio::test]
async fn no_timeline_at_all_can_be_asked_for() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    let filter = r#"{"room":{"timeline":{"limit":0}}}"#;
    let answer = replica.sync(&world, ALICE, &[("filter", filter)]).await;
    let room = &answer["rooms"]["join"][ROOM];
    assert_eq!(ids(&room["timeline"]), Vec::<&str>::new());
    assert_eq!(keys(&room["state"]).len(), 3);
    // Of a room that was left too: there the state tells of the leave.
    world.member(ROOM, BOB, BOB, "join").await;
    let since = token(&replica.sync(&world, BOB, &[]).await);
    world.member(ROOM, BOB, BOB, "leave").await;
    world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": "unseen"})).await;
    replica.settle(&world).await;
    let filter = ("filter", r#"{"room":{"timeline":{"limit":0},"include_leave":true}}"#);
    for (query, told) in [(&[filter][..], 4), (&[filter, ("since", &since)], 1)] {
        let answer = replica.sync(&world, BOB, query).await;
        let room = &answer["rooms"]["leave"][ROOM];
        assert_eq!(ids(&room["timeline"]), Vec::<&str>::new());
        assert_eq!(keys(&room["state"]).len(), told);
        let events = room["state"]["events"].as_array().unwrap();
        let own = events.iter().find(|event| event["state_key"] == BOB).unwrap();
        assert_eq!(own["content"]["membership"], "leave");
    }
}
