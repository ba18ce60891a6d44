//! Logs that lose, repeat and garble.

use std::{collections::HashSet, time::Duration};

use plexus_log::{OutputRoom, RawRecord, partition_of};
use serde_json::json;

use super::world::{Facts, Send, World, ids, token};

const ALICE: &str = "@alice:example.org";
const ROOM: &str = "!room:example.org";

fn message(body: &str) -> Send<'_> {
    let content = json!({"body": body});
    Send { room: ROOM, sender: ALICE, kind: "m.room.message", state_key: None, content, txn: None }
}

#[tokio::test]
async fn a_hole_in_the_log_is_filled_by_the_room_server() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.commit(message("lost"));
    world.commit(message("lost too"));
    world.say(ROOM, ALICE, "there").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, ALICE, &[("since", &since)]).await;
    assert_eq!(ids(&answer["rooms"]["join"][ROOM]["timeline"]).len(), 3);
}

#[tokio::test]
async fn a_log_that_stays_silent_is_made_up_for() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.commit(message("never published"));
    let answer = replica.sync(&world, ALICE, &[("since", &since), ("timeout", "20000")]).await;
    assert_eq!(ids(&answer["rooms"]["join"][ROOM]["timeline"]).len(), 1);
}

#[tokio::test]
async fn repeats_are_dropped() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    let records = [world.commit(message("one")), world.commit(message("two"))];
    for record in [&records[0], &records[0], &records[1], &records[0], &records[1]] {
        world.log.append::<OutputRoom>(record).await.unwrap();
    }
    replica.settle(&world).await;
    let last = world.say(ROOM, ALICE, "three").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, ALICE, &[("since", &since)]).await;
    let ids = ids(&answer["rooms"]["join"][ROOM]["timeline"]);
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[2], last);
}

#[tokio::test]
async fn a_garbled_record_stops_nothing() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.commit(message("garbled"));
    let garbage = RawRecord {
        key: ROOM.as_bytes().into(),
        headers: Vec::new(),
        payload: bytes::Bytes::from_static(b"\xff\xff\xff"),
    };
    world.log.append_raw::<OutputRoom>(partition_of(ROOM), garbage.clone()).await.unwrap();
    world.log.append_raw::<OutputRoom>(partition_of(ROOM), garbage).await.unwrap();
    let mut strange = world.commit(message("its event is not JSON"));
    if let Some(plexus_proto::log::v1::output_room_event::Body::NewEvent(new)) = &mut strange.body {
        new.json = bytes::Bytes::from_static(b"[");
    }
    world.log.append::<OutputRoom>(&strange).await.unwrap();
    world.say(ROOM, ALICE, "fine").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, ALICE, &[("since", &since)]).await;
    assert_eq!(ids(&answer["rooms"]["join"][ROOM]["timeline"]).len(), 3);
    assert!(replica.readiness.is_ready());
}

#[tokio::test]
async fn a_hole_that_nobody_can_fill_stops_the_process() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    let mut record = world.commit(message("from nowhere"));
    world.facts.lock().room_records.pop();
    record.seq += 5;
    world.log.append::<OutputRoom>(&record).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), replica.shutdown.requested()).await.unwrap();
    assert!(replica.shutdown.failure().unwrap().contains("OutputRoomEvent"));
    replica.shutdown.finish(Duration::from_secs(5)).await;
    assert!(!replica.readiness.is_ready());
}

#[tokio::test]
async fn a_token_ahead_of_the_replica_is_waited_for_not_refused() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = std::sync::Arc::new(world.replica().await);
    let first = replica.sync(&world, ALICE, &[]).await;
    let mut ahead: plexus_matrix_http::token::SyncToken = token(&first).parse().unwrap();
    let partition = partition_of(ROOM) as usize;
    ahead.rooms[partition] += 1;
    let waiting = tokio::spawn({
        let (replica, world) = (replica.clone(), world.clone());
        let since = ahead.to_string();
        async move { replica.sync(&world, ALICE, &[("since", &since)]).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    world.say(ROOM, ALICE, "known to the other replica").await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer["rooms"]["join"], json!({}));
    assert_eq!(token(&answer), ahead.to_string());
}

#[tokio::test]
async fn a_room_that_cannot_be_completed_stops_no_other_and_is_read_anew() {
    const OTHER: &str = "!other:example.org";
    for (is_hanging, slow) in [(false, 0), (true, 1)] {
        let world = World::new();
        world.create(ROOM, ALICE).await;
        world.create(OTHER, ALICE).await;
        let replica = world.replica().await;
        let since = token(&replica.sync(&world, ALICE, &[]).await);
        let damaged: fn(&mut Facts) -> &mut HashSet<String> =
            if is_hanging { |facts| &mut facts.hanging } else { |facts| &mut facts.broken };
        damaged(&mut world.facts.lock()).insert(ROOM.to_owned());
        for _ in 0..20 {
            let record = world.commit_resolved(ROOM, ALICE);
            world.log.append::<OutputRoom>(&record).await.unwrap();
        }
        let said = world.say(OTHER, ALICE, "heard").await;
        replica.settle(&world).await;
        assert!(world.facts.lock().deltas <= 1 - slow, "it is not asked again and again");
        damaged(&mut world.facts.lock()).clear();
        let wide = ("filter", r#"{"room":{"timeline":{"limit":100}}}"#);
        let answer = replica.sync(&world, ALICE, &[("since", &since), wide]).await;
        assert_eq!(ids(&answer["rooms"]["join"][OTHER]["timeline"]), [said.as_str()]);
        assert_eq!(ids(&answer["rooms"]["join"][ROOM]["timeline"]).len(), 20);
        assert!(replica.readiness.is_ready());
    }
}

#[tokio::test]
async fn a_room_that_nobody_here_watches_costs_no_call() {
    const BOB: &str = "@bob:example.org";
    let world = World::new();
    world.create(ROOM, BOB).await;
    let replica = world.replica().await;
    replica.sync(&world, ALICE, &[]).await;
    let record = world.commit_resolved(ROOM, BOB);
    world.log.append::<OutputRoom>(&record).await.unwrap();
    replica.settle(&world).await;
    assert_eq!(world.facts.lock().deltas, 0);
    // Of one that is watched, it is asked.
    replica.sync(&world, BOB, &[]).await;
    let record = world.commit_resolved(ROOM, BOB);
    world.log.append::<OutputRoom>(&record).await.unwrap();
    replica.settle(&world).await;
    assert_eq!(world.facts.lock().deltas, 1);
}
