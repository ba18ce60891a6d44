//! Partitions change hands.

use std::time::{Duration, Instant};

use diesel_async::SimpleAsyncConnection as _;
use plexus_log::{InputRoom, partition_of};
use plexus_proto::{common::v1::ErrorReason, input::v1::verdict::Outcome, log::v1::InputRoomEvent};
use plexus_service::refusal::{metadata_of, reason_of};
use tokio::task::JoinHandle;

use super::fixture::{ALICE, HELD_UP, Server, World, Written, message, public_room};
use crate::worker::GROUP;

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
    insist_on(&[&first, &second], &created).await;
    first.stop().await;
    let sent = world.write_room(&message(&room_id, ALICE, "hello")).await;
    insist_on(&[&second], &sent).await;
    assert_eq!(world.output_room(partition_of(&room_id), 5).await.len(), 5);
}

/// Makes a room in one of these partitions.
fn room_in(partitions: std::ops::Range<u32>) -> (String, InputRoomEvent) {
    let mut rooms = (0..1000).map(|salt| public_room(&salt.to_string()));
    rooms.find(|(room_id, _)| partitions.contains(&partition_of(room_id))).expect("rooms spread")
}

/// What a room server, `http://reborn`, leaves when it is killed: rooms of several partitions, all its own, and a
/// membership that lives on, so that the group goes on to give it half of them.
async fn killed_before(world: &World) -> ([(String, InputRoomEvent); 3], JoinHandle<()>) {
    let first = world.start().await;
    let rooms = [room_in(0..20), room_in(24..32), room_in(50..64)];
    for (_, create) in &rooms {
        first.accepted(&world.write_room(create).await).await;
    }
    first.stop().await;
    world.sql("UPDATE partition_state SET owner = 'http://reborn'").await;
    let mut dead = world.log.join_group::<InputRoom>(GROUP).expect("the log is open");
    (rooms, tokio::spawn(async move { while dead.next().await.is_some() {} }))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_behind_is_taken_up_even_if_the_group_speaks_first() {
    let world = World::new().await;
    let (rooms, _dead) = killed_before(&world).await;
    // Nobody can look into the database, and whoever tries is cut off when the group has had time to speak.
    let mut blocking = world.hold_up().await;
    let cut_off = async {
        world.until_held_up().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.sql(&format!("SELECT pg_terminate_backend(pid) {HELD_UP}")).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        blocking.batch_execute("COMMIT").await.expect("it still has the table");
    };
    let (reborn, ()) = tokio::join!(world.start_at("http://reborn"), cut_off);

    for (room_id, _) in &rooms {
        let sent = world.write_room(&message(room_id, ALICE, "hello")).await;
        let accepted = tokio::time::timeout(Duration::from_secs(5), reborn.accepted(&sent)).await;
        accepted.expect("it works on all that it found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_group_gives_to_the_dead_stays_with_who_works_on_it() {
    let world = World::new().await;
    let (rooms, dead) = killed_before(&world).await;
    let reborn = world.start_at("http://reborn").await;
    let known = world.write_room(&message(&rooms[1].0, ALICE, "the first")).await;
    reborn.accepted(&known).await;
    // For longer than it takes to look whether others have claimed anything.
    for number in 0..15 {
        for (room_id, _) in &rooms {
            let sent = world.write_room(&message(room_id, ALICE, &format!("hello {number}"))).await;
            let accepted = tokio::time::timeout(Duration::from_secs(2), reborn.accepted(&sent)).await;
            accepted.expect("it works on all that it found");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // A third gets some of what the dead one had. It claims that, and the other hears of it without a record to commit.
    let second = world.start_at("http://second").await;
    let room_id = &rooms[1].0;
    let claimed = format!(
        "SELECT count(*) FROM partition_state WHERE partition = {} AND owner = 'http://second'",
        partition_of(room_id)
    );
    world.until(&claimed, 1).await;
    // It answers for the partition as long as it holds it.
    let give_up = Instant::now() + Duration::from_secs(20);
    while reborn.verdict(&known).await.is_ok() {
        assert!(Instant::now() < give_up, "it still holds what the other has claimed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sent = world.write_room(&message(room_id, ALICE, "to the second")).await;
    let refused = reborn.verdict(&sent).await.expect_err("it has let go");
    assert_eq!(metadata_of(&refused, "owner").as_deref(), Some("http://second"));
    second.accepted(&sent).await;

    // What nobody claims stays, and comes back by the group's word when it misses the dead one.
    dead.abort();
    for (room_id, _) in [&rooms[0], &rooms[2]] {
        let sent = world.write_room(&message(room_id, ALICE, "to either")).await;
        insist_on(&[&reborn, &second], &sent).await;
    }
    let messages = "SELECT count(*) FROM events WHERE type = 'm.room.message'";
    assert_eq!(world.number(messages).await, 1 + 3 * 15 + 3);
}

/// Asks servers in turn until one of them has accepted an input.
async fn insist_on(servers: &[&Server], written: &Written) {
    for _ in 0..500 {
        for server in servers {
            if let Ok(verdict) = server.verdict(written).await {
                assert!(matches!(verdict.outcome, Some(Outcome::Accepted(_))), "{verdict:?}");
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody took over");
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
