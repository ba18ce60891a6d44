//! Outboxes of other servers, and changes that these tell of their users.

use bytes::Bytes;
use plexus_log::partition_of;
use plexus_proto::{
    log::v1::{
        InputUserEvent, NoteRemoteKeys, QueueToDevice, SendToDevice, ToDeviceMessage, UpdateDevice,
        UploadKeys, input_user_event::Command, output_user_event::Fact,
    },
    room::v1::{
        AckOutgoingEdusRequest, ListOutgoingEdusRequest, ListOutgoingEdusResponse, ListWaitingServersRequest,
        TakenKeys, destination_service_client::DestinationServiceClient,
    },
    user::v1::{
        ListRoomMatesRequest, QueryKeysRequest, WantedKeys, key_query_service_client::KeyQueryServiceClient,
    },
};
use plexus_service::RpcChannel;
use serde_json::json;

use super::{
    fixture::{ALICE, BOB, Server, World, public_room, user_record},
    users::register,
};
use crate::worker::engine::now_ms;

const DEVICE: &str = "PHONE";
const DAY: i64 = 24 * 60 * 60 * 1_000;
const REMOTE: &str = "@bob:b.example";
/// Somebody of another server is in Alice's room, and somebody of a third one was.
const MEMBERS: &str = "INSERT INTO room_servers (room_nid, snapshot, server, joined) \
    SELECT room_nid, snapshot, v.server, v.joined FROM rooms, (VALUES ('b.example', 1), ('c.example', 0)) v(server, joined); \
    INSERT INTO room_members (room_nid, snapshot, user_id, membership, event_nid, seq, forgotten, since_seq) \
    SELECT room_nid, snapshot, '@bob:b.example', membership, event_nid, seq, forgotten, since_seq FROM room_members";

fn destinations(server: &Server) -> DestinationServiceClient<RpcChannel> {
    DestinationServiceClient::new(server.channel.clone())
}

async fn waiting(server: &Server) -> Vec<String> {
    let answer = destinations(server).list_waiting_servers(ListWaitingServersRequest::default()).await;
    answer.expect("they are listed").into_inner().servers
}

async fn list(server: &Server, name: &str) -> ListOutgoingEdusResponse {
    let request = ListOutgoingEdusRequest { server: name.to_owned(), limit: 50 };
    destinations(server).list_outgoing_edus(request).await.expect("it is listed").into_inner()
}

async fn acknowledge(server: &Server, name: &str, told: &ListOutgoingEdusResponse) {
    let keys = told.keys.iter().map(|keys| TakenKeys {
        user_id: keys.user.as_ref().expect("a user").user_id.clone(),
        stream_id: keys.user.as_ref().expect("a user").stream_id,
        keys_seq: keys.keys_seq,
    });
    let request = AckOutgoingEdusRequest {
        server: name.to_owned(),
        to_device: told.to_device.iter().map(|message| message.number).collect(),
        keys: keys.collect(),
        all: false,
    };
    destinations(server).ack_outgoing_edus(request).await.expect("it is noted");
}

fn queue(server: &str, text: &str) -> Command {
    let content = json!({ "text": text }).to_string().into();
    Command::QueueToDevice(QueueToDevice { server: server.to_owned(), content })
}

async fn stage() -> (World, Server) {
    let world = World::new().await;
    let server = world.start().await;
    server.accepted(&world.write_user(&user_record(ALICE, register())).await).await;
    (world, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_in_order_until_they_are_taken() {
    let (world, server) = stage().await;
    for (name, text) in [("b.example", "1"), ("c.example", "2"), ("b.example", "3")] {
        let record = InputUserEvent { produced_ts: now_ms(), ..user_record(ALICE, queue(name, text)) };
        // A repeat is one.
        for _ in 0..2 {
            server.accepted(&world.write_user(&record).await).await;
        }
    }
    assert_eq!(waiting(&server).await, ["b.example", "c.example"]);
    let told = list(&server, "b.example").await;
    let texts: Vec<&[u8]> = told.to_device.iter().map(|message| &message.content[..]).collect();
    assert_eq!(texts, [br#"{"text":"1"}"#, br#"{"text":"3"}"#]);
    assert_eq!(list(&server, "b.example").await, told);
    for _ in 0..2 {
        acknowledge(&server, "b.example", &told).await;
        assert_eq!(list(&server, "b.example").await, ListOutgoingEdusResponse::default());
    }
    assert_eq!(waiting(&server).await, ["c.example"]);
    // One that has waited for more than 30 days is dropped.
    let old =
        InputUserEvent { produced_ts: now_ms() - 31 * DAY, ..user_record(ALICE, queue("b.example", "old")) };
    server.accepted(&world.write_user(&old).await).await;
    assert_eq!(list(&server, "b.example").await, ListOutgoingEdusResponse::default());
    let request = AckOutgoingEdusRequest { server: "c.example".to_owned(), all: true, ..Default::default() };
    destinations(&server).ack_outgoing_edus(request).await.expect("it is given up");
    assert_eq!(waiting(&server).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_in_a_room_are_told_of_devices() {
    let (world, server) = stage().await;
    let (_, room) = public_room("outgoing");
    server.accepted(&world.write_room(&room).await).await;
    world.sql(MEMBERS).await;
    let keys = json!({ "device_id": DEVICE, "keys": {}, "user_id": ALICE }).to_string();
    let upload = UploadKeys {
        device_id: DEVICE.to_owned(),
        device_keys: Bytes::from(keys.clone()),
        ..UploadKeys::default()
    };
    let upload = Command::UploadKeys(upload);
    server.accepted(&world.write_user(&user_record(ALICE, upload)).await).await;
    assert_eq!(waiting(&server).await, ["b.example"]);
    let first = list(&server, "b.example").await;
    let told = &first.keys[0];
    assert_eq!((told.previous_stream_id, told.changes.len(), told.signing_keys), (0, 1, false));
    let user = told.user.as_ref().expect("a user");
    assert_eq!(
        (user.devices[0].keys.clone(), user.stream_id),
        (Bytes::from(keys), told.changes[0].stream_id)
    );
    acknowledge(&server, "b.example", &first).await;
    assert_eq!(waiting(&server).await, Vec::<String>::new());

    let rename = UpdateDevice { device_id: DEVICE.to_owned(), display_name: Some("phone".to_owned()) };
    server.accepted(&world.write_user(&user_record(ALICE, Command::UpdateDevice(rename))).await).await;
    let second = list(&server, "b.example").await;
    assert_eq!(second.keys[0].previous_stream_id, told.changes[0].stream_id);
    assert!(second.keys[0].changes[0].stream_id > told.changes[0].stream_id);

    // The same version is told to who asks.
    let users = vec![WantedKeys { user_id: ALICE.to_owned(), device_ids: Vec::new() }];
    let request = QueryKeysRequest { viewer: String::new(), users };
    let answer = KeyQueryServiceClient::new(server.channel.clone()).query_keys(request).await;
    let users = answer.expect("they are read").into_inner().users;
    assert_eq!(users[0].stream_id, second.keys[0].changes[0].stream_id);

    let request = ListRoomMatesRequest { user_ids: vec![REMOTE.to_owned(), "@x:b.example".to_owned()] };
    let mates = KeyQueryServiceClient::new(server.channel.clone()).list_room_mates(request).await;
    assert_eq!(mates.expect("they are told").into_inner().user_ids, [REMOTE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_elsewhere_are_facts_of_their_users() {
    let (world, server) = stage().await;
    let note = Command::NoteRemoteKeys(NoteRemoteKeys {});
    let seq = server.accepted(&world.write_user(&user_record(REMOTE, note.clone())).await).await.seq;
    let facts = world.output_user(partition_of(REMOTE), seq).await;
    let fact = facts.iter().find(|record| record.user_id == REMOTE).and_then(|record| record.fact.clone());
    assert!(matches!(fact, Some(Fact::KeysChanged(changed)) if !changed.own));
    let changes = "SELECT count(*) FROM key_changes WHERE user_id = '@bob:b.example'";
    assert_eq!(world.number(changes).await, 1);
    // Nobody notes that of users here, and nothing else is done for users elsewhere.
    server.rejected(&world.write_user(&user_record(BOB, note)).await).await;
    server.rejected(&world.write_user(&user_record(REMOTE, register())).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_from_elsewhere_are_recognized_for_thirty_days() {
    let (world, server) = stage().await;
    let message = |sender: &str| {
        Command::SendToDevice(SendToDevice {
            sender: sender.to_owned(),
            r#type: "m.test".to_owned(),
            messages: vec![ToDeviceMessage { device_id: DEVICE.to_owned(), content: "{}".into() }],
            ..SendToDevice::default()
        })
    };
    for sender in [BOB, REMOTE] {
        let record = InputUserEvent { produced_ts: now_ms(), ..user_record(ALICE, message(sender)) };
        server.accepted(&world.write_user(&record).await).await;
    }
    let kept = format!("SELECT count(*) FROM verdicts WHERE created_ts > {}", now_ms() + 29 * DAY);
    assert_eq!(world.number(&kept).await, 1);
}
