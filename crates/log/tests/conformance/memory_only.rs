//! Tests how the rings of the in-process log fill and drain.

use std::time::Duration;

use plexus_log::{
    InputRoom, Log, LogError, StartAt, Watermarks,
    memory::{self, MemoryConfig},
    partition_of,
};

use crate::world::{number_of, record, rooms, soon};

fn small(append_timeout: Duration) -> Log {
    memory::open(MemoryConfig { records_per_partition: 4, append_timeout })
}

#[tokio::test]
async fn full_partition_pushes_back_and_drains_in_order() {
    let log = small(Duration::from_secs(10));
    let room = rooms(1).remove(0);
    let mut reader = log.reader::<InputRoom>().unwrap();
    reader.assign(partition_of(&room), StartAt::Oldest).await.unwrap();
    let writer = tokio::spawn({
        let (log, room) = (log.clone(), room.clone());
        async move {
            for number in 0..50 {
                log.append::<InputRoom>(&record(&room, number)).await.unwrap();
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let marks = log.watermarks::<InputRoom>(partition_of(&room)).await.unwrap();
    assert_eq!(marks, Watermarks { low: 0, high: 4 }, "the writer waits");
    // A full partition is nobody else's concern.
    log.append::<InputRoom>(&record(&rooms(2)[1], 0)).await.unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < 50 {
        let batch = soon("a batch", reader.next_batch(3)).await.unwrap();
        numbers.extend(batch.iter().map(number_of));
    }
    assert_eq!(numbers, Vec::from_iter(0..50));
    writer.await.unwrap();
}

#[tokio::test]
async fn append_to_a_full_partition_times_out_and_has_not_happened() {
    let log = small(Duration::from_millis(50));
    let room = &rooms(1)[0];
    let mut reader = log.reader::<InputRoom>().unwrap();
    reader.assign(partition_of(room), StartAt::Oldest).await.unwrap();
    for number in 0..4 {
        log.append::<InputRoom>(&record(room, number)).await.unwrap();
    }
    let refused = log.append::<InputRoom>(&record(room, 4)).await;
    assert!(matches!(refused, Err(LogError::TimedOut)), "{refused:?}");
    // The slowest reader counts, and one that goes away does not.
    let mut fast = log.reader::<InputRoom>().unwrap();
    fast.assign(partition_of(room), StartAt::End).await.unwrap();
    drop(reader);
    log.append::<InputRoom>(&record(room, 5)).await.unwrap();
    assert_eq!(number_of(&fast.next_batch(1).await.unwrap()[0]), 5);
}

#[tokio::test]
async fn without_readers_the_oldest_records_go() {
    let log = small(Duration::from_millis(50));
    let room = &rooms(1)[0];
    for number in 0..10 {
        log.append::<InputRoom>(&record(room, number)).await.unwrap();
    }
    let marks = log.watermarks::<InputRoom>(partition_of(room)).await.unwrap();
    assert_eq!(marks, Watermarks { low: 6, high: 10 });
    let mut reader = log.reader::<InputRoom>().unwrap();
    reader.assign(partition_of(room), StartAt::Offset(2)).await.unwrap();
    let batch = reader.next_batch(10).await.unwrap();
    assert_eq!(batch.iter().map(number_of).collect::<Vec<_>>(), [6, 7, 8, 9]);
}

#[tokio::test]
async fn closing_frees_waiting_writers() {
    let log = small(Duration::from_secs(10));
    let room = rooms(1).remove(0);
    let mut reader = log.reader::<InputRoom>().unwrap();
    reader.assign(partition_of(&room), StartAt::Oldest).await.unwrap();
    let appends = (0..8).map(|number| {
        let (log, room) = (log.clone(), room.clone());
        tokio::spawn(async move { log.append::<InputRoom>(&record(&room, number)).await })
    });
    let appends: Vec<_> = appends.collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    log.close().await;
    let results = soon("the end", futures::future::join_all(appends)).await;
    let closed = results.iter().filter(|result| matches!(result, Ok(Err(LogError::Closed)))).count();
    assert_eq!(closed, 4);
}
