//! Requests that wait while the session they came with ends.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::world::{Replica, World, token};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const ROOM: &str = "!room:example.org";

/// Alice and Bob are in a room, and a request of Bob's waits for a minute.
async fn waiting() -> (World, Arc<Replica>, JoinHandle<(u16, Value)>) {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    let replica = Arc::new(world.replica().await);
    let since = token(&replica.sync(&world, BOB, &[]).await);
    let session = world.login(BOB, "D");
    let waiting = tokio::spawn({
        let replica = Arc::clone(&replica);
        async move { replica.try_sync(&session, &[("since", &since), ("timeout", "60000")]).await }
    });
    replica.waits(BOB).await;
    (world, replica, waiting)
}

#[tokio::test]
async fn a_request_ends_with_its_session() {
    let (world, _replica, waiting) = waiting().await;
    world.logs_out(BOB).await;
    let (status, body) = waiting.await.unwrap();
    assert_eq!((status, &body["errcode"]), (401, &json!("M_UNKNOWN_TOKEN")));
}

#[tokio::test]
async fn who_lost_the_session_is_not_told_what_came_after() {
    let (world, _replica, waiting) = waiting().await;
    // Nobody told so yet.
    world.facts.lock().tokens.clear();
    world.say(ROOM, ALICE, "not for Bob").await;
    let (status, body) = waiting.await.unwrap();
    assert_eq!((status, &body["errcode"]), (401, &json!("M_UNKNOWN_TOKEN")));
}

#[tokio::test]
async fn the_end_of_another_session_changes_nothing() {
    let (world, replica, waiting) = waiting().await;
    world.logs_out(ALICE).await;
    world.login(ALICE, "D");
    replica.settle(&world).await;
    world.say(ROOM, ALICE, "for Bob").await;
    let (status, body) = waiting.await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(body["rooms"]["join"][ROOM]["timeline"]["events"][0]["content"]["body"], "for Bob");
}
