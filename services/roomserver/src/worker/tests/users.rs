//! Users go the same way as rooms.

use bytes::Bytes;
use futures::StreamExt as _;
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{NewSession, Register, SetAccountData, input_user_event::Command, output_user_event::Fact},
    user::v1::{
        GetUserSnapshotRequest, StreamRangeRequest, user_stream_service_client::UserStreamServiceClient,
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
