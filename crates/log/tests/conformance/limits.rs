//! Sizes, headers and ends.

use bytes::Bytes;
use plexus_log::{InputRoom, LogError, MAX_RECORD_BYTES, RawRecord, StartAt, partition_of};
use plexus_proto::log::v1::{InputRoomEvent, Pdu, input_room_event::Body};
use prost::Message as _;

use crate::world::{World, read, record, rooms, soon};

/// A record whose encoding has exactly so many bytes.
fn record_of_size(room: &str, size: usize) -> InputRoomEvent {
    let sized = |json| InputRoomEvent {
        room_id: room.to_owned(),
        body: Some(Body::Pdu(Pdu { json: vec![b'x'; json].into(), ..Pdu::default() })),
        ..InputRoomEvent::default()
    };
    let rest = sized(size).encoded_len() - size;
    let record = sized(size - rest);
    assert_eq!(record.encoded_len(), size);
    record
}

pub(crate) async fn largest_record_passes_and_a_larger_one_does_not(world: World) {
    let room = &rooms(1)[0];
    let mut reader = world.reader_at(partition_of(room), StartAt::Oldest).await;
    let larger = record_of_size(room, MAX_RECORD_BYTES + 1);
    let refused = world.log.append::<InputRoom>(&larger).await;
    assert!(matches!(refused, Err(LogError::TooLarge { .. })), "{refused:?}");
    let largest = record_of_size(room, MAX_RECORD_BYTES);
    let headers = vec![("name".to_owned(), Bytes::from(vec![b'v'; 1000]))];
    soon("an append", world.log.append_with_headers::<InputRoom>(&largest, headers)).await.unwrap();
    let long_name = vec![("name".to_owned(), Bytes::from(vec![b'v'; 3000]))];
    let refused = world.log.append_with_headers::<InputRoom>(&record(room, 1), long_name).await;
    assert!(matches!(refused, Err(LogError::TooLarge { .. })), "{refused:?}");
    world.append(room, 2).await;
    let entries = read(&mut reader, 2).await;
    assert_eq!(entries[0].record.as_ref().unwrap(), &largest);
    assert_eq!(entries[1].record.as_ref().unwrap(), &record(room, 2));
}

pub(crate) async fn headers_are_carried(world: World) {
    let room = &rooms(1)[0];
    let headers = vec![
        (
            "traceparent".to_owned(),
            Bytes::from_static(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ),
        ("empty".to_owned(), Bytes::new()),
        ("bytes".to_owned(), Bytes::from_static(b"\0\xff")),
    ];
    world.log.append_with_headers::<InputRoom>(&record(room, 0), headers.clone()).await.unwrap();
    world.append(room, 1).await;
    let mut reader = world.reader_at(partition_of(room), StartAt::Oldest).await;
    let entries = read(&mut reader, 2).await;
    assert_eq!(entries[0].headers, headers);
    assert_eq!(entries[0].header("bytes"), Some(&b"\0\xff"[..]));
    assert!(entries[1].headers.is_empty());
}

pub(crate) async fn partition_that_does_not_exist_is_refused(world: World) {
    let raw = RawRecord { key: Bytes::new(), headers: Vec::new(), payload: Bytes::new() };
    for partition in [64, u32::MAX] {
        assert!(world.log.append_raw::<InputRoom>(partition, raw.clone()).await.is_err());
        assert!(world.log.watermarks::<InputRoom>(partition).await.is_err());
        let mut reader = world.log.reader::<InputRoom>().unwrap();
        assert!(reader.assign(partition, StartAt::Offset(0)).await.is_err());
    }
}

pub(crate) async fn closed_log_says_so(world: World) {
    let log = world.another().await;
    let room = &rooms(1)[0];
    let mut reader = log.reader::<InputRoom>().unwrap();
    reader.assign(partition_of(room), StartAt::Oldest).await.unwrap();
    let mut ownership = log.join_group::<InputRoom>("workers").unwrap();
    soon("ownership", ownership.next()).await.unwrap();
    let waiting = tokio::spawn(async move { reader.next_batch(10).await });
    soon("the end", log.close()).await;
    let ended = soon("the reader's end", waiting).await.unwrap();
    assert!(matches!(ended, Err(LogError::Closed)), "{ended:?}");
    assert!(soon("the member's end", ownership.next()).await.is_none());
    let refused = log.append::<InputRoom>(&record(room, 0)).await;
    assert!(matches!(refused, Err(LogError::Closed)), "{refused:?}");
    assert!(matches!(log.reader::<InputRoom>().err(), Some(LogError::Closed)));
    assert!(matches!(log.join_group::<InputRoom>("workers").err(), Some(LogError::Closed)));
}
