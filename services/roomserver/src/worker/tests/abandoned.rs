//! Snapshots that are told and not used, or used in vain.

use std::time::{Duration, Instant};

use bytes::Bytes;
use diesel_async::SimpleAsyncConnection as _;
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{InputRoomEvent, SnapshotChunk, StateBefore, input_room_event::Body},
    room::v1::{
        GetStateRequest, ListJoinedServersRequest, ListRoomsForUserRequest, StateKey,
        room_query_service_client::RoomQueryServiceClient,
    },
};
use serde_json::json;

use super::{
    fixture::{ALICE, Server, World, room_record},
    received::{Remote, far_room, graph, id_of, record, write_bulk},
};
use crate::store::snapshots;

const A: [u8; 16] = [0xa; 16];
const B: [u8; 16] = [0xb; 16];

/// A local user who never was in the room, whatever another server says.
const PHANTOM: &str = "@phantom:example.org";

/// The chunks of a snapshot.
fn chunks(room: &str, token: [u8; 16], events: &[Bytes]) -> Vec<InputRoomEvent> {
    let count = events.len().div_ceil(500);
    let chunk = |(index, pdus): (usize, &[Bytes])| SnapshotChunk {
        token: token.to_vec().into(),
        index: u32::try_from(index).expect("small"),
        room_version: "12".to_owned(),
        pdus: pdus.to_vec(),
        state_event_ids: pdus.iter().map(id_of).collect(),
        last: index + 1 == count,
        ..SnapshotChunk::default()
    };
    events.chunks(500).enumerate().map(|part| room_record(room, Body::Snapshot(chunk(part)))).collect()
}

async fn tell(world: &World, server: &Server, room: &str, token: [u8; 16], events: &[Bytes]) {
    for record in chunks(room, token, events) {
        server.accepted(&write_bulk(world, &record).await).await;
    }
}

/// Alice's join by a snapshot.
fn join(remote: &mut Remote, token: [u8; 16], events: &[Bytes]) -> InputRoomEvent {
    let (_, join) = remote.build(ALICE, "m.room.member", Some(ALICE), json!({"membership": "join"}));
    let mut join = record(&remote.room, &join);
    if let Some(Body::Pdu(pdu)) = &mut join.body {
        pdu.state_before = Some(StateBefore {
            snapshot_token: token.to_vec().into(),
            chunks: u32::try_from(events.len().div_ceil(500)).expect("small"),
            events: u32::try_from(events.len()).expect("small"),
        });
    }
    join
}

/// What a hostile server tells of a room: many members, a local one among them, and a topic.
fn hostile(members: usize) -> (Remote, Vec<Bytes>) {
    let (mut remote, mut events) = far_room(members);
    let creator = "@creator:b.example";
    events.push(remote.build(PHANTOM, "m.room.member", Some(PHANTOM), json!({"membership": "join"})).1);
    events.push(remote.build(creator, "m.room.topic", Some(""), json!({"topic": "a lie"})).1);
    (remote, events)
}

/// Rows that do not count.
async fn left(world: &World) -> (i64, i64, i64) {
    let told = |table: &str| {
        format!(
            "SELECT count(*) FROM {table} t LEFT JOIN rooms r \
             ON r.room_nid = t.room_nid AND r.snapshot = t.snapshot WHERE r.room_nid IS NULL"
        )
    };
    let chunks = world.number("SELECT count(*) FROM snapshot_chunks").await;
    (world.number(&told("room_members")).await, world.number(&told("room_facts")).await, chunks)
}

/// What the janitor does, at a time when all of it is too old.
async fn expire(world: &World) {
    let partitions: Vec<i16> = (0..64).collect();
    let mut conn = world.connect().await;
    snapshots::expire(&mut conn, &partitions, i64::MAX, snapshots::STEP, || false).await.expect("deletes");
}

async fn may_read(server: &Server, room: &str, user: &str) -> bool {
    let request = GetStateRequest {
        room_id: room.to_owned(),
        viewer: user.to_owned(),
        keys: vec![StateKey { r#type: "m.room.create".to_owned(), state_key: String::new() }],
        ..GetStateRequest::default()
    };
    RoomQueryServiceClient::new(server.channel.clone()).get_state(request).await.is_ok()
}

/// The servers of the room, with how many of their users are joined.
async fn servers(server: &Server, room: &str) -> Vec<(String, u64)> {
    let request =
        ListJoinedServersRequest { room_id: room.to_owned(), ..ListJoinedServersRequest::default() };
    let servers = graph(server).list_joined_servers(request).await.expect("answers").into_inner().servers;
    servers.into_iter().map(|server| (server.name, server.members)).collect()
}

#[tokio::test]
async fn only_the_snapshot_of_the_join_counts() {
    const FACTS: &str = "SELECT count(*) FROM current_facts WHERE type = 'm.room.topic'";
    let world = World::new().await;
    let server = world.start().await;
    let (lies, told) = hostile(10_000);
    tell(&world, &server, &lies.room, A, &told).await;
    assert_eq!(world.number("SELECT count(*) FROM current_members").await, 0);
    assert_eq!(world.number("SELECT count(*) FROM current_facts").await, 0);
    let (mut remote, events) = far_room(3);
    assert_eq!(remote.room, lies.room);
    tell(&world, &server, &remote.room, B, &events).await;
    let joined = join(&mut remote, B, &events);
    server.accepted(&world.write_room(&joined).await).await;

    assert_eq!(world.number("SELECT joined_members::bigint FROM rooms").await, 5);
    assert_eq!(world.number("SELECT count(*) FROM current_members").await, 5);
    assert_eq!(world.number(FACTS).await, 0);
    assert_eq!(world.number("SELECT count(*) FROM current_facts").await, 2);
    let expected = [("b.example".to_owned(), 4), ("example.org".to_owned(), 1)];
    assert_eq!(servers(&server, &remote.room).await, expected);
    assert!(may_read(&server, &remote.room, ALICE).await);
    assert!(!may_read(&server, &remote.room, PHANTOM).await);
    let rooms = ListRoomsForUserRequest { user_id: PHANTOM.to_owned(), ..ListRoomsForUserRequest::default() };
    let mut query = RoomQueryServiceClient::new(server.channel.clone());
    let rooms = query.list_rooms_for_user(rooms).await.expect("answers").into_inner().rooms;
    assert!(rooms.is_empty(), "{rooms:?}");

    // The chunks tell what is to be deleted, and go last.
    let (members, facts, chunks) = left(&world).await;
    assert_eq!((members, facts, chunks), (10_002, 3, 22));
    expire(&world).await;
    assert_eq!(left(&world).await, (0, 0, 0));
    assert_eq!(world.number("SELECT count(*) FROM current_members").await, 5);
    server.stop().await;
}

/// Positions of sliding sync count the rooms of a user by this number, so it must not move.
#[tokio::test]
async fn whom_a_snapshot_tells_has_had_to_do_with_the_room_since_the_join() {
    let world = World::new().await;
    let server = world.start().await;
    let (mut remote, events) = hostile(3);
    tell(&world, &server, &remote.room, A, &events).await;
    let join = join(&mut remote, A, &events);
    let joined = server.accepted(&world.write_room(&join).await).await.seq;
    assert!(joined > 0);
    let listed = async |user: &str| {
        let request = ListRoomsForUserRequest {
            user_id: user.to_owned(),
            include_forgotten: true,
            ..ListRoomsForUserRequest::default()
        };
        let mut query = RoomQueryServiceClient::new(server.channel.clone());
        let rooms = query.list_rooms_for_user(request).await.expect("answers").into_inner().rooms;
        (rooms[0].membership.clone(), rooms[0].first_seq)
    };
    assert_eq!(listed(ALICE).await, ("join".to_owned(), joined));
    assert_eq!(listed(PHANTOM).await, ("join".to_owned(), joined));
    let content = json!({"membership": "leave"});
    let (_, kick) = remote.build("@creator:b.example", "m.room.member", Some(PHANTOM), content);
    server.accepted(&world.write_room(&record(&remote.room, &kick)).await).await;
    assert_eq!(listed(PHANTOM).await, ("leave".to_owned(), joined));
    server.stop().await;
}

/// Of a room that nobody joins after all, nothing is left that tells of members or facts.
#[tokio::test]
async fn snapshot_of_a_refused_join_leaves_nothing() {
    let world = World::new().await;
    let server = world.start().await;
    let (mut remote, mut events) = hostile(20);
    let creator = "@creator:b.example";
    events.push(remote.build(creator, "m.room.member", Some(ALICE), json!({"membership": "ban"})).1);
    tell(&world, &server, &remote.room, A, &events).await;
    let refused = server.rejected(&world.write_room(&join(&mut remote, A, &events)).await).await;
    assert_eq!(refused.reason(), ErrorReason::Forbidden, "{}", refused.message);
    assert!(!may_read(&server, &remote.room, PHANTOM).await);
    assert_eq!(world.number("SELECT count(*) FROM current_members").await, 0);
    // Not before its time: somebody may still join by it.
    let partitions: Vec<i16> = (0..64).collect();
    let mut conn = world.connect().await;
    snapshots::expire(&mut conn, &partitions, 0, snapshots::STEP, || false).await.expect("deletes nothing");
    assert!(left(&world).await.0 > 20);
    expire(&world).await;
    assert_eq!(left(&world).await, (0, 0, 0));
    server.stop().await;
}

/// A chunk that was under way when its room was joined tells nothing: it is processed again as one of a room that is known.
#[tokio::test]
async fn chunk_that_a_join_overtakes_tells_nothing() {
    let world = World::new().await;
    let server = world.start().await;
    let (mut remote, events) = far_room(3);
    tell(&world, &server, &remote.room, A, &events).await;
    let partition = partition_of(&remote.room);
    let mut blocking = world.connect().await;
    let block = format!("BEGIN; SELECT FROM bulk_lanes WHERE partition = {partition} FOR UPDATE");
    blocking.batch_execute(&block).await.expect("nobody else has it");
    let (lies, told) = hostile(20);
    let late = chunks(&lies.room, B, &told).remove(0);
    let late = write_bulk(&world, &late).await;
    // It has found the room to be only joined, and waits with its commit.
    world.until_held_up().await;
    server.accepted(&world.write_room(&join(&mut remote, A, &events)).await).await;
    blocking.batch_execute("COMMIT").await.expect("it still has the row");
    server.accepted(&late).await;
    let (members, facts, chunks) = left(&world).await;
    assert_eq!((members, facts, chunks), (0, 0, 2));
    assert_eq!(world.number("SELECT count(*) FROM current_members").await, 5);
    server.stop().await;
}

/// The join itself writes one row, however many members the snapshot has told; its time is printed.
#[tokio::test]
async fn join_of_a_large_room_switches_one_row() {
    let world = World::new().await;
    let server = world.start().await;
    let (mut remote, events) = far_room(3);
    tell(&world, &server, &remote.room, A, &events).await;
    // As if all of them had been told by two hundred chunks.
    let more = "INSERT INTO room_members (room_nid, snapshot, user_id, membership, event_nid, seq) \
         SELECT r.room_nid, s.token, '@many' || n || ':c.example', 'join', r.create_nid, 0 \
         FROM rooms r JOIN snapshot_chunks s ON s.room_nid = r.room_nid AND s.chunk = 0, \
         generate_series(1, 100000) n; \
         INSERT INTO snapshot_chunks (room_nid, token, chunk, entries, created_ts) \
         SELECT s.room_nid, s.token, n, decode(repeat(md5(n::text), 780), 'hex'), s.created_ts \
         FROM snapshot_chunks s, generate_series(1, 200) n WHERE s.chunk = 0";
    world.sql(more).await;
    let written = "SELECT sum(n_tup_ins + n_tup_upd)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'room_members'";
    world.sql("SELECT pg_stat_force_next_flush()").await;
    let before = world.number(written).await;
    let join = world.write_room(&join(&mut remote, A, &events)).await;
    let began = Instant::now();
    server.accepted(&join).await;
    let took = began.elapsed();
    println!("the join of 100,000 members took {took:?}");
    assert_eq!(world.number("SELECT count(*) FROM current_members").await, 100_005);
    // The worker's connection tells its figures when it is idle.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut after = world.number(written).await;
    while after == before && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
        after = world.number(written).await;
    }
    assert_eq!(after - before, 1);
    server.stop().await;
}
