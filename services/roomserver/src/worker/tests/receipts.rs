//! Receipts and read markers: many inputs, few records, and no row for good but the latest.

use std::collections::HashMap;

use diesel_async::SimpleAsyncConnection as _;
use plexus_log::partition_of;
use plexus_proto::log::v1::{
    InputRoomEvent, RoomControl, SetAccountData, SetReceipt, input_room_event::Body,
    input_user_event::Command, output_room_event, output_user_event::Fact, room_control::Action,
};
use serde_json::json;

use super::{
    fixture::{ALICE, World, Written, intent, message, public_room, room_record, user_record},
    users::register,
};

fn receipt(room_id: &str, user: &str, event_id: &str) -> InputRoomEvent {
    let receipt = SetReceipt {
        user_id: user.to_owned(),
        r#type: "m.read".to_owned(),
        event_id: event_id.to_owned(),
        thread_id: String::new(),
    };
    room_record(room_id, Body::Control(RoomControl { action: Some(Action::SetReceipt(receipt)) }))
}

/// Writes inputs that are processed as one batch: while it waits, another batch is being committed.
async fn in_one_batch<F: Future<Output = Vec<Written>>>(
    world: &World,
    room_id: &str,
    write: F,
) -> Vec<Written> {
    let mut blocking = world.hold_up().await;
    world.write_room(&message(room_id, ALICE, "before")).await;
    world.until_held_up().await;
    let written = write.await;
    blocking.batch_execute("ROLLBACK").await.expect("it ends");
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_a_member_in_one_batch_are_one_record() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(server.accepted(&world.write_room(&message(&room_id, ALICE, "x")).await).await.event_id);
    }
    let written = in_one_batch(&world, &room_id, async {
        let mut written = Vec::new();
        for event in &events {
            written.push(world.write_room(&receipt(&room_id, ALICE, event)).await);
        }
        written
    });
    let mut seqs = Vec::new();
    for written in written.await {
        seqs.push(server.accepted(&written).await.seq);
    }
    assert!(seqs[0] > 0 && seqs.iter().all(|seq| *seq == seqs[0]), "{seqs:?}");
    let last = server.accepted(&world.write_room(&message(&room_id, ALICE, "after")).await).await;
    assert_eq!(last.seq, seqs[0] + 1, "there are no holes");
    let output = world.output_room(partition_of(&room_id), last.seq).await;
    let told: Vec<_> = output
        .into_iter()
        .filter_map(|record| match record.body {
            Some(output_room_event::Body::Receipt(receipt)) => Some((record.seq, receipt.event_id)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(seqs[0], events[4].clone())]);
    let row = format!("SELECT count(*) FROM receipts WHERE event_id = '{}' AND seq = {}", events[4], seqs[0]);
    assert_eq!(world.number(&row).await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn account_data_of_one_batch_is_one_record() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    server.accepted(&world.write_user(&user_record(ALICE, register())).await).await;
    let marker = |n: u32| {
        let content = json!({ "event_id": format!("$event{n}") }).to_string().into();
        Command::SetAccountData(SetAccountData {
            room_id: room_id.clone(),
            r#type: "m.fully_read".to_owned(),
            content,
            ..SetAccountData::default()
        })
    };
    let written = in_one_batch(&world, &room_id, async {
        let mut written = Vec::new();
        for n in 0..5 {
            written.push(world.write_user(&user_record(ALICE, marker(n))).await);
        }
        written
    });
    for written in written.await {
        assert_eq!(server.accepted(&written).await.seq, 4);
    }
    let written = world.write_user(&user_record(ALICE, marker(5))).await;
    assert_eq!(server.accepted(&written).await.seq, 5, "there are no holes");
    let output = world.output_user(partition_of(ALICE), 5).await;
    let told: Vec<_> = output
        .into_iter()
        .filter_map(|record| match record.fact {
            Some(Fact::AccountDataChanged(data)) => Some((record.seq, data.content)),
            _ => None,
        })
        .collect();
    let content = |n: u32| bytes::Bytes::from(json!({ "event_id": format!("$event{n}") }).to_string());
    assert_eq!(told, [(4, content(4)), (5, content(5))]);
    server.stop().await;
}

/// Has 100 readers move receipts, and returns what is left of it in the tables: receipts, records, verdicts.
async fn readers(receipts: usize) -> (i64, i64, i64) {
    const READERS: usize = 100;
    let world = World::new().await;
    let retention = json!({"output_log_s": 1, "verdicts_s": 60});
    let server = world.start_with("http://a", retention).await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let users: Vec<String> = (0..READERS).map(|n| format!("@reader{n}:example.org")).collect();
    for user in &users {
        let join = intent(user, "m.room.member", Some(user), json!({"membership": "join"}));
        world.write_room(&room_record(&room_id, Body::Intent(join))).await;
    }
    let mut last: HashMap<&str, Written> = HashMap::new();
    for _ in 0..receipts.div_ceil(READERS) {
        let sent = server.accepted(&world.write_room(&message(&room_id, ALICE, "read this")).await).await;
        for user in &users {
            last.insert(user, world.write_room(&receipt(&room_id, user, &sent.event_id)).await);
        }
    }
    for written in last.values() {
        assert!(server.accepted(written).await.seq > 0);
    }
    for table in ["output_log", "verdicts"] {
        world.until(&format!("SELECT count(*) FROM {table}"), 0).await;
    }
    let left = (
        world.number("SELECT count(*) FROM receipts").await,
        world.number("SELECT count(*) FROM output_log").await,
        world.number("SELECT count(*) FROM verdicts").await,
    );
    server.stop().await;
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_receipts_leave_those_of_the_readers() {
    assert_eq!(readers(10_000).await, (100, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes many minutes: run it by its name"]
async fn a_million_receipts_leave_those_of_the_readers() {
    assert_eq!(readers(1_000_000).await, (100, 0, 0));
}
