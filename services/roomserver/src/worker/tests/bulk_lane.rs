//! The bulk lane aside of live traffic.

use bytes::Bytes;
use diesel_async::SimpleAsyncConnection as _;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{InputRoomEvent, SnapshotChunk, input_room_event::Body},
};

use super::{
    fixture::{ALICE, World, Written, message, room_record, rooms_of_one_partition},
    received::{far_room, write_bulk},
};

/// Chunks of 50 events, as records.
fn chunks(room: &str, events: &[Bytes]) -> Vec<InputRoomEvent> {
    let chunk = |(index, pdus): (usize, &[Bytes])| SnapshotChunk {
        token: vec![4; 16].into(),
        index: u32::try_from(index).expect("small"),
        room_version: "12".to_owned(),
        pdus: pdus.to_vec(),
        ..SnapshotChunk::default()
    };
    events.chunks(50).enumerate().map(|part| room_record(room, Body::Snapshot(chunk(part)))).collect()
}

/// A join does not hold up the neighbors: not even if nothing of it can be committed.
#[tokio::test]
async fn live_traffic_does_not_wait_for_what_came_before_it_in_the_bulk_lane() {
    let world = World::new().await;
    let server = world.start().await;
    let (remote, events) = far_room(500);
    let neighbors = rooms_of_one_partition(2);
    let (room, create) = &neighbors[0];
    server.accepted(&world.write_room(create).await).await;
    let mut blocking = world.connect().await;
    blocking.batch_execute("BEGIN; SELECT FROM bulk_lanes FOR UPDATE").await.expect("nobody else has them");
    let mut written = Vec::new();
    for record in chunks(&remote.room, &events) {
        written.push(write_bulk(&world, &record).await);
    }
    world.until_held_up().await;
    for n in 0..20 {
        server.accepted(&world.write_room(&message(room, ALICE, &n.to_string())).await).await;
    }
    assert_eq!(world.number("SELECT sum(bulk_offset)::bigint FROM bulk_lanes").await, 0);
    blocking.batch_execute("COMMIT").await.expect("it still has the rows");
    for chunk in &written {
        server.accepted(chunk).await;
    }
    server.stop().await;
}

/// What goes aside is numbered by the lane, below everything that live traffic is given: what cites it comes later.
#[tokio::test]
async fn what_goes_aside_has_lower_numbers_than_what_goes_in_turn() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = rooms_of_one_partition(1).remove(0);
    server.accepted(&world.write_room(&create).await).await;
    let (remote, events) = far_room(120);
    for record in chunks(&remote.room, &events) {
        server.accepted(&write_bulk(&world, &record).await).await;
    }
    let of = |room: &str| {
        format!("FROM events e JOIN rooms r ON r.room_nid = e.room_nid WHERE r.room_id = '{room}'")
    };
    assert_eq!(world.number(&format!("SELECT count(*) {}", of(&remote.room))).await, 124);
    let bit = "(event_nid >> 50) & 1";
    assert_eq!(world.number(&format!("SELECT max({bit}) {}", of(&remote.room))).await, 0);
    assert_eq!(world.number(&format!("SELECT min({bit}) {}", of(&room))).await, 1);
    let ahead = "SELECT count(*) FROM events e JOIN bulk_lanes l ON l.partition = e.event_nid >> 51 \
                 WHERE (event_nid >> 50) & 1 = 0 AND event_nid >= l.next_nid";
    assert_eq!(world.number(ahead).await, 0);
    server.stop().await;
}

/// Wherever the process dies, the next one goes on where the database says, and nothing is stored twice.
#[tokio::test]
async fn processes_that_die_lose_and_double_nothing_of_the_bulk_lane() {
    let world = World::new().await;
    let (remote, events) = far_room(1200);
    let records = chunks(&remote.room, &events);
    let mut written: Vec<Written> = Vec::new();
    for record in &records {
        written.push(write_bulk(&world, record).await);
    }
    for round in 1..=4_u64 {
        let server = world.start().await;
        // Some batches get through, wherever the next one stands.
        let reached = i64::try_from(round * 4).expect("small");
        world.until_reached("SELECT sum(bulk_offset)::bigint FROM bulk_lanes", reached).await;
        server.server.abort();
    }
    let server = world.start().await;
    for chunk in &written {
        server.accepted(chunk).await;
    }
    assert_eq!(world.number("SELECT count(*) FROM events").await, 1204);
    assert_eq!(world.number("SELECT count(*) FROM snapshot_chunks").await, 25);
    assert_eq!(world.number("SELECT sum(bulk_offset)::bigint FROM bulk_lanes").await, 25);
    assert_eq!(world.number("SELECT count(*) FROM dead_letters").await, 0);
    server.stop().await;
}

/// The last chunk puts the state together: one that does not follow on the others is refused, and changes nothing.
#[tokio::test]
async fn last_chunk_is_refused_unless_all_before_it_are_there() {
    let world = World::new().await;
    let server = world.start().await;
    let (remote, events) = far_room(120);
    let mut records = chunks(&remote.room, &events);
    let of = |record: &mut InputRoomEvent, last: bool| {
        record.input_id = super::fixture::input_id();
        if let Some(Body::Snapshot(chunk)) = &mut record.body {
            chunk.state_event_ids = chunk.pdus.iter().map(super::received::id_of).collect();
            chunk.last = last;
        }
    };
    records.iter_mut().for_each(|record| of(record, false));
    server.accepted(&write_bulk(&world, &records[0]).await).await;
    of(&mut records[2], true);
    let early = server.rejected(&write_bulk(&world, &records[2]).await).await;
    assert_eq!(early.reason(), ErrorReason::BadState);
    of(&mut records[2], false);
    server.accepted(&write_bulk(&world, &records[1]).await).await;
    server.accepted(&write_bulk(&world, &records[2]).await).await;
    assert_eq!(world.number("SELECT count(*) FROM state_node").await, 0);
    of(&mut records[2], true);
    server.accepted(&write_bulk(&world, &records[2]).await).await;
    assert_eq!(world.number("SELECT count(*) FROM snapshot_chunks WHERE chunk < 0").await, 1);
    assert!(world.number("SELECT count(*) FROM state_node").await > 1);
    server.stop().await;
}
