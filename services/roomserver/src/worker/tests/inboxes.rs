//! Messages to devices: into inboxes once, in order, and out of them when they have arrived.

use bytes::Bytes;
use diesel_async::SimpleAsyncConnection as _;
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        AckToDevice, DeleteDevices, Login, NewSession, SendToDevice, ToDeviceMessage,
        input_user_event::Command, output_user_event::Fact,
    },
    user::v1::{
        GetUserSnapshotRequest, ListInboxRequest, ListInboxResponse,
        inbox_service_client::InboxServiceClient, user_stream_service_client::UserStreamServiceClient,
    },
};
use serde_json::json;

use super::{
    fixture::{ALICE, BOB, Server, World, user_record},
    users::register,
};
use crate::store::inbox_bounds::{self, Dropped, InboxBounds};

const COUNT: &str = "SELECT count(*) FROM to_device";

fn login(device_id: &str, secret: u8) -> Command {
    let session = NewSession {
        device_id: device_id.to_owned(),
        access_token_hash: Bytes::from(vec![secret; 32]),
        ..NewSession::default()
    };
    Command::Login(Login { session: Some(session) })
}

fn send(messages: &[(&str, serde_json::Value)]) -> SendToDevice {
    let messages = messages.iter().map(|(device_id, content)| ToDeviceMessage {
        device_id: (*device_id).to_owned(),
        content: content.to_string().into(),
    });
    SendToDevice {
        sender: BOB.to_owned(),
        r#type: "m.test".to_owned(),
        messages: messages.collect(),
        ..SendToDevice::default()
    }
}

/// A room server, and Alice with the devices `PHONE` and `TABLET`.
async fn stage() -> (World, Server) {
    let world = World::new().await;
    let server = world.start().await;
    server.accepted(&world.write_user(&user_record(ALICE, register())).await).await;
    server.accepted(&world.write_user(&user_record(ALICE, login("TABLET", 7))).await).await;
    (world, server)
}

async fn accept(world: &World, server: &Server, command: Command) -> u64 {
    server.accepted(&world.write_user(&user_record(ALICE, command)).await).await.seq
}

async fn page(server: &Server, device_id: &str, after_seq: u64, limit: u32) -> ListInboxResponse {
    let request =
        ListInboxRequest { user_id: ALICE.to_owned(), device_id: device_id.to_owned(), after_seq, limit };
    let answer = InboxServiceClient::new(server.channel.clone()).list_inbox(request).await;
    answer.expect("it is listed").into_inner()
}

/// `seq` and content of what waits for a device.
async fn waiting(server: &Server, device_id: &str) -> Vec<(u64, String)> {
    let messages = page(server, device_id, 0, 100).await.messages;
    let shown = messages.into_iter().map(|message| {
        assert_eq!(message.sender, BOB);
        (message.seq, String::from_utf8(message.content.to_vec()).expect("JSON is text"))
    });
    shown.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_until_they_have_arrived() {
    let (world, server) = stage().await;
    let to_both = send(&[("PHONE", json!({"n": 1})), ("TABLET", json!({"n": 2})), ("GONE", json!({}))]);
    let first = accept(&world, &server, Command::SendToDevice(to_both)).await;
    let second = accept(&world, &server, Command::SendToDevice(send(&[("PHONE", json!({"n": 3}))]))).await;
    let nobody = accept(&world, &server, Command::SendToDevice(send(&[("GONE", json!({}))]))).await;
    assert_eq!(nobody, 0, "nobody is told of nothing");
    assert_eq!(
        waiting(&server, "PHONE").await,
        [(first, r#"{"n":1}"#.to_owned()), (second, r#"{"n":3}"#.to_owned())]
    );
    assert_eq!(waiting(&server, "TABLET").await, [(first, r#"{"n":2}"#.to_owned())]);

    let facts = world.output_user(partition_of(ALICE), second).await;
    let Some(Fact::ToDevicePending(pending)) = &facts[usize::try_from(first).unwrap() - 1].fact else {
        panic!("{facts:?}")
    };
    assert_eq!(pending.device_ids, ["PHONE", "TABLET"]);

    let request = GetUserSnapshotRequest { user_id: ALICE.to_owned() };
    let snapshot = UserStreamServiceClient::new(server.channel.clone()).get_user_snapshot(request).await;
    let inboxes = snapshot.expect("it is read").into_inner().inboxes;
    let mut inboxes: Vec<_> = inboxes.into_iter().map(|inbox| (inbox.device_id, inbox.last_seq)).collect();
    inboxes.sort();
    assert_eq!(inboxes, [("PHONE".to_owned(), second), ("TABLET".to_owned(), first)]);

    for (seq, left) in [(first - 1, 2), (first, 1), (second + 100, 1), (u64::MAX, 1), (second, 0)] {
        let ack = AckToDevice { device_id: "PHONE".to_owned(), seq };
        assert_eq!(accept(&world, &server, Command::AckToDevice(ack)).await, 0, "nobody is told");
        assert_eq!(waiting(&server, "PHONE").await.len(), left, "after {seq}");
    }
    assert_eq!(waiting(&server, "TABLET").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_puts_nothing_into_an_inbox() {
    let (world, server) = stage().await;
    let record = user_record(ALICE, Command::SendToDevice(send(&[("PHONE", json!({"n": 1}))])));
    let first = server.accepted(&world.write_user(&record).await).await;
    let second = server.accepted(&world.write_user(&record).await).await;
    assert_eq!((second.seq, second.duplicate), (first.seq, true));
    assert_eq!(world.number(COUNT).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_devices_get_what_is_for_all_but_those_with_their_own() {
    let (world, server) = stage().await;
    let mut command = send(&[("PHONE", json!({"own": true}))]);
    command.to_all = Bytes::from_static(br#"{"own":false}"#);
    command.but = vec!["PHONE".to_owned()];
    let seq = accept(&world, &server, Command::SendToDevice(command.clone())).await;
    assert_eq!(waiting(&server, "PHONE").await, [(seq, r#"{"own":true}"#.to_owned())]);
    assert_eq!(waiting(&server, "TABLET").await, [(seq, r#"{"own":false}"#.to_owned())]);
    // The same to nobody.
    let record = user_record(BOB, Command::SendToDevice(command));
    assert_eq!(server.accepted(&world.write_user(&record).await).await.seq, 0);
    assert_eq!(world.number(COUNT).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_takes_its_inbox_with_it() {
    let (world, server) = stage().await;
    let to_both = send(&[("PHONE", json!({})), ("TABLET", json!({}))]);
    accept(&world, &server, Command::SendToDevice(to_both.clone())).await;
    let gone = DeleteDevices { device_ids: vec!["TABLET".to_owned()], all: false };
    // In one batch: the device goes and comes again, with messages before, between and after.
    let mut held = world.hold_up().await;
    let mut written = Vec::new();
    for command in [
        Command::SendToDevice(to_both.clone()),
        Command::DeleteDevices(gone),
        Command::SendToDevice(to_both.clone()),
        login("TABLET", 9),
        Command::SendToDevice(to_both),
    ] {
        written.push(world.write_user(&user_record(ALICE, command)).await);
    }
    held.batch_execute("ROLLBACK").await.expect("it ends");
    let mut last = 0;
    for written in &written {
        last = last.max(server.accepted(written).await.seq);
    }
    assert_eq!(waiting(&server, "PHONE").await.len(), 4);
    assert_eq!(waiting(&server, "TABLET").await, [(last, "{}".to_owned())]);
    accept(&world, &server, Command::DeleteDevices(DeleteDevices { device_ids: Vec::new(), all: true }))
        .await;
    assert_eq!(world.number(COUNT).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_requests_for_the_same_key_the_last_one_waits() {
    let (world, server) = stage().await;
    let request = |action: &str, id: &str| {
        let content = json!({"action": action, "requesting_device_id": "B", "request_id": id});
        let mut command = send(&[("PHONE", content)]);
        "m.room_key_request".clone_into(&mut command.r#type);
        Command::SendToDevice(command)
    };
    for (action, id) in [
        ("request", "1"),
        ("request", "2"),
        ("request", "1"),
        ("request_cancellation", "1"),
        ("request", "3"),
    ] {
        accept(&world, &server, request(action, id)).await;
    }
    let actions: Vec<_> = waiting(&server, "PHONE")
        .await
        .into_iter()
        .map(|(_, content)| serde_json::from_str::<serde_json::Value>(&content).expect("it is JSON"))
        .map(|content| format!("{} {}", content["action"], content["request_id"]).replace('"', ""))
        .collect();
    assert_eq!(actions, ["request 2", "request_cancellation 1", "request 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_bounded_by_number_and_bytes() {
    let (world, server) = stage().await;
    let large = json!({"a": "x".repeat(60 * 1024)});
    let mut last = 0;
    for _ in 0..30 {
        last = accept(&world, &server, Command::SendToDevice(send(&[("PHONE", large.clone())]))).await;
    }
    let first = page(&server, "PHONE", 0, 3).await;
    assert_eq!((first.messages.len(), first.more), (3, true));
    let second = page(&server, "PHONE", first.messages[2].seq, 100).await;
    assert_eq!((second.messages.len(), second.more), (18, true));
    let bytes: usize = second.messages.iter().map(|message| message.content.len()).sum();
    assert!((1024 * 1024..1024 * 1024 + 64 * 1024).contains(&bytes), "{bytes}");
    let end = page(&server, "PHONE", last, 100).await;
    assert!(end.messages.is_empty() && !end.more);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_message_is_refused() {
    let (world, server) = stage().await;
    let large = json!({"a": "x".repeat(64 * 1024)});
    for (content, reason) in [(json!([]), ErrorReason::BadJson), (large, ErrorReason::TooLarge)] {
        let command = Command::SendToDevice(send(&[("PHONE", content)]));
        let refused = server.rejected(&world.write_user(&user_record(ALICE, command)).await).await;
        assert_eq!(refused.reason(), reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_messages_go_where_too_many_wait() {
    let (world, server) = stage().await;
    for _ in 0..9 {
        let to_both = send(&[("PHONE", json!({})), ("TABLET", json!({}))]);
        accept(&world, &server, Command::SendToDevice(to_both)).await;
    }
    let mut conn = world.connect().await;
    // The phone has been seen, the tablet has not.
    world.sql("UPDATE devices SET last_seen_ts = created_ts + 10 WHERE device_id = 'PHONE'").await;
    let now = world.number("SELECT max(created_ts) + 105 FROM devices").await;
    let bounds = InboxBounds { most: 7, idle: 4, idle_after: 100, step: 1 };
    let dropped = |device_id: &str, messages| Dropped {
        user_id: ALICE.to_owned(),
        device_id: device_id.to_owned(),
        messages,
    };
    let mut place = Some(inbox_bounds::Place::default());
    let mut all = Vec::new();
    while let Some(after) = place {
        let (some, next) = inbox_bounds::trim(&mut conn, &after, bounds, now).await.expect("it trims");
        all.extend(some);
        place = next;
    }
    assert_eq!(all, [dropped("PHONE", 2), dropped("TABLET", 5)]);
    let seqs = |messages: Vec<(u64, String)>| messages.into_iter().map(|(seq, _)| seq).collect::<Vec<_>>();
    let (phone, tablet) = (seqs(waiting(&server, "PHONE").await), seqs(waiting(&server, "TABLET").await));
    assert_eq!((phone.len(), &phone[3..]), (7, &tablet[..]), "the newest stay");
}
