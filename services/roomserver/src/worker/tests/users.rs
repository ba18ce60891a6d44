//! Users go the same way as rooms.

use bytes::Bytes;
use futures::StreamExt as _;
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        NewSession, NoteSeen, Register, SetAccountData, input_user_event::Command, output_user_event::Fact,
    },
    user::v1::{
        GetUserSnapshotRequest, ListDevicesRequest, StreamRangeRequest,
        user_query_service_client::UserQueryServiceClient,
        user_stream_service_client::UserStreamServiceClient,
    },
};

use super::fixture::{ALICE, World, user_record};

pub(super) fn register() -> Command {
    Command::Register(Register {
        password_hash: "$argon2id$x".to_owned(),
        display_name: Some("Alice".to_owned()),
        session: Some(NewSession {
            device_id: "PHONE".to_owned(),
            access_token_hash: Bytes::from(vec![1; 32]),
            refresh_token_hash: Bytes::from(vec![2; 32]),
            ..NewSession::default()
        }),
        ..Register::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_registers_once_and_facts_are_put_out() {
    let world = World::new().await;
    let server = world.start().await;
    let first = world.write_user(&user_record(ALICE, register())).await;
    let second = world.write_user(&user_record(ALICE, register())).await;
    let accepted = server.accepted(&first).await;
    assert_eq!(accepted.seq, 3);
    assert_eq!(server.rejected(&second).await.reason(), ErrorReason::UserInUse);

    let data = SetAccountData {
        position: None,
        replaces: None,
        room_id: String::new(),
        r#type: "m.direct".to_owned(),
        content: Bytes::from_static(b"{\"@bob:example.org\":[]}"),
    };
    let set = world.write_user(&user_record(ALICE, Command::SetAccountData(data.clone()))).await;
    assert_eq!(server.accepted(&set).await.seq, 4);

    let partition = partition_of(ALICE);
    let output = world.output_user(partition, 4).await;
    let facts: Vec<_> = output.iter().map(|record| record.fact.clone().unwrap()).collect();
    assert!(matches!(
        facts.as_slice(),
        [Fact::Registered(_), Fact::ProfileChanged(_), Fact::DevicesChanged(_), Fact::AccountDataChanged(_)]
    ));
    let mut client = UserStreamServiceClient::new(server.channel.clone());
    let request = StreamRangeRequest { partition, after_seq: 1, to_seq: 0 };
    let chunks = client.stream_range(request).await.unwrap().into_inner();
    let rebuilt: Vec<_> =
        chunks.map(|chunk| chunk.unwrap().records).collect::<Vec<_>>().await.into_iter().flatten().collect();
    assert_eq!(rebuilt, output[1..]);
    let snapshot = client.get_user_snapshot(GetUserSnapshotRequest { user_id: ALICE.to_owned() }).await;
    let snapshot = snapshot.unwrap().into_inner();
    assert_eq!(snapshot.as_of.unwrap().seq, 4);
    assert_eq!((snapshot.account_data[0].seq, &snapshot.account_data[0].content), (4, &data.content));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_seen_at_most_once_an_hour() {
    const MINUTE: i64 = 60 * 1_000;
    let world = World::new().await;
    let server = world.start().await;
    server.accepted(&world.write_user(&user_record(ALICE, register())).await).await;
    let begun = user_record(ALICE, register()).produced_ts;
    let seen = async |device_id: &str, ip: &str, minutes: i64| {
        let command = Command::NoteSeen(NoteSeen { device_id: device_id.to_owned(), ip: ip.to_owned() });
        let mut record = user_record(ALICE, command);
        record.produced_ts = begun + minutes * MINUTE;
        assert_eq!(server.accepted(&world.write_user(&record).await).await.seq, 0, "nobody is told");
        let request = ListDevicesRequest { user_id: ALICE.to_owned(), device_ids: Vec::new() };
        let devices = UserQueryServiceClient::new(server.channel.clone()).list_devices(request).await;
        let device = devices.expect("they are listed").into_inner().devices.remove(0);
        ((device.last_seen_ts - begun) / MINUTE, device.last_seen_ip)
    };
    assert_eq!(seen("PHONE", "192.0.2.1", 0).await, (0, "192.0.2.1".to_owned()));
    assert_eq!(seen("PHONE", "192.0.2.2", 59).await, (0, "192.0.2.1".to_owned()));
    assert_eq!(seen("GONE", "192.0.2.3", 60).await, (0, "192.0.2.1".to_owned()));
    assert_eq!(seen("PHONE", "192.0.2.4", 60).await, (60, "192.0.2.4".to_owned()));
    assert_eq!(seen("PHONE", "192.0.2.5", 30).await, (60, "192.0.2.4".to_owned()), "it came late");
}
