//! Brokers that go away, and topics that do.

use std::{
    collections::HashSet,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use plexus_log::{
    InputRoom, LogError, OwnershipEvent, PARTITIONS, StartAt, Watermarks,
    kafka::{self, KafkaConfig},
    partition_of,
};

use crate::{
    broker::{Broker, delete_topic},
    groups::Member,
    world::{World, config, number_of, read_numbers, record, rooms, shared_broker, soon},
};

#[tokio::test(flavor = "multi_thread")]
async fn broker_killed_under_load_loses_nothing_acknowledged() {
    let mut broker = Broker::start().await;
    let world = World::at(config(broker.address())).await;
    let rooms = rooms(4);
    let mut reader = world.log.reader::<InputRoom>().unwrap();
    for room in &rooms {
        reader.assign(partition_of(room), StartAt::Oldest).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = rooms
        .iter()
        .cloned()
        .map(|room| {
            let (world, stop) = (world.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if world.log.append::<InputRoom>(&record(&room, number)).await.is_ok() {
                        acknowledged.push(number);
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                acknowledged
            })
        })
        .collect();
    let mut entries = Vec::new();
    for _ in 0..2 {
        let before = entries.len();
        while entries.len() < before + 1000 {
            entries.extend(soon("a batch", reader.next_batch(256)).await.unwrap());
        }
        broker.kill().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        broker.run().await;
        let back = Instant::now();
        // What was fetched before the kill may come first: wait for something that was written after the return.
        let (partition, offset) = world.append(&rooms[0], u64::MAX).await;
        println!("appends go on after {:?}", back.elapsed());
        while !entries.iter().any(|entry| entry.partition == partition && entry.offset == offset) {
            entries.extend(soon("a batch", reader.next_batch(256)).await.unwrap());
        }
        println!("reading goes on after {:?}", back.elapsed());
        assert!(back.elapsed() < Duration::from_secs(10), "reading went on after {:?}", back.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    for (room, writer) in rooms.iter().zip(writers) {
        let acknowledged = writer.await.unwrap();
        assert!(acknowledged.len() > 100);
        let high = world.log.watermarks::<InputRoom>(partition_of(room)).await.unwrap().high;
        while entries.iter().filter(|entry| entry.partition == partition_of(room)).count() < high as usize {
            entries.extend(soon("the rest", reader.next_batch(256)).await.unwrap());
        }
        let offsets =
            entries.iter().filter(|entry| entry.partition == partition_of(room)).map(|entry| entry.offset);
        assert!(offsets.eq(0..high), "each offset comes once, in order");
        let numbers: Vec<u64> = entries
            .iter()
            .filter(|entry| entry.partition == partition_of(room))
            .map(number_of)
            .filter(|number| *number != u64::MAX)
            .collect();
        assert!(numbers.is_sorted(), "order is kept");
        let read: HashSet<u64> = numbers.iter().copied().collect();
        assert_eq!(read.len(), numbers.len(), "nothing is doubled");
        assert!(acknowledged.iter().all(|number| read.contains(number)), "nothing acknowledged is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_queue_pushes_back_and_drains_when_the_broker_returns() {
    let mut broker = Broker::start().await;
    // A broker takes its time to come back on a machine that has much to do.
    let config = KafkaConfig { append_timeout: Duration::from_secs(120), ..config(broker.address()) };
    let world = World::at(config).await;
    let rooms = rooms(8);
    world.append(&rooms[0], 0).await;
    broker.kill().await;
    // More than the producer's queue holds.
    let appends: Vec<_> = (0..96)
        .map(|number: usize| {
            let (log, room) = (world.log.clone(), rooms[number % 8].clone());
            tokio::spawn(async move {
                let mut large = record(&room, number as u64);
                large.traceparent = "x".repeat(900_000);
                log.append::<InputRoom>(&large).await
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(appends.iter().all(|append| !append.is_finished()), "appends wait");
    broker.run().await;
    for append in appends {
        append.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn append_without_a_broker_times_out() {
    let mut broker = Broker::start().await;
    let config = KafkaConfig { append_timeout: Duration::from_secs(2), ..config(broker.address()) };
    let world = World::at(config).await;
    let room = &rooms(1)[0];
    world.append(room, 0).await;
    broker.kill().await;
    let start = Instant::now();
    let refused = soon("an answer", world.log.append::<InputRoom>(&record(room, 1))).await;
    assert!(matches!(refused, Err(LogError::TimedOut)), "{refused:?}");
    assert!(start.elapsed() >= Duration::from_secs(2));
    broker.run().await;
    let back = Instant::now();
    while world.log.append::<InputRoom>(&record(room, 2)).await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(10), "appends do not go on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_waits_for_the_broker() {
    let mut broker = Broker::start().await;
    broker.kill().await;
    let config = config(broker.address());
    let opening = tokio::spawn(kafka::open(config));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!opening.is_finished());
    broker.run().await;
    soon("the log", opening).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_deleted_and_made_again_is_read_from_its_start() {
    let config = config(shared_broker());
    let world = World::at(config.clone()).await;
    let room = &rooms(1)[0];
    for number in 0..20 {
        world.append(room, number).await;
    }
    let mut reader = world.reader_at(partition_of(room), StartAt::Oldest).await;
    read_numbers(&mut reader, 20).await;

    delete_topic(&config).await;
    // Another process, as after a restart of everything.
    let again = World::at(config.clone()).await;
    let marks = again.log.watermarks::<InputRoom>(partition_of(room)).await.unwrap();
    assert_eq!(marks, Watermarks { low: 0, high: 0 });
    for number in 100..103 {
        again.append(room, number).await;
    }
    let mut fresh = again.reader_at(partition_of(room), StartAt::Offset(20)).await;
    assert_eq!(read_numbers(&mut fresh, 3).await, [100, 101, 102]);
    // And one that has gone on all the time, with a producer that knew the topic before.
    assert_eq!(read_numbers(&mut reader, 3).await, [100, 101, 102]);
    world.append(room, 103).await;
    assert_eq!(read_numbers(&mut reader, 1).await, [103]);
    assert_eq!(read_numbers(&mut fresh, 1).await, [103]);
    delete_topic(&config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_a_killed_member_move_in_time() {
    let config = config(shared_broker());
    let world = World::at(config.clone()).await;
    let mut member = Member::new(world.log.join_group::<InputRoom>("workers").unwrap());
    member.reaches(PARTITIONS).await;
    // A whole process: only so does nobody say goodbye to the group. It comes when we have everything: of two that join
    // at once each may get its half in the first round, and nobody has anything to lose.
    let mut process = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kafka_only::member_of_another_process", "--ignored"])
        .env(PREFIX, &config.topic_prefix)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    drop(member.loses().await);
    assert_eq!(member.owned.len(), 32);
    // Long enough for the other to have taken its share.
    tokio::time::sleep(Duration::from_secs(2)).await;
    process.kill().await.unwrap();
    let killed = Instant::now();
    member.reaches(PARTITIONS).await;
    let took = killed.elapsed();
    println!("partitions moved after {took:?}");
    assert!(took < Duration::from_secs(10), "partitions moved after {took:?}");
    delete_topic(&config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn membership_that_expires_is_told_apart_from_a_loss() {
    let mut broker = Broker::start().await;
    let world = World::at(config(broker.address())).await;
    let mut member = Member::new(world.log.join_group::<InputRoom>("workers").unwrap());
    member.reaches(PARTITIONS).await;
    let next = async |member: &mut Member| soon("an event", member.ownership.next()).await.unwrap();
    broker.kill().await;
    match next(&mut member).await {
        OwnershipEvent::Expired(partitions) => assert_eq!(partitions.len(), member.owned.len()),
        other => panic!("{other:?}"),
    }
    broker.run().await;
    // The group begins anew with us.
    match next(&mut member).await {
        OwnershipEvent::Gained(partitions) => assert_eq!(partitions.len(), member.owned.len()),
        other => panic!("{other:?}"),
    }
}

/// Tells the process of a member which topics to use.
const PREFIX: &str = "PLEXUS_TEST_PREFIX";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other process of `partitions_of_a_killed_member_move_in_time`, which kills it"]
async fn member_of_another_process() {
    let topic_prefix = std::env::var(PREFIX).expect("started by another test");
    let log = kafka::open(KafkaConfig { topic_prefix, ..config(shared_broker()) }).await.unwrap();
    let mut ownership = log.join_group::<InputRoom>("workers").unwrap();
    tokio::time::timeout(Duration::from_secs(60), async { while ownership.next().await.is_some() {} })
        .await
        .expect_err("it is killed, or gives up");
}
