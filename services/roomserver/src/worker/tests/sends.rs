//! Sending, repeating, publishing; over restarts and crashes.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::StreamExt as _;
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::verdict::Outcome,
    log::v1::output_room_event::Body,
    room::v1::{
        StreamRangeRequest, StreamRoomSnapshotRequest, StreamStateDeltaRequest,
        room_stream_service_client::RoomStreamServiceClient,
    },
};

use super::fixture::{
    ALICE, BOB, World, insist, message, message_with_txn, new_log, public_room, room_record,
    rooms_of_one_partition,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_the_whole_way() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    let created = server.accepted(&world.write_room(&create).await).await;
    assert_eq!(created.seq, 4);
    let sent = server.accepted(&world.write_room(&message(&room_id, ALICE, "hello")).await).await;
    assert_eq!(sent.seq, 5);
    let refused = server.rejected(&world.write_room(&message(&room_id, BOB, "let me in")).await).await;
    assert_eq!(refused.reason(), ErrorReason::NotJoined, "{}", refused.message);

    let output = world.output_room(partition_of(&room_id), 5).await;
    assert_eq!(output.len(), 5);
    let last = output.last().unwrap();
    assert_eq!((last.prev_room_seq, last.epoch), (4, 1));
    let Some(Body::NewEvent(event)) = &last.body else { panic!("{last:?}") };
    assert_eq!(event.event_id, sent.event_id);
    assert!(std::str::from_utf8(&event.json).unwrap().contains("hello"));
    server.stop().await;
    assert_eq!(world.number("SELECT count(*) FROM partition_state WHERE owner <> ''").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_tell_what_the_log_tells() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let joined =
        super::fixture::intent(BOB, "m.room.member", Some(BOB), serde_json::json!({"membership": "join"}));
    let joined = room_record(&room_id, plexus_proto::log::v1::input_room_event::Body::Intent(joined));
    server.accepted(&world.write_room(&joined).await).await;
    let sent = server.accepted(&world.write_room(&message(&room_id, BOB, "hello")).await).await;
    let partition = partition_of(&room_id);
    let published = world.output_room(partition, sent.seq).await;

    let mut client = RoomStreamServiceClient::new(server.channel.clone());
    let heads =
        client.get_heads(plexus_proto::room::v1::GetHeadsRequest {}).await.unwrap().into_inner().heads;
    assert_eq!(heads.len(), 64);
    assert_eq!(heads[partition as usize].seq, sent.seq);

    let request = StreamRangeRequest { partition, after_seq: 0, to_seq: 0 };
    let chunks = client.stream_range(request).await.unwrap().into_inner();
    let rebuilt: Vec<_> =
        chunks.map(|chunk| chunk.unwrap().records).collect::<Vec<_>>().await.into_iter().flatten().collect();
    assert_eq!(rebuilt, published);

    let request = StreamRoomSnapshotRequest { room_id: room_id.clone(), timeline_limit: 2 };
    let chunks = client.stream_room_snapshot(request).await.unwrap().into_inner();
    let chunks: Vec<_> = chunks.map(Result::unwrap).collect().await;
    let info = chunks[0].info.clone().unwrap();
    assert_eq!((info.joined_members, info.last_seq), (2, sent.seq));
    assert_eq!(chunks[0].as_of.unwrap().seq, sent.seq);
    assert_eq!(chunks.iter().map(|chunk| chunk.state.len()).sum::<usize>(), 5);
    let timeline: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.timeline).collect();
    assert_eq!(timeline.len(), 2);
    assert_eq!(timeline[1].event.as_ref().unwrap().event_id, sent.event_id);
    assert!(chunks.last().unwrap().more_before);

    for (from_seq, changed) in [(4, 1), (0, 5)] {
        let request = StreamStateDeltaRequest { room_id: room_id.clone(), from_seq, to_seq: sent.seq };
        let chunks = client.stream_state_delta(request).await.unwrap().into_inner();
        let chunks: Vec<_> = chunks.map(Result::unwrap).collect().await;
        assert_eq!(chunks.iter().map(|chunk| chunk.changed.len()).sum::<usize>(), changed);
        assert!(chunks.iter().all(|chunk| chunk.removed.is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_change_nothing_and_get_the_same_answer() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let first = message_with_txn(&room_id, ALICE, "once", "t1");
    let sent = server.accepted(&world.write_room(&first).await).await;
    assert!(!sent.duplicate);

    let same_input = server.accepted(&world.write_room(&first).await).await;
    let same_txn = message_with_txn(&room_id, ALICE, "twice", "t1");
    let same_txn = server.accepted(&world.write_room(&same_txn).await).await;
    for repeat in [&same_input, &same_txn] {
        assert!(repeat.duplicate);
        assert_eq!((&repeat.event_id, repeat.seq), (&sent.event_id, sent.seq));
    }
    // Also within one batch, and when nothing of it is in memory.
    server.stop().await;
    let again = message_with_txn(&room_id, ALICE, "thrice", "t2");
    let written = [world.write_room(&again).await, world.write_room(&again).await];
    let repeated = world.write_room(&message_with_txn(&room_id, ALICE, "x", "t1")).await;
    let server = world.start().await;
    let (one, two) = (server.accepted(&written[0]).await, server.accepted(&written[1]).await);
    assert_eq!(one.event_id, two.event_id);
    assert_eq!((one.duplicate, two.duplicate), (false, true));
    assert_eq!(server.accepted(&repeated).await.event_id, sent.event_id);
    assert_eq!(world.number("SELECT count(*) FROM events WHERE type = 'm.room.message'").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_wiped_is_read_from_its_beginning() {
    let mut world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let first = message_with_txn(&room_id, ALICE, "before", "t1");
    let mut last = server.accepted(&world.write_room(&first).await).await;
    for number in 0..5 {
        last = server.accepted(&world.write_room(&message(&room_id, ALICE, &number.to_string())).await).await;
    }
    server.stop().await;

    // One that is shorter than our position, and one that is longer, with other records.
    for count in [2, 40] {
        world.log = new_log();
        let repeated = world.write_room(&first).await;
        let mut written = Vec::new();
        for number in 0..count {
            written.push(world.write_room(&message(&room_id, ALICE, &format!("after {number}"))).await);
        }
        let server = world.start().await;
        assert!(server.accepted(&repeated).await.duplicate);
        for written in &written {
            let accepted = server.accepted(written).await;
            assert_eq!(accepted.seq, last.seq + 1);
            last = accepted;
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_published_is_published_by_the_next_owner() {
    let mut world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let sent = server.accepted(&world.write_room(&message(&room_id, ALICE, "hello")).await).await;
    let partition = partition_of(&room_id);
    let before = world.output_room(partition, sent.seq).await;
    server.stop().await;
    assert_eq!(
        world.number("SELECT max(room_published_seq) FROM partition_state").await,
        i64::try_from(sent.seq).unwrap()
    );

    // As if the server had gone down between commit and publishing.
    world.sql("UPDATE partition_state SET room_published_seq = 0").await;
    world.log = new_log();
    let _server = world.start().await;
    assert_eq!(world.output_room(partition, sent.seq).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_again_what_was_applied_changes_nothing() {
    let world = World::new().await;
    let server = world.start().await;
    let rooms = rooms_of_one_partition(2);
    for (_, create) in &rooms {
        server.accepted(&world.write_room(create).await).await;
    }
    for number in 0..20 {
        let (room_id, _) = &rooms[number % 2];
        server.accepted(&world.write_room(&message(room_id, ALICE, &number.to_string())).await).await;
    }
    server.stop().await;
    let counts = "SELECT (SELECT count(*) FROM events) * 1000000 + (SELECT count(*) FROM output_log) * 1000 \
                  + (SELECT max(next_room_seq) FROM partition_state)";
    let before = world.number(counts).await;

    world.sql("UPDATE partition_state SET room_offset = 0, room_input_id = NULL").await;
    let server = world.start().await;
    let last = world.write_room(&message(&rooms[0].0, BOB, "refused, but the last one")).await;
    server.rejected(&last).await;
    assert_eq!(world.number(counts).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_lose_nothing_and_double_nothing() {
    const SENDERS: usize = 8;
    const EACH: usize = 60;
    let world = World::new().await;
    let server = world.start().await;
    let rooms = rooms_of_one_partition(2);
    for (_, create) in &rooms {
        server.accepted(&world.write_room(create).await).await;
    }
    let (open, channel) = tokio::sync::watch::channel(Some(server.channel.clone()));
    let world = Arc::new(world);
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (world, channel, room_id) =
                (Arc::clone(&world), channel.clone(), rooms[sender % 2].0.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0..EACH {
                    let txn = format!("{sender}-{number}");
                    let record = message_with_txn(&room_id, ALICE, &txn, &txn);
                    match insist(&world.log, &channel, &record).await.outcome {
                        Some(Outcome::Accepted(accepted)) => acknowledged.push(accepted.event_id),
                        other => panic!("{other:?}"),
                    }
                }
                acknowledged
            })
        })
        .collect();

    let mut server = server;
    for pause in [40, 15, 70, 5, 30] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        open.send(None).unwrap();
        server.server.abort();
        server = world.start().await;
        open.send(Some(server.channel.clone())).unwrap();
    }
    let mut acknowledged = Vec::new();
    for sender in senders {
        acknowledged.extend(sender.await.unwrap());
    }
    assert_eq!(acknowledged.iter().collect::<HashSet<_>>().len(), SENDERS * EACH);

    let partition = partition_of(&rooms[0].0);
    let head = u64::try_from(8 + SENDERS * EACH).unwrap();
    let output = world.output_room(partition, head).await;
    let seqs: Vec<u64> = output.iter().map(|record| record.seq).collect();
    assert_eq!(seqs, (1..=head).collect::<Vec<_>>());
    let put_out: HashSet<&str> = output
        .iter()
        .filter_map(|record| match &record.body {
            Some(Body::NewEvent(event)) => Some(event.event_id.as_str()),
            _ => None,
        })
        .collect();
    assert!(acknowledged.iter().all(|id| put_out.contains(id.as_str())));
    let messages = world.number("SELECT count(*) FROM events WHERE type = 'm.room.message'").await;
    assert_eq!(messages, i64::try_from(SENDERS * EACH).unwrap());
    // Each event follows one other, and none two: the graph of each room is a line.
    let forks = "SELECT count(*) FROM (SELECT 1 FROM events, unnest(prev_nids) AS p GROUP BY p HAVING count(*) > 1) x";
    assert_eq!(world.number(forks).await, 0);
    assert_eq!(world.number("SELECT max(cardinality(latest_nids))::bigint FROM rooms").await, 1);
}
