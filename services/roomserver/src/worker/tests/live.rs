//! Receipts, push rules and tags: facts like all others, over a restart.

use diesel_async::SimpleAsyncConnection as _;
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        InputRoomEvent, PutPushRule, RoomControl, SetReceipt, SetTag, input_room_event::Body,
        input_user_event::Command, output_room_event, room_control::Action,
    },
    room::v1::{
        ListRoomsForUserRequest, StreamRoomSnapshotRequest,
        room_query_service_client::RoomQueryServiceClient,
        room_stream_service_client::RoomStreamServiceClient,
    },
    user::v1::{GetUserSnapshotRequest, user_stream_service_client::UserStreamServiceClient},
};
use serde_json::{Value, json};

use super::fixture::{ALICE, BOB, Server, World, intent, message, public_room, room_record, user_record};

fn receipt(room_id: &str, user: &str, event_id: &str, thread: &str) -> InputRoomEvent {
    let receipt = SetReceipt {
        user_id: user.to_owned(),
        r#type: "m.read".to_owned(),
        event_id: event_id.to_owned(),
        thread_id: thread.to_owned(),
    };
    room_record(room_id, Body::Control(RoomControl { action: Some(Action::SetReceipt(receipt)) }))
}

fn member(room_id: &str, membership: &str, name: &str) -> InputRoomEvent {
    let content = json!({ "membership": membership, "displayname": name });
    room_record(room_id, Body::Intent(intent(BOB, "m.room.member", Some(BOB), content)))
}

async fn receipts(server: &Server, room_id: &str) -> Vec<(String, String, String, u64)> {
    let mut client = RoomStreamServiceClient::new(server.channel.clone());
    let request = StreamRoomSnapshotRequest { room_id: room_id.to_owned(), timeline_limit: 1 };
    let mut chunks = client.stream_room_snapshot(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        found.extend(chunk.receipts);
    }
    let parts = found.into_iter().map(|found| {
        let receipt = found.receipt.unwrap();
        (receipt.user_id, receipt.event_id, receipt.thread_id, found.seq)
    });
    parts.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_survive_and_do_not_move_back() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let first = server.accepted(&world.write_room(&message(&room_id, ALICE, "one")).await).await;
    let second = server.accepted(&world.write_room(&message(&room_id, ALICE, "two")).await).await;
    let refused =
        server.rejected(&world.write_room(&receipt(&room_id, BOB, &first.event_id, "")).await).await;
    assert_eq!(refused.reason(), ErrorReason::NotJoined);
    // In one batch or in many: what an earlier one moved is known to a later one.
    let writes = [&second.event_id, &first.event_id].map(|event| receipt(&room_id, ALICE, event, ""));
    let mut written = Vec::new();
    for record in &writes {
        written.push(world.write_room(record).await);
    }
    let moved = server.accepted(&written[0]).await.seq;
    assert!(moved > 0);
    assert_eq!(server.accepted(&written[1]).await.seq, 0);
    let main = world.write_room(&receipt(&room_id, ALICE, &first.event_id, "main")).await;
    let main = server.accepted(&main).await.seq;
    let expected = [
        (ALICE.to_owned(), second.event_id.clone(), String::new(), moved),
        (ALICE.to_owned(), first.event_id.clone(), "main".to_owned(), main),
    ];
    assert_eq!(receipts(&server, &room_id).await, expected);
    let output = world.output_room(partition_of(&room_id), main).await;
    let Some(output_room_event::Body::Receipt(told)) = &output.last().unwrap().body else {
        panic!("{output:?}")
    };
    assert_eq!((told.event_id.as_str(), told.event_seq), (first.event_id.as_str(), first.seq));
    server.stop().await;

    let server = world.start().await;
    assert_eq!(receipts(&server, &room_id).await, expected);
    let back = world.write_room(&receipt(&room_id, ALICE, &first.event_id, "")).await;
    assert_eq!(server.accepted(&back).await.seq, 0, "what is in the database is known too");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_lasts_as_long_as_nothing_else_takes_its_place() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let since = async || {
        let mut client = RoomQueryServiceClient::new(server.channel.clone());
        let request = ListRoomsForUserRequest { user_id: BOB.to_owned(), ..Default::default() };
        let rooms = client.list_rooms_for_user(request).await.unwrap().into_inner().rooms;
        (rooms[0].membership.clone(), rooms[0].since_seq)
    };
    let first = async || {
        let mut client = RoomQueryServiceClient::new(server.channel.clone());
        let request = ListRoomsForUserRequest { user_id: BOB.to_owned(), ..Default::default() };
        client.list_rooms_for_user(request).await.unwrap().into_inner().rooms[0].first_seq
    };
    let become_ = async |membership: &str, name: &str| {
        let written = world.write_room(&member(&room_id, membership, name)).await;
        server.accepted(&written).await.seq
    };
    let joined = become_("join", "Bob").await;
    assert_eq!(since().await, ("join".to_owned(), joined));
    let began = joined;
    become_("join", "Bobby").await;
    assert_eq!(since().await, ("join".to_owned(), joined));
    let left = become_("leave", "Bobby").await;
    assert_eq!(since().await, ("leave".to_owned(), left));

    // Several in one batch: what is written while another batch is being committed.
    let in_one_batch = async |changes: &[(&str, &str)]| {
        let mut blocking = world.hold_up().await;
        let before = world.write_room(&message(&room_id, ALICE, "before")).await;
        world.until_held_up().await;
        let mut written = Vec::new();
        for (membership, name) in changes {
            written.push(world.write_room(&member(&room_id, membership, name)).await);
        }
        blocking.batch_execute("COMMIT").await.expect("it still has the table");
        server.accepted(&before).await;
        let mut seqs = Vec::new();
        for written in &written {
            seqs.push(server.accepted(written).await.seq);
        }
        seqs
    };
    let seqs = in_one_batch(&[("join", "a"), ("join", "b"), ("join", "c")]).await;
    let joined = seqs[0];
    assert_eq!(since().await, ("join".to_owned(), joined));
    in_one_batch(&[("join", "d"), ("join", "e")]).await;
    assert_eq!(since().await, ("join".to_owned(), joined));
    let seqs = in_one_batch(&[("leave", "e"), ("join", "f"), ("join", "g")]).await;
    assert_eq!(since().await, ("join".to_owned(), seqs[1]));
    assert_eq!(first().await, began, "the first member event is kept, whatever comes later");
    let seqs = in_one_batch(&[("leave", "g"), ("join", "h"), ("leave", "h")]).await;
    assert_eq!(since().await, ("leave".to_owned(), seqs[2]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn push_rules_and_tags_build_on_what_is_stored() {
    let world = World::new().await;
    let server = world.start().await;
    let register = Command::Register(plexus_proto::log::v1::Register::default());
    server.accepted(&world.write_user(&user_record(ALICE, register)).await).await;
    let rule = |id: &str| {
        let rule = json!({ "pattern": id, "actions": ["notify"] }).to_string().into();
        let (kind, rule_id) = ("content".to_owned(), id.to_owned());
        Command::PutPushRule(PutPushRule { kind, rule_id, rule, ..PutPushRule::default() })
    };
    let tag = |tag: &str| {
        let content = "{}".into();
        Command::SetTag(SetTag { room_id: "!r:example.org".to_owned(), tag: tag.to_owned(), content })
    };
    for commands in [[rule("one"), tag("u.one")], [rule("two"), tag("u.two")]] {
        for command in commands {
            server.accepted(&world.write_user(&user_record(ALICE, command)).await).await;
        }
    }
    let mut client = UserStreamServiceClient::new(server.channel.clone());
    let request = GetUserSnapshotRequest { user_id: ALICE.to_owned() };
    let data = client.get_user_snapshot(request).await.unwrap().into_inner().account_data;
    let content = |kind: &str| -> Value {
        let data = data.iter().find(|data| data.r#type == kind).unwrap();
        serde_json::from_slice(&data.content).unwrap()
    };
    let rules = content("m.push_rules");
    let ids: Vec<_> =
        rules["global"]["content"].as_array().unwrap().iter().map(|rule| &rule["rule_id"]).collect();
    assert_eq!(ids, ["two", "one"]);
    assert_eq!(content("m.tag"), json!({ "tags": { "u.one": {}, "u.two": {} } }));
    server.stop().await;
}
