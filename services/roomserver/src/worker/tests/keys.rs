//! Keys of devices: each one-time key is handed out once, whoever asks and whatever happens; device lists tell who has to
//! be asked for keys.

use std::collections::BTreeSet;

use bytes::Bytes;
use plexus_log::{PARTITIONS, partition_of};
use plexus_proto::{
    common::v1::{ErrorReason, PartitionHead},
    input::v1::Accepted,
    log::v1::{
        ClaimKeys, ClaimedKeys, DeleteDevices, InputUserEvent, KeyClaim, KeyCounts, NewSession, PublishedKey,
        Register, UploadKeys, input_room_event::Body, input_user_event::Command, output_user_event::Fact,
    },
    room::v1::{GetHeadsRequest, room_stream_service_client::RoomStreamServiceClient},
    user::v1::{
        GetHeadsRequest as GetUserHeadsRequest, ListDeviceListChangesRequest, QueryKeysRequest, WantedKeys,
        key_query_service_client::KeyQueryServiceClient, user_stream_service_client::UserStreamServiceClient,
    },
};
use prost::Message as _;
use serde_json::json;

use super::{
    fixture::{ALICE, BOB, Server, World, intent, public_room, room_record, user_record},
    users::register,
};

const ALGORITHM: &str = "signed_curve25519";
const DEVICE: &str = "PHONE";

fn key(id: &str, value: &str) -> PublishedKey {
    let (algorithm, key_id) = (ALGORITHM.to_owned(), id.to_owned());
    PublishedKey { algorithm, key_id, key: json!({ "key": value }).to_string().into() }
}

fn keys(numbers: std::ops::Range<u32>) -> Vec<PublishedKey> {
    numbers.map(|number| key(&format!("K{number:03}"), &format!("value {number}"))).collect()
}

fn upload(one_time_keys: Vec<PublishedKey>, fallback_keys: Vec<PublishedKey>) -> Command {
    let device_id = DEVICE.to_owned();
    Command::UploadKeys(UploadKeys { device_id, one_time_keys, fallback_keys, ..UploadKeys::default() })
}

fn claim() -> InputUserEvent {
    let claim = KeyClaim { device_id: DEVICE.to_owned(), algorithm: ALGORITHM.to_owned() };
    user_record(ALICE, Command::ClaimKeys(ClaimKeys { claims: vec![claim] }))
}

/// The ID of the key that a claim was given.
fn given(accepted: &Accepted) -> Option<String> {
    let claimed = ClaimedKeys::decode(accepted.payload.clone()).expect("an answer");
    assert!(claimed.keys.len() <= 1, "{claimed:?}");
    claimed.keys.into_iter().next().map(|key| key.key_id)
}

fn counted(accepted: &Accepted) -> KeyCounts {
    KeyCounts::decode(accepted.payload.clone()).expect("an answer")
}

impl Server {
    async fn does(&self, world: &World, user: &str, command: Command) -> Accepted {
        self.accepted(&world.write_user(&user_record(user, command)).await).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_claimers_get_fifty_keys_once_and_then_the_fallback_key() {
    let world = World::new().await;
    let server = world.start().await;
    server.does(&world, ALICE, register()).await;
    let counts = counted(&server.does(&world, ALICE, upload(keys(0..50), vec![key("FALL", "f")])).await);
    assert_eq!(counts.one_time_keys[ALGORITHM], 50);
    assert_eq!(counts.unused_fallback_keys, [ALGORITHM]);
    let records: Vec<InputUserEvent> = (0..64).map(|_| claim()).collect();
    let written = futures::future::join_all(records.iter().map(|record| world.write_user(record))).await;
    let answers = futures::future::join_all(written.iter().map(|written| server.accepted(written))).await;
    let ids: Vec<String> = answers.iter().map(|answer| given(answer).expect("a key")).collect();
    let once: BTreeSet<&String> = ids.iter().filter(|id| *id != "FALL").collect();
    assert_eq!(once.len(), 50, "{ids:?}");
    assert_eq!(ids.iter().filter(|id| *id == "FALL").count(), 14, "{ids:?}");
    assert_eq!(world.number("SELECT count(*) FROM one_time_keys").await, 0);

    // A repeat of an input is answered the same, also by another owner; another claim is not.
    server.stop().await;
    let server = world.start().await;
    for (record, answer) in records.iter().zip(&answers) {
        let again = server.accepted(&world.write_user(record).await).await;
        assert!(again.duplicate);
        assert_eq!(given(&again), given(answer));
    }
    assert_eq!(given(&server.accepted(&world.write_user(&claim()).await).await).as_deref(), Some("FALL"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_claimed_in_the_order_of_uploads_and_told_by_what_is_left() {
    let world = World::new().await;
    let server = world.start().await;
    server.does(&world, ALICE, register()).await;
    for id in ["C", "A", "B"] {
        server.does(&world, ALICE, upload(vec![key(id, id)], Vec::new())).await;
    }
    for id in ["C", "A", "B"] {
        assert_eq!(given(&server.accepted(&world.write_user(&claim()).await).await).as_deref(), Some(id));
    }
    let last = server.accepted(&world.write_user(&claim()).await).await;
    assert_eq!((given(&last), last.seq), (None, 0));
    let told = world.output_user(partition_of(ALICE), 9).await;
    let counts: Vec<u32> = told
        .into_iter()
        .filter_map(|record| match record.fact {
            Some(Fact::KeyCountsChanged(changed)) => Some(changed.counts?.one_time_keys[ALGORITHM]),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [1, 2, 3, 2, 1, 0]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_whole_and_the_same_key_changes_nothing() {
    let world = World::new().await;
    let server = world.start().await;
    server.does(&world, ALICE, register()).await;
    server.does(&world, ALICE, upload(keys(0..2), Vec::new())).await;
    let same = server.does(&world, ALICE, upload(keys(0..2), Vec::new())).await;
    assert_eq!((counted(&same).one_time_keys[ALGORITHM], same.seq), (2, 0));
    let other = upload(vec![key("NEW", "new"), key("K001", "other")], Vec::new());
    let refused = server.rejected(&world.write_user(&user_record(ALICE, other)).await).await;
    assert_eq!(refused.reason(), ErrorReason::Duplicate);
    assert!(refused.message.contains("already exists") && refused.message.contains("; new key:"));
    assert_eq!(world.number("SELECT count(*) FROM one_time_keys").await, 2);
    let many = world.write_user(&user_record(ALICE, upload(keys(0..201), Vec::new()))).await;
    assert_eq!(server.rejected(&many).await.reason(), ErrorReason::InvalidParam);

    // Whatever belongs to a device goes with it.
    let gone = DeleteDevices { device_ids: vec![DEVICE.to_owned()], all: false };
    server.does(&world, ALICE, Command::DeleteDevices(gone)).await;
    assert_eq!(world.number("SELECT count(*) FROM one_time_keys").await, 0);
    assert_eq!(given(&server.accepted(&world.write_user(&claim()).await).await), None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_earlier_generation_are_never_handed_out() {
    let world = World::new().await;
    let server = world.start().await;
    server.does(&world, ALICE, register()).await;
    server.does(&world, ALICE, upload(keys(0..5), vec![key("FALL", "f")])).await;
    world.sql("UPDATE db_generation SET generation = generation + 1").await;
    assert_eq!(given(&server.accepted(&world.write_user(&claim()).await).await).as_deref(), Some("FALL"));
    let counts = counted(&server.does(&world, ALICE, upload(keys(5..7), Vec::new())).await);
    assert_eq!(counts.one_time_keys[ALGORITHM], 2);
    assert!(counts.unused_fallback_keys.is_empty(), "{counts:?}");
    assert_eq!(given(&server.accepted(&world.write_user(&claim()).await).await).as_deref(), Some("K005"));
    server.stop().await;
}

/// Where both output logs are.
#[derive(Clone)]
struct Heads {
    rooms: Vec<u64>,
    users: Vec<u64>,
}

impl Server {
    async fn heads(&self) -> Heads {
        let vector = |heads: Vec<PartitionHead>| {
            let mut vector = vec![0; usize::try_from(PARTITIONS).expect("few")];
            for head in heads {
                vector[usize::try_from(head.partition).expect("few")] = head.seq;
            }
            vector
        };
        let rooms = RoomStreamServiceClient::new(self.channel.clone()).get_heads(GetHeadsRequest {}).await;
        let users =
            UserStreamServiceClient::new(self.channel.clone()).get_heads(GetUserHeadsRequest {}).await;
        Heads {
            rooms: vector(rooms.expect("heads").into_inner().heads),
            users: vector(users.expect("heads").into_inner().heads),
        }
    }

    /// Who has changed and who has left for a viewer since then, in words.
    async fn changes(&self, viewer: &str, since: &Heads) -> (Vec<String>, Vec<String>) {
        let request = ListDeviceListChangesRequest {
            viewer: viewer.to_owned(),
            from_rooms: since.rooms.clone(),
            from_users: since.users.clone(),
            generation: 0,
            to_users: Vec::new(),
        };
        let answer = KeyQueryServiceClient::new(self.channel.clone()).list_device_list_changes(request).await;
        let mut answer = answer.expect("an answer").into_inner();
        answer.changed.sort();
        answer.left.sort();
        (answer.changed, answer.left)
    }

    async fn member(&self, world: &World, room: &str, sender: &str, of: &str, membership: &str) {
        let intent = intent(sender, "m.room.member", Some(of), json!({ "membership": membership }));
        let written = world.write_room(&room_record(room, Body::Intent(intent))).await;
        self.accepted(&written).await;
    }
}

fn lists(changed: &[&str], left: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |users: &[&str]| users.iter().map(|user| (*user).to_owned()).collect();
    (owned(changed), owned(left))
}

#[tokio::test(flavor = "multi_thread")]
async fn device_lists_follow_memberships_and_keys() {
    let world = World::new().await;
    let server = world.start().await;
    let bobs = Register {
        password_hash: "x".to_owned(),
        session: Some(NewSession {
            device_id: DEVICE.to_owned(),
            access_token_hash: Bytes::from(vec![9; 32]),
            ..NewSession::default()
        }),
        ..Register::default()
    };
    let mut rooms = Vec::new();
    for salt in ["a", "b"] {
        let (room, record) = public_room(salt);
        server.accepted(&world.write_room(&record).await).await;
        rooms.push(room);
    }
    let (first, second) = (rooms[0].as_str(), rooms[1].as_str());
    let nothing = lists(&[], &[]);

    // Nobody shares a room with Bob.
    let start = server.heads().await;
    server.does(&world, BOB, Command::Register(bobs)).await;
    assert_eq!(server.changes(ALICE, &start).await, nothing);
    assert_eq!(server.changes(BOB, &start).await, lists(&[BOB], &[]));

    let apart = server.heads().await;
    server.member(&world, first, BOB, BOB, "join").await;
    assert_eq!(server.changes(ALICE, &apart).await, lists(&[BOB], &[]));
    assert_eq!(server.changes(BOB, &apart).await, lists(&[ALICE, BOB], &[]));

    let together = server.heads().await;
    assert_eq!(server.changes(ALICE, &together).await, nothing);
    server.does(&world, BOB, upload(keys(0..3), Vec::new())).await;
    assert_eq!(server.changes(ALICE, &together).await, nothing);
    let device_keys = Bytes::from_static(b"{}");
    let published = UploadKeys { device_id: DEVICE.to_owned(), device_keys, ..UploadKeys::default() };
    server.does(&world, BOB, Command::UploadKeys(published.clone())).await;
    assert_eq!(server.changes(ALICE, &together).await, lists(&[BOB], &[]));
    let told = server.heads().await;
    assert_eq!(server.does(&world, BOB, Command::UploadKeys(published)).await.seq, 0);
    assert_eq!(server.changes(ALICE, &told).await, nothing);

    // A room that they still share keeps them together.
    server.member(&world, second, BOB, BOB, "join").await;
    let both = server.heads().await;
    server.member(&world, first, BOB, BOB, "leave").await;
    assert_eq!(server.changes(ALICE, &both).await, nothing);
    let one = server.heads().await;
    server.member(&world, second, BOB, BOB, "leave").await;
    assert_eq!(server.changes(ALICE, &one).await, lists(&[], &[BOB]));
    assert_eq!(server.changes(BOB, &one).await, lists(&[], &[ALICE]));
    // Whoever was in a room in between, or only invited, was never there.
    assert_eq!(server.changes(ALICE, &apart).await, nothing);
    let gone = server.heads().await;
    server.member(&world, second, ALICE, BOB, "invite").await;
    server.member(&world, second, BOB, BOB, "leave").await;
    server.member(&world, second, ALICE, BOB, "ban").await;
    assert_eq!(server.changes(ALICE, &gone).await, nothing);
    // What a ban covers is seen all the same.
    assert_eq!(server.changes(ALICE, &one).await, lists(&[], &[BOB]));

    // Positions of another generation are none: all who share a room have changed.
    server.member(&world, first, BOB, BOB, "join").await;
    let request = ListDeviceListChangesRequest {
        viewer: ALICE.to_owned(),
        from_rooms: vec![u64::from(u32::MAX); usize::try_from(PARTITIONS).expect("few")],
        from_users: vec![u64::from(u32::MAX); usize::try_from(PARTITIONS).expect("few")],
        generation: 77,
        to_users: Vec::new(),
    };
    let mut client = KeyQueryServiceClient::new(server.channel.clone());
    let mut changed = client.list_device_list_changes(request).await.expect("an answer").into_inner().changed;
    changed.sort();
    assert_eq!(changed, [ALICE, BOB]);

    let query = QueryKeysRequest {
        viewer: ALICE.to_owned(),
        users: vec![WantedKeys { user_id: BOB.to_owned(), device_ids: Vec::new() }],
    };
    let found = client.query_keys(query).await.expect("an answer").into_inner().users;
    assert_eq!(found[0].devices[0].device_id, DEVICE);
    server.stop().await;
}
