//! Records that can never be processed.

use bytes::Bytes;
use plexus_log::{InputRoom, RawRecord, partition_of};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{InputRoomEvent, NewSession, Register, input_user_event::Command},
};
use prost::Message as _;

use super::fixture::{ALICE, BOB, World, message, public_room, room_record, user_record};

#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_to_dead_letters_and_the_partition_goes_on() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let partition = partition_of(&room_id);
    let other = (0..).map(|n| public_room(&format!("other {n}")).0).find(|id| partition_of(id) != partition);
    let misplaced = message(&other.unwrap(), ALICE, "in the wrong partition");
    let no_body = InputRoomEvent { body: None, ..message(&room_id, ALICE, "x") };
    let short_id = InputRoomEvent { input_id: Bytes::from_static(b"short"), ..message(&room_id, ALICE, "x") };
    let payloads = [
        b"not protobuf at all".to_vec(),
        Vec::new(),
        misplaced.encode_to_vec(),
        no_body.encode_to_vec(),
        short_id.encode_to_vec(),
    ];
    for payload in &payloads {
        let record = RawRecord {
            key: Bytes::from(room_id.clone()),
            headers: Vec::new(),
            payload: payload.clone().into(),
        };
        world.log.append_raw::<InputRoom>(partition, record).await.unwrap();
    }
    let sent = server.accepted(&world.write_room(&message(&room_id, ALICE, "after it")).await).await;
    assert_eq!(sent.seq, 5);
    let count = world
        .number("SELECT count(*) FROM dead_letters WHERE topic = 'InputRoomEvent' AND error <> ''")
        .await;
    assert_eq!(count, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_of_a_dead_letter_is_told_so() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, _) = public_room("a");
    let no_body = InputRoomEvent { body: None, ..message(&room_id, ALICE, "x") };
    let rejected = server.rejected(&world.write_room(&no_body).await).await;
    assert_eq!(rejected.reason(), ErrorReason::DeadLettered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_database_refuses_stops_nobody_else() {
    let world = World::new().await;
    let server = world.start().await;
    let hash = Bytes::from(vec![7; 32]);
    world
        .sql(
            "INSERT INTO access_tokens (token_hash, user_id, device_id, expires_ts) \
              VALUES (decode(repeat('07', 32), 'hex'), '@other:example.org', 'D', 0)",
        )
        .await;
    let session = NewSession { device_id: "D".to_owned(), access_token_hash: hash, ..NewSession::default() };
    let register = |session| Command::Register(Register { session, ..Register::default() });
    let broken = world.write_user(&user_record(ALICE, register(Some(session)))).await;
    let fine = world.write_user(&user_record(BOB, register(None))).await;
    let (room_id, create) = public_room("a");
    let room = world.write_room(&create).await;
    let rejected = server.rejected(&broken).await;
    assert_eq!(rejected.reason(), ErrorReason::DeadLettered, "{}", rejected.message);
    server.accepted(&fine).await;
    server.accepted(&room).await;
    server.accepted(&world.write_room(&message(&room_id, ALICE, "hello")).await).await;
    assert_eq!(world.number("SELECT count(*) FROM accounts").await, 1);
    assert_eq!(world.number("SELECT count(*) FROM dead_letters").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_characters_reach_neither_the_database_nor_the_dead_letters() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let content = serde_json::json!({"body": "a\u{0}b"});
    for (event_type, state_key, accepted) in
        [("m.x\0", None, false), ("m.x", Some("\0"), false), ("m.x", Some("s"), true)]
    {
        let intent = super::fixture::intent(ALICE, event_type, state_key, content.clone());
        let record = room_record(&room_id, plexus_proto::log::v1::input_room_event::Body::Intent(intent));
        let written = world.write_room(&record).await;
        if accepted {
            server.accepted(&written).await;
        } else {
            server.rejected(&written).await;
        }
    }
    assert_eq!(world.number("SELECT count(*) FROM events WHERE type = 'm.x'").await, 1);
}
