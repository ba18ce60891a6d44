//! Syncs that go on from a token.

use std::time::{Duration, Instant};

use serde_json::json;

use super::world::{Send, World, ids, keys, token};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const ROOM: &str = "!room:example.org";

#[tokio::test]
async fn only_what_is_new_comes_and_a_quiet_server_answers_at_the_end_of_the_time() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    let begun = Instant::now();
    let answer = replica.sync(&world, ALICE, &[("since", &since), ("timeout", "50")]).await;
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(answer["rooms"]["join"], json!({}));
    assert_eq!(token(&answer), since);
    let said = world.say(ROOM, ALICE, "one").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, ALICE, &[("since", &since)]).await;
    let room = &answer["rooms"]["join"][ROOM];
    assert_eq!(ids(&room["timeline"]), [said.as_str()]);
    assert_eq!(room["timeline"]["limited"], false);
    assert_eq!(keys(&room["state"]), Vec::<String>::new());
    assert_eq!(room["summary"], json!({}));
    // The same token gives the same answer.
    let again = replica.sync(&world, ALICE, &[("since", &since)]).await;
    assert_eq!(ids(&again["rooms"]["join"][ROOM]["timeline"]), [said.as_str()]);
    let since = token(&answer);
    let answer = replica.sync(&world, ALICE, &[("since", &since), ("full_state", "true")]).await;
    assert_eq!(ids(&answer["rooms"]["join"][ROOM]["timeline"]), Vec::<&str>::new());
    assert_eq!(keys(&answer["rooms"]["join"][ROOM]["state"]).len(), 3);
}

#[tokio::test]
async fn a_gap_is_limited_and_its_state_is_told() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": "in the gap"})).await;
    for number in 0..20 {
        world.say(ROOM, ALICE, &number.to_string()).await;
    }
    replica.settle(&world).await;
    // A replica that has only just started must tell the same.
    for replica in [&replica, &world.replica().await] {
        let answer = replica.sync(&world, ALICE, &[("since", &since)]).await;
        let room = &answer["rooms"]["join"][ROOM];
        assert_eq!(ids(&room["timeline"]).len(), 10);
        assert_eq!(room["timeline"]["limited"], true);
        assert_eq!(room["timeline"]["prev_batch"], "t1_14");
        assert_eq!(keys(&room["state"]), ["m.room.topic|"]);
    }
}

#[tokio::test]
async fn nothing_from_before_missing_events_is_told_with_what_follows_them() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.say(ROOM, ALICE, "before").await;
    let after = world.say_after_gap(ROOM, ALICE, "after").await;
    let last = world.say(ROOM, ALICE, "last").await;
    replica.settle(&world).await;
    // A replica that has only just started must tell the same.
    for replica in [&replica, &world.replica().await] {
        let answer = replica.sync(&world, ALICE, &[("since", &since)]).await;
        let room = &answer["rooms"]["join"][ROOM];
        assert_eq!(ids(&room["timeline"]), [after.as_str(), last.as_str()]);
        assert_eq!(room["timeline"]["limited"], true);
    }
}

#[tokio::test]
async fn a_token_older_than_memory_gets_the_exact_state() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let since = token(&world.replica().await.sync(&world, ALICE, &[]).await);
    world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": "in the gap"})).await;
    for number in 0..100 {
        world.say(ROOM, ALICE, &number.to_string()).await;
    }
    world.set(ROOM, ALICE, "m.room.name", "", json!({"name": "shown"})).await;
    let answer = world.replica().await.sync(&world, ALICE, &[("since", &since)]).await;
    let room = &answer["rooms"]["join"][ROOM];
    assert_eq!(keys(&room["state"]), ["m.room.topic|"]);
    assert_eq!(ids(&room["timeline"]).len(), 10);
    assert!(world.facts.lock().deltas > 0);
}

#[tokio::test]
async fn the_transaction_id_comes_back_to_the_sending_device_alone() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world
        .send(Send {
            room: ROOM,
            sender: ALICE,
            kind: "m.room.message",
            state_key: None,
            content: json!({"body": "x"}),
            txn: Some(("D", "txn-1")),
        })
        .await;
    replica.settle(&world).await;
    for (user, device, expected) in
        [(ALICE, "D", json!("txn-1")), (ALICE, "E", json!(null)), (BOB, "D", json!(null))]
    {
        let (_, answer) = replica.try_sync(&world.login(user, device), &[("since", &since)]).await;
        let event = &answer["rooms"]["join"][ROOM]["timeline"]["events"][0];
        assert_eq!(event["unsigned"]["transaction_id"], expected, "{user} {device}");
    }
}

#[tokio::test]
async fn waiting_requests_wake_at_once() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    let replica = std::sync::Arc::new(world.replica().await);
    let mut since = token(&replica.sync(&world, BOB, &[]).await);
    let mut slowest = Duration::ZERO;
    for number in 0..20 {
        let waiting = tokio::spawn({
            let (replica, world, since) = (replica.clone(), world.clone(), since.clone());
            async move { replica.sync(&world, BOB, &[("since", &since), ("timeout", "10000")]).await }
        });
        replica.waits(BOB).await;
        let begun = Instant::now();
        let said = world.say(ROOM, ALICE, &number.to_string()).await;
        let answer = waiting.await.unwrap();
        slowest = slowest.max(begun.elapsed());
        assert_eq!(ids(&answer["rooms"]["join"][ROOM]["timeline"]), [said.as_str()]);
        since = token(&answer);
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
}

#[tokio::test]
async fn replicas_may_alternate_and_nothing_comes_twice_or_not_at_all() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.create("!other:example.org", ALICE).await;
    let replicas = [world.replica().await, world.replica().await];
    let mut since = token(&replicas[0].sync(&world, ALICE, &[]).await);
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    // A replica may be so far behind that its next answer has all of them.
    let all = ("filter", r#"{"room":{"timeline":{"limit":100}}}"#);
    for round in 0..30 {
        for number in 0..round % 4 {
            let room = if number % 2 == 0 { ROOM } else { "!other:example.org" };
            sent.push(world.say(room, ALICE, "x").await);
        }
        // No waiting for the replica to have read it: a token ahead of a replica is waited for.
        let answer = replicas[round % 2].sync(&world, ALICE, &[("since", &since), all]).await;
        since = token(&answer);
        for room in [ROOM, "!other:example.org"] {
            let timeline = &answer["rooms"]["join"][room]["timeline"];
            received.extend(ids(timeline).into_iter().map(str::to_owned));
        }
    }
    for replica in &replicas {
        replica.settle(&world).await;
    }
    let answer = replicas[0].sync(&world, ALICE, &[("since", &since), all]).await;
    for room in [ROOM, "!other:example.org"] {
        received.extend(ids(&answer["rooms"]["join"][room]["timeline"]).into_iter().map(str::to_owned));
    }
    sent.sort();
    received.sort();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn account_data_comes_once_and_wakes() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = std::sync::Arc::new(world.replica().await);
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    let waiting = tokio::spawn({
        let (replica, world, since) = (replica.clone(), world.clone(), since.clone());
        async move { replica.sync(&world, ALICE, &[("since", &since), ("timeout", "10000")]).await }
    });
    replica.waits(ALICE).await;
    world.set_account_data(ALICE, ROOM, "m.tag", json!({"tags": {}})).await;
    let answer = waiting.await.unwrap();
    let data = &answer["rooms"]["join"][ROOM]["account_data"]["events"];
    assert_eq!(*data, json!([{"type": "m.tag", "content": {"tags": {}}}]));
    let answer = replica.sync(&world, ALICE, &[("since", &token(&answer))]).await;
    assert_eq!(answer["rooms"]["join"], json!({}));
}

#[tokio::test]
async fn messages_and_invites_of_ignored_users_do_not_come() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    let ignored = json!({"ignored_users": {(BOB): {}}});
    world.set_account_data(ALICE, "", "m.ignored_user_list", ignored).await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.say(ROOM, BOB, "unheard").await;
    let topic = world.set(ROOM, BOB, "m.room.topic", "", json!({"topic": "t"})).await;
    world.create("!bobs:example.org", BOB).await;
    world.member("!bobs:example.org", BOB, ALICE, "invite").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, ALICE, &[("since", &since)]).await;
    assert_eq!(ids(&answer["rooms"]["join"][ROOM]["timeline"]), [topic.as_str()]);
    assert_eq!(answer["rooms"]["invite"], json!({}));
}
