//! Tokens whose positions are none here: whoever has one is told everything anew, and is not refused.

use plexus_log::partition_of;
use plexus_matrix_http::token::SyncToken;
use serde_json::{Value, json};

use super::world::{Replica, World, ids, keys, token};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const ROOM: &str = "!room:example.org";
const LEFT: &str = "!left:example.org";

async fn world() -> World {
    let world = World::new();
    world.facts.lock().generation = 1;
    for room in [ROOM, LEFT] {
        world.create(room, ALICE).await;
        world.member(room, BOB, BOB, "join").await;
    }
    world.set_account_data(BOB, "", "org.example.global", json!({"n": 1})).await;
    world
}

/// Holds for an answer that takes nothing for known.
fn assert_everything(answer: &Value) {
    let room = &answer["rooms"]["join"][ROOM];
    assert_eq!(room["timeline"]["limited"], true, "it does not go on from what the client has: {answer}");
    let mut told = keys(&room["state"]);
    told.extend(keys(&room["timeline"]));
    assert!(told.contains(&"m.room.create|".to_owned()), "{told:?}");
    assert!(told.contains(&format!("m.room.member|{ALICE}")), "{told:?}");
    assert!(answer["rooms"]["leave"][LEFT].is_object(), "{answer}");
    assert_eq!(answer["account_data"]["events"][0]["content"], json!({"n": 1}));
}

async fn goes_on(world: &World, replica: &Replica, answer: &Value) {
    let said = world.say(ROOM, ALICE, "hello").await;
    replica.settle(world).await;
    let next = replica.sync(world, BOB, &[("since", &token(answer))]).await;
    assert_eq!(ids(&next["rooms"]["join"][ROOM]["timeline"]), [said]);
    assert_eq!(next["rooms"]["join"][ROOM]["timeline"]["limited"], false);
}

#[tokio::test]
async fn a_token_of_another_generation_is_answered_with_everything_at_once() {
    let world = world().await;
    let since = token(&world.replica().await.sync(&world, BOB, &[]).await);
    assert!(since.starts_with("s3_"), "{since}");
    world.member(LEFT, BOB, BOB, "leave").await;
    world.facts.lock().generation = 2;
    let replica = world.replica().await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &since), ("timeout", "20000")]).await;
    assert_everything(&answer);
    assert_eq!(token(&answer).parse::<SyncToken>().unwrap().generation, Some(2));
    goes_on(&world, &replica, &answer).await;
}

#[tokio::test]
async fn a_token_of_an_earlier_version_is_of_the_present_generation() {
    let world = world().await;
    let replica = world.replica().await;
    let since: SyncToken = token(&replica.sync(&world, BOB, &[]).await).parse().unwrap();
    let old = SyncToken { generation: None, ..since }.to_string();
    assert!(old.starts_with("s2_"), "{old}");
    let said = world.say(ROOM, ALICE, "hello").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &old)]).await;
    assert_eq!(ids(&answer["rooms"]["join"][ROOM]["timeline"]), [said]);
    assert!(token(&answer).starts_with("s3_"));
}

/// A backup was restored, and nobody raised the generation.
#[tokio::test]
async fn a_token_beyond_all_that_was_committed_is_answered_with_everything() {
    let world = world().await;
    world.member(LEFT, BOB, BOB, "leave").await;
    let replica = world.replica().await;
    let mut since: SyncToken = token(&replica.sync(&world, BOB, &[]).await).parse().unwrap();
    since.rooms[partition_of(ROOM) as usize] += 100;
    let answer = replica.sync(&world, BOB, &[("since", &since.to_string())]).await;
    assert_everything(&answer);
    goes_on(&world, &replica, &answer).await;
}

/// Messages to the device come all again, and nothing goes because of the token.
#[tokio::test]
async fn a_token_of_another_generation_has_delivered_nothing() {
    let world = world().await;
    let replica = world.replica().await;
    world.send_to_device(BOB, "D", json!({"number": 1})).await;
    replica.settle(&world).await;
    let first = replica.sync(&world, BOB, &[]).await;
    let told = |answer: &Value| answer["to_device"]["events"].as_array().unwrap().len();
    assert_eq!(told(&first), 1);
    let since: SyncToken = token(&first).parse().unwrap();
    assert!(since.inbox > 0, "{since}");
    world.member(LEFT, BOB, BOB, "leave").await;
    replica.settle(&world).await;
    let other = SyncToken { generation: Some(2), ..since };
    let beyond = SyncToken { inbox: since.inbox + 100, ..since };
    for since in [other, beyond] {
        let answer = replica.sync(&world, BOB, &[("since", &since.to_string())]).await;
        assert_eq!(told(&answer), 1, "{since}");
        assert_everything(&answer);
    }
    let answer = replica.sync(&world, BOB, &[("since", &since.to_string())]).await;
    assert_eq!(told(&answer), 0);
    world.acknowledged(BOB, since.inbox).await;
}
