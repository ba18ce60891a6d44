//! Tests retention: what the logs leave behind goes when nobody needs it any more, and not before.

use bytes::Bytes;
use diesel_async::AsyncPgConnection;
use futures::TryStreamExt as _;
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::{ErrorReason, PartitionHead},
    log::v1::{SetAccountData, input_user_event::Command},
    reader::v1::{
        ListCursorsRequest, MoveCursorsRequest, OutputLog as Log, RemoveReaderRequest,
        reader_cursor_service_client::ReaderCursorServiceClient,
    },
    room::v1::{StreamRangeRequest, room_stream_service_client::RoomStreamServiceClient},
    user::v1::{self as user, GetUserSnapshotRequest, user_stream_service_client::UserStreamServiceClient},
};
use plexus_service::{RpcChannel, refusal::reason_of};
use serde_json::json;
use tonic::Status;

use super::{
    fixture::{ALICE, Server, World, message, public_room, user_record},
    users::register,
};
use crate::store::{
    output::OutputLog,
    output_retention::{Retention, Trimmed, trim},
};

/// Nothing stays that is published.
const AT_ONCE: Retention = Retention { window_ms: -1, patience_ms: 1_000_000 };

/// `seq`s of a range of a room's partition.
async fn range(server: &Server, partition: u32, after_seq: u64) -> Result<Vec<u64>, Status> {
    let request = StreamRangeRequest { partition, after_seq, to_seq: 0 };
    let chunks =
        RoomStreamServiceClient::new(server.channel.clone()).stream_range(request).await?.into_inner();
    let chunks: Vec<_> = chunks.try_collect().await?;
    Ok(chunks.into_iter().flat_map(|chunk| chunk.records).map(|record| record.seq).collect())
}

fn is_out_of_range<T: std::fmt::Debug>(answer: Result<T, Status>) -> bool {
    reason_of(&answer.expect_err("it is refused")) == Some(ErrorReason::OutOfRange)
}

/// A room with ten records, all published; returns its partition.
async fn ten_records(world: &World, server: &Server) -> (u32, i16) {
    let (room_id, create) = public_room("a");
    let mut last = server.accepted(&world.write_room(&create).await).await.seq;
    while last < 10 {
        last = server.accepted(&world.write_room(&message(&room_id, ALICE, "hello")).await).await.seq;
    }
    let partition = partition_of(&room_id);
    let published = format!("SELECT room_published_seq FROM partition_state WHERE partition = {partition}");
    world.until(&published, 10).await;
    (partition, i16::try_from(partition).expect("small"))
}

async fn cut(conn: &mut AsyncPgConnection, partition: i16, retention: Retention, step: i64) -> Trimmed {
    trim(conn, OutputLog::Rooms, partition, retention, step).await.expect("it is trimmed")
}

fn cursors(server: &Server) -> ReaderCursorServiceClient<RpcChannel> {
    ReaderCursorServiceClient::new(server.channel.clone())
}

fn at(reader: &str, partition: u32, seq: u64) -> MoveCursorsRequest {
    let cursors = vec![PartitionHead { partition, seq }];
    MoveCursorsRequest { reader: reader.to_owned(), log: Log::Room.into(), cursors }
}

#[tokio::test(flavor = "multi_thread")]
async fn account_data_leaves_its_latest_value_and_no_more() {
    let world = World::new().await;
    let server = world.start_with("http://a", json!({"output_log_s": 0, "verdicts_s": 60})).await;
    server.accepted(&world.write_user(&user_record(ALICE, register())).await).await;
    let mut seq = 0;
    for filling in 0..20 {
        let content = json!({ "filling": char::from(b'a' + filling).to_string().repeat(200_000) });
        let data = SetAccountData {
            position: None,
            replaces: None,
            room_id: String::new(),
            r#type: "org.example.big".to_owned(),
            content: content.to_string().into(),
        };
        let written = world.write_user(&user_record(ALICE, Command::SetAccountData(data))).await;
        seq = server.accepted(&written).await.seq;
    }
    world.until("SELECT count(*) FROM user_output_log", 0).await;
    // The time of these inputs is long ago.
    world.until("SELECT count(*) FROM verdicts", 0).await;
    assert_eq!(world.number("SELECT count(*) FROM account_data").await, 1);
    let partition = partition_of(ALICE);
    let request = user::StreamRangeRequest { partition, after_seq: 0, to_seq: 0 };
    let mut client = UserStreamServiceClient::new(server.channel.clone());
    let chunks = client.stream_range(request).await.expect("it begins").into_inner();
    assert!(is_out_of_range(chunks.try_collect::<Vec<_>>().await));
    let snapshot = client.get_user_snapshot(GetUserSnapshotRequest { user_id: ALICE.to_owned() }).await;
    let snapshot = snapshot.expect("it is told").into_inner();
    assert_eq!((snapshot.account_data.len(), snapshot.account_data[0].seq), (1, seq));
    assert_eq!(snapshot.as_of.expect("it tells").seq, seq);
    // The next owner goes on behind what is gone.
    server.stop().await;
    let server = world.start().await;
    let data = SetAccountData {
        position: None,
        replaces: None,
        room_id: String::new(),
        r#type: "org.example.big".to_owned(),
        content: Bytes::from_static(b"{}"),
    };
    let written = world.write_user(&user_record(ALICE, Command::SetAccountData(data))).await;
    assert_eq!(server.accepted(&written).await.seq, seq + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_published_or_young_stays() {
    let world = World::new().await;
    let server = world.start().await;
    let (partition, number) = ten_records(&world, &server).await;
    server.stop().await;
    let mut conn = world.connect().await;
    let young = Retention { window_ms: 3_600_000, patience_ms: 3_600_000 };
    assert_eq!(cut(&mut conn, number, young, 100).await.deleted, 0);
    world
        .sql(&format!("UPDATE partition_state SET room_published_seq = 6 WHERE partition = {partition}"))
        .await;
    // An old one behind a young one stays: what is left has no holes.
    world.sql("UPDATE output_log SET written_ts = 0 WHERE seq <> 3").await;
    assert_eq!(cut(&mut conn, number, young, 100).await.deleted, 2);
    assert_eq!(cut(&mut conn, number, AT_ONCE, 3).await.deleted, 3, "a step is bounded");
    assert_eq!(cut(&mut conn, number, AT_ONCE, 100).await.deleted, 1);
    assert_eq!(cut(&mut conn, number, AT_ONCE, 100).await.deleted, 0, "the rest is not published");
    // Whoever owns the partition next publishes the rest, in order.
    let server = world.start().await;
    assert_eq!(range(&server, partition, 6).await.expect("it is there"), [7, 8, 9, 10]);
    assert!(is_out_of_range(range(&server, partition, 5).await));
    let published = format!("SELECT room_published_seq FROM partition_state WHERE partition = {partition}");
    world.until(&published, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_wait_for_registered_readers() {
    let world = World::new().await;
    let server = world.start().await;
    let (partition, number) = ten_records(&world, &server).await;
    let mut conn = world.connect().await;
    let mut client = cursors(&server);
    for (reader, seq) in [("search", 4), ("push", 7)] {
        let moved = client.move_cursors(at(reader, partition, seq)).await.expect("it is registered");
        assert!(moved.into_inner().lost.is_empty());
    }
    assert_eq!(cut(&mut conn, number, AT_ONCE, 100).await, Trimmed { deleted: 4, lost: Vec::new() });
    assert_eq!(range(&server, partition, 4).await.expect("it is kept").len(), 6);
    // Back to what is gone there is no way, and the cursor stays where it was.
    let moved = client.move_cursors(at("push", partition, 3)).await.expect("an answer").into_inner();
    assert_eq!(moved.lost, [PartitionHead { partition, seq: 4 }]);
    let list = ListCursorsRequest { reader: "push".to_owned(), log: Log::Room.into() };
    let listed = client.list_cursors(list.clone()).await.expect("an answer").into_inner();
    assert_eq!(listed.cursors, [PartitionHead { partition, seq: 7 }]);
    client.move_cursors(at("search", partition, 9)).await.expect("it moves");
    assert_eq!(cut(&mut conn, number, AT_ONCE, 100).await.deleted, 3);
    client.remove_reader(RemoveReaderRequest { reader: "push".to_owned() }).await.expect("it goes");
    assert_eq!(cut(&mut conn, number, AT_ONCE, 100).await.deleted, 2);
    // Who lags for longer than that loses its claim.
    let impatient = Retention { window_ms: -1, patience_ms: -1 };
    let lost = Trimmed { deleted: 1, lost: vec!["search".to_owned()] };
    assert_eq!(cut(&mut conn, number, impatient, 100).await, lost);
    let listed = client.list_cursors(ListCursorsRequest { reader: "search".to_owned(), ..list }).await;
    assert!(listed.expect("an answer").into_inner().cursors.is_empty());
    let moved = client.move_cursors(at("search", partition, 9)).await.expect("an answer").into_inner();
    assert_eq!(moved.lost, [PartitionHead { partition, seq: 10 }]);
    let moved = client.move_cursors(at("search", partition, 10)).await.expect("it begins anew").into_inner();
    assert!(moved.lost.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_that_make_no_sense_are_refused() {
    let world = World::new().await;
    let server = world.start().await;
    let mut client = cursors(&server);
    let twice =
        MoveCursorsRequest { cursors: vec![PartitionHead { partition: 1, seq: 0 }; 2], ..at("search", 1, 0) };
    let nowhere = MoveCursorsRequest { log: Log::Unspecified.into(), ..at("search", 1, 0) };
    for request in [at("", 1, 0), at("Search", 1, 0), at("search", 64, 0), at("search", 1, 1), twice, nowhere]
    {
        let refused = client.move_cursors(request.clone()).await.expect_err("it is refused");
        assert_eq!(reason_of(&refused), Some(ErrorReason::InvalidParam), "{request:?}");
    }
    for reader in 0..64 {
        client.move_cursors(at(&format!("reader-{reader}"), 1, 0)).await.expect("it is registered");
    }
    let refused = client.move_cursors(at("one-more", 1, 0)).await.expect_err("it is refused");
    assert_eq!(reason_of(&refused), Some(ErrorReason::LimitExceeded));
    client.move_cursors(at("reader-3", 2, 0)).await.expect("it is there already");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_and_alarms_are_bounded() {
    let world = World::new().await;
    let server = world.start_with("http://a", json!({"output_log_s": 0})).await;
    world
        .sql(
            "INSERT INTO dead_letters (topic, partition, log_offset, key, error, payload, created_ts) \
             SELECT 'InputRoomEvent', 9, n, 'room ' || n, 'nonsense', '\\xff', \
             CASE WHEN n = 12000 THEN 0 ELSE 4000000000000 END FROM generate_series(1, 12000) AS n; \
             INSERT INTO state_resets (room_nid, event_nid, lost_nid, latest_nids, detected_ts) \
             SELECT n, n, n, '{}', 4000000000000 FROM generate_series(1, 12000) AS n",
        )
        .await;
    world.until("SELECT count(*) FROM dead_letters", 9_999).await;
    assert_eq!(world.number("SELECT min(log_offset) FROM dead_letters").await, 2_001);
    world.until("SELECT count(*) FROM state_resets", 10_000).await;
    assert_eq!(world.number("SELECT min(event_nid) FROM state_resets").await, 2_001);
    server.stop().await;
}
