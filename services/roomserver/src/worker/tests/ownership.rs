//! Partitions change hands.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use plexus_log::partition_of;
use plexus_proto::{common::v1::ErrorReason, input::v1::verdict::Outcome};
use plexus_service::refusal::{metadata_of, reason_of};

use super::fixture::{ALICE, World, message, public_room};

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_owner_commits_nothing() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let partition = partition_of(&room_id);
    // Another instance claims the partition, and this one does not hear of it.
    world
        .sql(&format!(
            "UPDATE partition_state SET epoch = epoch + 1, owner = 'http://other' WHERE partition = {partition}"
        ))
        .await;
    let written = world.write_room(&message(&room_id, ALICE, "from the past")).await;
    let refused = server.verdict(&written).await.expect_err("it is not the owner any more");
    assert_eq!(reason_of(&refused), Some(ErrorReason::NotOwner));
    assert_eq!(metadata_of(&refused, "owner").as_deref(), Some("http://other"));
    assert_eq!(world.number("SELECT count(*) FROM events WHERE type = 'm.room.message'").await, 0);

    // The group goes on to say that the partition is ours, so it is claimed again, and the record is applied once.
    for _ in 0..200 {
        match server.verdict(&written).await {
            Ok(verdict) => {
                assert!(matches!(verdict.outcome, Some(Outcome::Accepted(_))), "{verdict:?}");
                break;
            }
            Err(_not_owner) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    assert_eq!(world.number("SELECT count(*) FROM events WHERE type = 'm.room.message'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_the_partitions_and_take_over() {
    let world = World::new().await;
    let first = world.start().await;
    let second = world.start().await;
    let (room_id, create) = public_room("a");
    let created = world.write_room(&create).await;
    let servers = [&first, &second];
    let mut answers = 0;
    for _ in 0..200 {
        for server in servers {
            if let Ok(verdict) = server.verdict(&created).await {
                assert!(matches!(verdict.outcome, Some(Outcome::Accepted(_))), "{verdict:?}");
                answers += 1;
            }
        }
        if answers > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answers > 0, "one of them owns the partition");
    first.stop().await;
    let sent = world.write_room(&message(&room_id, ALICE, "hello")).await;
    for _ in 0..500 {
        if let Ok(verdict) = second.verdict(&sent).await {
            assert!(matches!(verdict.outcome, Some(Outcome::Accepted(_))), "{verdict:?}");
            assert_eq!(world.output_room(partition_of(&room_id), 5).await.len(), 5);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the second server did not take over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_costs_no_record() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    for number in 0..5_u64 {
        world
            .sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
        let sent = world.write_room(&message(&room_id, ALICE, "hello")).await;
        assert_eq!(server.accepted(&sent).await.seq, 5 + number);
    }
    assert_eq!(world.number("SELECT count(*) FROM events WHERE type = 'm.room.message'").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_stops_within_a_transaction_is_replaced() {
    let world = World::new().await;
    let first = world.start().await;
    let (room_id, create) = public_room("a");
    first.accepted(&world.write_room(&create).await).await;
    first.stop().await;
    // As if it had stopped between the statements of a batch and its commit: all it has touched stays locked.
    let mut stopped = world.connect().await;
    let batch = "BEGIN; UPDATE partition_state SET room_offset = room_offset + 1";
    stopped.batch_execute(batch).await.expect("SQL holds");

    let second = world.start().await;
    let sent = world.write_room(&message(&room_id, ALICE, "hello")).await;
    let accepted = tokio::time::timeout(Duration::from_secs(20), second.accepted(&sent)).await;
    accepted.expect("the rows of its partitions are free again");
    stopped.batch_execute("COMMIT").await.expect_err("Postgres has ended it");
}
