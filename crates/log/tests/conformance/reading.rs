//! Order, positions and waiting.

use std::time::{Duration, Instant};

use bytes::Bytes;
use plexus_log::{InputRoom, RawRecord, StartAt, Watermarks, partition_of};
use tokio::time::timeout;

use crate::world::{World, number_of, read, read_numbers, record, rooms, soon, stays_silent};

pub(crate) async fn records_of_a_key_keep_their_order(world: World) {
    let rooms = rooms(3);
    let mut reader = world.log.reader::<InputRoom>().unwrap();
    for room in &rooms {
        reader.assign(partition_of(room), StartAt::Oldest).await.unwrap();
    }
    let writers = rooms.iter().cloned().map(|room| {
        let world = world.clone();
        tokio::spawn(async move {
            for number in 0..100 {
                world.append(&room, number).await;
            }
        })
    });
    futures::future::join_all(writers).await;
    let entries = read(&mut reader, 300).await;
    for room in &rooms {
        let of_room: Vec<_> = entries.iter().filter(|entry| entry.key == room.as_bytes()).collect();
        assert_eq!(of_room.iter().map(|entry| number_of(entry)).collect::<Vec<_>>(), Vec::from_iter(0..100));
        assert_eq!(of_room.iter().map(|entry| entry.offset).collect::<Vec<_>>(), Vec::from_iter(0..100));
        assert!(of_room.iter().all(|entry| entry.partition == partition_of(room)));
    }
    stays_silent(&mut reader).await;
}

pub(crate) async fn positions_are_those_that_append_told(world: World) {
    let room = &rooms(1)[0];
    let appends = (0..50).map(|number| world.append(room, number));
    let told = futures::future::join_all(appends).await;
    assert!(told.iter().all(|(partition, _)| *partition == partition_of(room)));
    let mut reader = world.reader_at(partition_of(room), StartAt::Oldest).await;
    for entry in read(&mut reader, 50).await {
        let (_, offset) = told[usize::try_from(number_of(&entry)).unwrap()];
        assert_eq!(entry.offset, offset);
    }
    let marks = world.log.watermarks::<InputRoom>(partition_of(room)).await.unwrap();
    assert_eq!(marks, Watermarks { low: 0, high: 50 });
}

pub(crate) async fn reading_starts_where_it_is_told(world: World) {
    let room = &rooms(1)[0];
    let partition = partition_of(room);
    for number in 0..10 {
        world.append(room, number).await;
    }
    let mut oldest = world.reader_at(partition, StartAt::Oldest).await;
    let mut fourth = world.reader_at(partition, StartAt::Offset(4)).await;
    let mut next = world.reader_at(partition, StartAt::Offset(10)).await;
    let mut end = world.reader_at(partition, StartAt::End).await;
    assert_eq!(read_numbers(&mut oldest, 10).await, Vec::from_iter(0..10));
    assert_eq!(read_numbers(&mut fourth, 6).await, Vec::from_iter(4..10));
    stays_silent(&mut next).await;
    stays_silent(&mut end).await;
    world.append(room, 10).await;
    for reader in [&mut oldest, &mut fourth, &mut next, &mut end] {
        assert_eq!(read_numbers(reader, 1).await, [10]);
    }
}

pub(crate) async fn position_that_does_not_exist_becomes_the_oldest(world: World) {
    let room = &rooms(1)[0];
    let mut empty = world.reader_at(partition_of(room), StartAt::Offset(7)).await;
    stays_silent(&mut empty).await;
    for number in 0..3 {
        world.append(room, number).await;
    }
    assert_eq!(read_numbers(&mut empty, 3).await, [0, 1, 2]);
    let mut filled = world.reader_at(partition_of(room), StartAt::Offset(1000)).await;
    assert_eq!(read_numbers(&mut filled, 3).await, [0, 1, 2]);
    world.append(room, 3).await;
    assert_eq!(read_numbers(&mut empty, 1).await, [3]);
    assert_eq!(read_numbers(&mut filled, 1).await, [3]);
}

pub(crate) async fn assigning_again_moves_the_position(world: World) {
    let rooms = rooms(2);
    let (moved, other) = (&rooms[0], &rooms[1]);
    for number in 0..100 {
        world.append(moved, number).await;
        world.append(other, number).await;
    }
    let mut reader = world.reader_at(partition_of(moved), StartAt::Oldest).await;
    reader.assign(partition_of(other), StartAt::Oldest).await.unwrap();
    let mut of_other = Vec::new();
    // Back and forth, with records of the position before still on their way.
    for start in [0, 50, 20, 90, 3] {
        soon("an assignment", reader.assign(partition_of(moved), StartAt::Offset(start))).await.unwrap();
        let mut due = start;
        while due < start + 5 {
            for entry in soon("a batch", reader.next_batch(3)).await.unwrap() {
                if entry.partition == partition_of(moved) {
                    assert_eq!(entry.offset, due);
                    due += 1;
                } else {
                    of_other.push(entry.offset);
                }
            }
        }
    }
    reader.unassign(partition_of(moved)).await.unwrap();
    let missing = 100 - of_other.len();
    of_other.extend(read(&mut reader, missing).await.iter().map(|entry| entry.offset));
    assert_eq!(of_other, Vec::from_iter(0..100), "the other partition was read on undisturbed");
}

pub(crate) async fn unassigned_partition_is_silent(world: World) {
    let rooms = rooms(2);
    let mut reader = world.reader_at(partition_of(&rooms[0]), StartAt::Oldest).await;
    reader.assign(partition_of(&rooms[1]), StartAt::Oldest).await.unwrap();
    for number in 0..50 {
        world.append(&rooms[0], number).await;
    }
    assert_eq!(read_numbers(&mut reader, 1).await, [0]);
    soon("the end of reading", reader.unassign(partition_of(&rooms[0]))).await.unwrap();
    stays_silent(&mut reader).await;
    world.append(&rooms[1], 7).await;
    assert_eq!(read_numbers(&mut reader, 1).await, [7]);
    // Not read at all: nothing to stop.
    reader.unassign(33).await.unwrap();
}

pub(crate) async fn poisoned_record_does_not_stop_reading(world: World) {
    let room = &rooms(1)[0];
    let partition = partition_of(room);
    world.append(room, 0).await;
    for payload in [&b"\xff\xff\xff not a record"[..], b""] {
        let raw = RawRecord {
            key: Bytes::from_static(b"anything"),
            headers: Vec::new(),
            payload: Bytes::from_static(payload),
        };
        world.log.append_raw::<InputRoom>(partition, raw).await.unwrap();
    }
    world.append(room, 3).await;
    let mut reader = world.reader_at(partition, StartAt::Oldest).await;
    let entries = read(&mut reader, 4).await;
    assert_eq!(number_of(&entries[0]), 0);
    assert!(entries[1].record.is_err());
    assert_eq!(&entries[1].payload[..], b"\xff\xff\xff not a record");
    assert_eq!(&entries[1].key[..], b"anything");
    // No bytes are a record in protobuf: an empty one. Readers see from its version that it is none of ours.
    assert_eq!(entries[2].record.as_ref().unwrap().version, 0);
    assert!(entries[2].payload.is_empty());
    assert_eq!(number_of(&entries[3]), 3);
}

pub(crate) async fn dropped_call_loses_nothing(world: World) {
    let room = rooms(1).remove(0);
    let mut reader = world.reader_at(partition_of(&room), StartAt::Oldest).await;
    let writer = tokio::spawn({
        let world = world.clone();
        async move {
            for number in 0..300 {
                world.append(&room, number).await;
                if number % 10 == 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
    });
    let start = Instant::now();
    let mut numbers = Vec::new();
    while numbers.len() < 300 {
        assert!(start.elapsed() < Duration::from_secs(60), "{} records came", numbers.len());
        if let Ok(batch) = timeout(Duration::from_micros(300), reader.next_batch(7)).await {
            numbers.extend(batch.unwrap().iter().map(number_of));
        }
    }
    writer.await.unwrap();
    assert_eq!(numbers, Vec::from_iter(0..300));
}

pub(crate) async fn waiting_reader_gets_a_single_record_at_once(world: World) {
    let room = &rooms(1)[0];
    let mut reader = world.reader_at(partition_of(room), StartAt::Oldest).await;
    // The first pays for connections.
    world.append(room, 0).await;
    read(&mut reader, 1).await;
    let mut delays = Vec::new();
    for number in 1..=100 {
        let start = Instant::now();
        let record = record(room, number);
        let (batch, appended) =
            tokio::join!(soon("a batch", reader.next_batch(256)), world.log.append::<InputRoom>(&record));
        appended.unwrap();
        assert_eq!(number_of(&batch.unwrap()[0]), number);
        delays.push(start.elapsed());
    }
    delays.sort();
    println!("append to read: p50 {:?}, p90 {:?}, p99 {:?}", delays[49], delays[89], delays[98]);
    assert!(delays[49] < Duration::from_millis(50), "p50 is {:?}", delays[49]);
}

pub(crate) async fn busy_partition_does_not_keep_others_out(world: World) {
    let rooms = rooms(2);
    let appends = (0..500).map(|number| world.append(&rooms[0], number));
    let told = futures::future::join_all(appends).await;
    let places: std::collections::HashSet<_> = told.iter().collect();
    assert_eq!(places.len(), 500, "two records were told the same place");
    world.append(&rooms[1], 1).await;
    let mut reader = world.reader_at(partition_of(&rooms[0]), StartAt::Oldest).await;
    reader.assign(partition_of(&rooms[1]), StartAt::Oldest).await.unwrap();
    let entries = read(&mut reader, 501).await;
    assert_eq!(entries.iter().filter(|entry| entry.key == rooms[1].as_bytes()).count(), 1);
}
