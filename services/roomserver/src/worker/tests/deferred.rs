//! Records that cost more than their budget, and all that comes behind them.

use std::time::{Duration, Instant};

use diesel_async::SimpleAsyncConnection as _;
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{InputRoomEvent, SnapshotChunk, input_room_event::Body},
};
use serde_json::json;

use super::{
    fixture::{ALICE, Server, World, intent, message, public_room, room_record, rooms_of_one_partition},
    received::write_bulk,
};
use crate::rooms::slow::{self, SLOW};

/// A message that takes so many tenths of the budget of live traffic, each so many milliseconds.
fn slow_message(room: &str, tenths: u32, ms: u64) -> InputRoomEvent {
    room_record(room, Body::Intent(intent(ALICE, SLOW, None, json!({"tenths": tenths, "ms": ms}))))
}

/// The chunk of a snapshot, without anything.
fn empty_chunk(room: &str) -> InputRoomEvent {
    let chunk = SnapshotChunk {
        token: vec![1; 16].into(),
        room_version: "12".to_owned(),
        ..SnapshotChunk::default()
    };
    room_record(room, Body::Snapshot(chunk))
}

/// A room whose record takes ten times the budget of live traffic waits alone: its records stay in order, all others go
/// on, and a restart changes nothing of that.
#[tokio::test(flavor = "multi_thread")]
async fn room_whose_record_costs_much_waits_alone() {
    let world = World::new().await;
    let server = world.start().await;
    let mut rooms = rooms_of_one_partition(2);
    let (neighbor, create) = rooms.remove(1);
    server.accepted(&world.write_room(&create).await).await;
    let (room, create) = rooms.remove(0);
    server.accepted(&world.write_room(&create).await).await;

    let heavy = world.write_room(&slow_message(&room, 100, 60)).await;
    let behind = [
        world.write_room(&message(&room, ALICE, "first behind it")).await,
        world.write_room(&message(&room, ALICE, "second behind it")).await,
    ];
    let near = world.write_room(&message(&neighbor, ALICE, "hello")).await;
    let mut seqs = vec![server.accepted(&near).await.seq];
    assert_eq!(world.number("SELECT count(*) FROM deferred_inputs WHERE log = 1").await, 3);
    // What comes by the other log goes behind it, too.
    let chunk = write_bulk(&world, &empty_chunk(&room)).await;
    world.until("SELECT count(*) FROM deferred_inputs WHERE log = 3", 1).await;
    server.server.abort();

    let server = world.start().await;
    let near = world.write_room(&message(&neighbor, ALICE, "hello again")).await;
    seqs.push(server.accepted(&near).await.seq);
    assert_eq!(world.number("SELECT count(*) FROM deferred_inputs").await, 4);
    // Whoever asks is not told that the record is unknown, although the log is far behind it.
    seqs.push(server.accepted(&heavy).await.seq);
    for written in &behind {
        seqs.push(server.accepted(written).await.seq);
    }
    server.accepted(&chunk).await;
    world.until("SELECT count(*) FROM deferred_inputs", 0).await;
    let next = server.accepted(&world.write_room(&message(&room, ALICE, "in turn")).await).await.seq;
    seqs.push(next);
    let expected: Vec<u64> = (seqs[0]..=next).collect();
    assert_eq!(seqs, expected, "the neighbor's first, then the room's in their order");
    assert_eq!(world.number("SELECT count(*) FROM dead_letters").await, 0);
    // The worker did not work it out once more in its own turn.
    assert_eq!(slow::completed(&room), 1);
    assert!(server.verdict(&heavy).await.is_ok());
    server.stop().await;
}

/// What costs a hundred times the budget goes to `dead_letters`, and the room goes on.
#[tokio::test(flavor = "multi_thread")]
async fn record_that_costs_too_much_for_the_low_priority_lane_is_set_aside() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let endless = world.write_room(&slow_message(&room, u32::MAX, 1)).await;
    let behind = world.write_room(&message(&room, ALICE, "behind it")).await;
    let rejected = server.rejected(&endless).await;
    assert_eq!(rejected.reason(), ErrorReason::DeadLettered);
    assert!(rejected.message.contains("low-priority"), "{}", rejected.message);
    server.accepted(&behind).await;
    assert_eq!(world.number("SELECT count(*) FROM dead_letters").await, 1);
    assert_eq!(world.number("SELECT count(*) FROM deferred_inputs").await, 0);
    server.stop().await;
}

/// A record within the budget is processed in turn.
#[tokio::test(flavor = "multi_thread")]
async fn record_within_the_budget_is_not_deferred() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let mut blocking = world.connect().await;
    blocking
        .batch_execute("BEGIN; LOCK TABLE deferred_inputs IN EXCLUSIVE MODE")
        .await
        .expect("nobody has it");
    let written = world.write_room(&slow_message(&room, 9, 1)).await;
    server.accepted(&written).await;
    blocking.batch_execute("COMMIT").await.expect("it still has the table");
    server.stop().await;
}

/// How long messages of other rooms take while a record takes a minute of work: with controls before and after it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes, and prints figures"]
async fn latencies_beside_a_record_that_takes_a_minute() {
    let world = World::new().await;
    let server = world.start().await;
    let mut rooms = rooms_of_one_partition(2);
    let partition = partition_of(&rooms[0].0);
    let mut others = (0..).map(|salt| public_room(&format!("other {salt}")));
    rooms.push(others.find(|(room, _)| partition_of(room) != partition).expect("rooms spread"));
    for (_, create) in &rooms {
        server.accepted(&world.write_room(create).await).await;
    }
    let [room, near, far] = [&rooms[0].0, &rooms[1].0, &rooms[2].0];
    let before = latencies(&world, &server, [near, far]).await;
    let heavy = world.write_room(&slow_message(room, 600, 100)).await;
    let beside = latencies(&world, &server, [near, far]).await;
    world.until("SELECT count(*) FROM deferred_inputs", 1).await;
    world.until("SELECT count(*) FROM deferred_inputs", 0).await;
    server.accepted(&heavy).await;
    let after = latencies(&world, &server, [near, far]).await;
    for (index, name) in ["same", "other"].into_iter().enumerate() {
        let [before, beside, after] = [before[index], beside[index], after[index]];
        println!("{name} partition: p50, p99, longest before {before:?}, beside {beside:?}, after {after:?}");
    }
    server.stop().await;
}

/// Sends messages in turn to two rooms for 40 s; tells the median, the 99th percentile and the longest of each.
async fn latencies(world: &World, server: &Server, rooms: [&String; 2]) -> [[Duration; 3]; 2] {
    let mut took = [Vec::new(), Vec::new()];
    for n in 0..400 {
        for (room, took) in rooms.iter().zip(&mut took) {
            let began = Instant::now();
            server.accepted(&world.write_room(&message(room, ALICE, &n.to_string())).await).await;
            took.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(50).saturating_sub(began.elapsed())).await;
        }
    }
    took.map(|mut took| {
        took.sort_unstable();
        [took[200], took[396], took[399]]
    })
}

/// A connection that is lost between two batches leaves what is in memory of rooms: nothing can have been committed.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_stay_in_memory_unless_a_commit_is_in_doubt() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    // It cannot be read from the database any more.
    world.sql("UPDATE rooms SET version = 'unheard-of'").await;
    world
        .sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    server.accepted(&world.write_room(&message(&room, ALICE, "hello")).await).await;
    server.stop().await;
}
