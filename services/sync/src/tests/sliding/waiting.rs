//! When an answer waits, and when it does not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{super::world::Send, ALICE, BOB, World, all, ids, rooms};
use crate::endpoint::sliding::Bounds;

const ROOM: &str = "!room:test";

#[tokio::test]
async fn who_waits_is_woken_and_who_wants_more_does_not_wait() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.create("!other:test", ALICE).await;
    let replica = Arc::new(world.replica().await);
    let token = world.login(ALICE, "D");
    let begun = Instant::now();
    let body = all(1, 1, &[]);
    let (_, answer) = replica.sliding(&token, &[("timeout", "10000")], &body).await;
    let pos = answer["pos"].as_str().unwrap().to_owned();
    // Larger windows and limits are answered at once.
    for body in [all(2, 1, &[]), all(1, 3, &[]), all(1, 1, &[("m.room.create", "")])] {
        let query = [("pos", pos.as_str()), ("timeout", "10000")];
        let (_, answer) = replica.sliding(&token, &query, &body).await;
        assert_eq!(rooms(&answer).len(), 1, "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    let begun = Instant::now();
    let (_, answer) = replica.sliding(&token, &[("pos", &pos), ("timeout", "50")], &body).await;
    assert!(begun.elapsed() >= Duration::from_millis(50) && rooms(&answer).is_empty());
    let waiting = tokio::spawn({
        let (replica, token, body) = (Arc::clone(&replica), token.clone(), body.clone());
        async move { replica.sliding(&token, &[("pos", &pos), ("timeout", "10000")], &body).await.1 }
    });
    replica.waits(ALICE).await;
    let said = world.say("!other:test", ALICE, "one").await;
    let answer = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(ids(&answer["rooms"]["!other:test"]["timeline"]), [said.as_str()]);
}

#[tokio::test]
async fn typing_and_receipts_end_the_wait_if_they_are_wanted() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    let said = world.say(ROOM, ALICE, "one").await;
    let replica = Arc::new(world.replica().await);
    let token = world.login(ALICE, "D");
    let mut body = all(1, 1, &[]);
    body["extensions"] = json!({"typing": {"enabled": true}, "receipts": {"enabled": true}});
    let (_, answer) = replica.sliding(&token, &[], &body).await;
    let mut pos = answer["pos"].as_str().unwrap().to_owned();
    for what in ["typing", "receipts"] {
        let waiting = tokio::spawn({
            let (replica, token, body, pos) =
                (Arc::clone(&replica), token.clone(), body.clone(), pos.clone());
            async move { replica.sliding(&token, &[("pos", &pos), ("timeout", "10000")], &body).await.1 }
        });
        replica.waits(ALICE).await;
        match what {
            "typing" => world.types(ROOM, BOB, 30_000).await,
            _ => world.receipt(ROOM, BOB, "m.read", &said, "").await,
        }
        let answer = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        assert!(answer["extensions"][what]["rooms"][ROOM].is_object(), "{answer}");
        assert!(rooms(&answer).is_empty(), "{answer}");
        answer["pos"].as_str().unwrap().clone_into(&mut pos);
    }
}

/// The room server reads the heads first, and then the rooms.
#[tokio::test]
async fn rooms_that_are_ahead_of_the_log_are_waited_for() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    replica.settle(&world).await;
    let heads = world.facts.lock().room_seqs.clone();
    world.facts.lock().heads_before = Some(heads);
    let content = json!({"membership": "join", "displayname": "Alice"});
    let (kind, key) = ("m.room.member", Some(ALICE));
    let ahead = world.commit(Send { room: ROOM, sender: ALICE, kind, state_key: key, content, txn: None });
    let token = world.login(ALICE, "D");
    let told = async {
        let user = ruma::UserId::parse(ALICE).unwrap();
        let is_loaded =
            || replica.service.view.find_user(&user).is_some_and(|user| user.attention().is_some());
        while !is_loaded() {
            tokio::task::yield_now().await;
        }
        world.log.append::<plexus_log::OutputRoom>(&ahead).await.unwrap();
    };
    let body = all(1, 1, &[]);
    let ((_, answer), ()) = tokio::join!(replica.sliding(&token, &[], &body), told);
    assert_eq!(rooms(&answer), [ROOM], "{answer}");
}

#[tokio::test]
async fn what_no_token_has_room_for_is_told_when_the_time_is_up_and_not_in_a_loop() {
    let mut world = World::new();
    world.bounds = Bounds { length: 1, ..Bounds::default() };
    for number in 0..5 {
        world.create(&format!("!{number}:test"), ALICE).await;
    }
    let replica = world.replica().await;
    let token = world.login(ALICE, "D");
    let (_, answer) = replica.sliding(&token, &[], &all(3, 1, &[])).await;
    assert_eq!(rooms(&answer).len(), 3);
    let pos = answer["pos"].as_str().unwrap();
    let begun = Instant::now();
    let (_, answer) = replica.sliding(&token, &[("pos", pos), ("timeout", "100")], &all(3, 1, &[])).await;
    assert!(begun.elapsed() >= Duration::from_millis(100), "it waits");
    assert_eq!(rooms(&answer).len(), 3, "and tells them");
    assert_eq!(answer["rooms"]["!4:test"]["initial"], true);
}
