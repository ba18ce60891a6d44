//! Backups of room keys.

use bytes::Bytes;
use diesel_async::SimpleAsyncConnection as _;
use futures::TryStreamExt as _;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        BackupKey, BackupState, CreateBackup, Deactivate, DeleteBackup, DeleteBackupKeys, PutBackupKeys,
        UpdateBackup, input_user_event::Command,
    },
    user::v1::{
        GetBackupVersionRequest, StreamBackupKeysRequest, backup_service_client::BackupServiceClient,
    },
};
use plexus_service::refusal::reason_of;
use prost::Message as _;

use super::{
    fixture::{ALICE, Server, World, Written, user_record},
    users::register,
};
use crate::store::backups;

const ROOMS: [&str; 2] = ["!a:example.org", "!b:example.org"];

async fn stage() -> (World, Server) {
    let world = World::new().await;
    let server = world.start().await;
    server.accepted(&world.write_user(&user_record(ALICE, register())).await).await;
    (world, server)
}

async fn write(world: &World, command: Command) -> Written {
    world.write_user(&user_record(ALICE, command)).await
}

/// Version, etag and count.
async fn state(server: &Server, written: &Written) -> (u64, u64, u64) {
    let payload = server.accepted(written).await.payload;
    let state = BackupState::decode(payload).expect("it answers with a state");
    (state.version, state.etag, state.count)
}

fn create() -> Command {
    let auth_data = Bytes::from_static(br#"{"public_key":"x"}"#);
    Command::CreateBackup(CreateBackup { algorithm: "made.up".to_owned(), auth_data })
}

fn key(room_id: &str, session_id: &str, index: u64) -> BackupKey {
    BackupKey {
        room_id: room_id.to_owned(),
        session_id: session_id.to_owned(),
        first_message_index: index,
        session_data: index.to_string().into(),
        ..BackupKey::default()
    }
}

fn put(version: u64, keys: Vec<BackupKey>) -> Command {
    Command::PutBackupKeys(PutBackupKeys { version, keys })
}

fn delete(version: u64, room_id: &str, session_id: &str) -> Command {
    let (room_id, session_id) = (room_id.to_owned(), session_id.to_owned());
    Command::DeleteBackupKeys(DeleteBackupKeys { version, room_id, session_id })
}

/// Room, session and index of the keys of a version.
async fn keys(server: &Server, version: u64, room_id: &str, session_id: &str) -> Vec<(String, String, u64)> {
    let request = StreamBackupKeysRequest {
        user_id: ALICE.to_owned(),
        version,
        room_id: room_id.to_owned(),
        session_id: session_id.to_owned(),
    };
    let chunks = BackupServiceClient::new(server.channel.clone()).stream_backup_keys(request).await;
    let chunks: Vec<_> =
        chunks.expect("there is the version").into_inner().try_collect().await.expect("they come");
    let keys = chunks.into_iter().flat_map(|chunk| chunk.keys);
    keys.map(|key| {
        assert_eq!(key.session_data, key.first_message_index.to_string());
        (key.room_id, key.session_id, key.first_message_index)
    })
    .collect()
}

fn found(keys: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    keys.iter().map(|(room, session, index)| ((*room).to_owned(), (*session).to_owned(), *index)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_given_out_once() {
    let (world, server) = stage().await;
    let first = write(&world, create()).await;
    assert_eq!(state(&server, &first).await, (1, 0, 0));
    assert_eq!(state(&server, &write(&world, create()).await).await.0, 2);
    let gone = |version| Command::DeleteBackup(DeleteBackup { version });
    for version in [2, 2] {
        server.accepted(&write(&world, gone(version)).await).await;
    }
    for version in [0, 3, u64::MAX] {
        let refused = server.rejected(&write(&world, gone(version)).await).await;
        assert_eq!(refused.reason(), ErrorReason::NotFound, "{version}");
    }
    let mut client = BackupServiceClient::new(server.channel.clone());
    let mut current = async |version| {
        let request = GetBackupVersionRequest { user_id: ALICE.to_owned(), version };
        let answer = client.get_backup_version(request).await.map(tonic::Response::into_inner);
        answer.map(|found| (found.state.expect("it is told").version, found.auth_data))
    };
    assert_eq!(current(0).await.expect("the first is current again").0, 1);
    assert_eq!(reason_of(&current(2).await.expect_err("it is gone")), Some(ErrorReason::NotFound));
    let update = |algorithm: &str| {
        let auth_data = Bytes::from_static(br#"{"public_key":"y"}"#);
        Command::UpdateBackup(UpdateBackup { version: 1, algorithm: algorithm.to_owned(), auth_data })
    };
    let refused = server.rejected(&write(&world, update("another")).await).await;
    assert_eq!(refused.reason(), ErrorReason::InvalidParam);
    server.accepted(&write(&world, update("made.up")).await).await;
    assert_eq!(current(1).await.expect("it is there").1, r#"{"public_key":"y"}"#);
    assert_eq!(state(&server, &write(&world, create()).await).await.0, 3);
    assert_eq!(state(&server, &first).await.0, 1, "the verdict is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_etags_tell_what_is_stored() {
    let (world, server) = stage().await;
    state(&server, &write(&world, create()).await).await;
    let [a, b] = ROOMS;
    let steps = [
        (put(1, vec![]), (0, 0)),
        (put(1, vec![key(a, "1", 5), key(a, "2", 5), key(b, "1", 5)]), (1, 3)),
        (put(1, vec![key(a, "1", 5), key(a, "2", 6)]), (1, 3)),
        (put(1, vec![key(a, "1", 4), key(a, "1", 2), key(a, "1", 3)]), (2, 3)),
        (delete(1, b, "none"), (2, 3)),
        (delete(1, "!none:example.org", ""), (2, 3)),
        (delete(1, a, "2"), (3, 2)),
        (put(1, vec![key(a, "2", 9)]), (4, 3)),
        (delete(1, a, ""), (5, 1)),
        (put(1, vec![key(a, "2", 10), key(a, "3", 1)]), (6, 3)),
        (delete(1, "", ""), (7, 0)),
        (delete(1, "", ""), (7, 0)),
        (put(1, vec![key(b, "1", 100)]), (8, 1)),
    ];
    // All in one batch, and then once more one by one: it comes to the same.
    let mut held = world.hold_up().await;
    let mut written = Vec::new();
    for (command, _) in &steps {
        written.push(write(&world, command.clone()).await);
    }
    held.batch_execute("ROLLBACK").await.expect("it ends");
    for (written, (etag, count)) in written.iter().zip(steps.iter().map(|step| step.1)) {
        assert_eq!(state(&server, written).await, (1, etag, count));
    }
    assert_eq!(keys(&server, 1, "", "").await, found(&[(b, "1", 100)]));
    assert_eq!(state(&server, &write(&world, create()).await).await.0, 2);
    for (command, (etag, count)) in steps {
        let command = match command {
            Command::PutBackupKeys(put) => Command::PutBackupKeys(PutBackupKeys { version: 2, ..put }),
            Command::DeleteBackupKeys(delete) => {
                Command::DeleteBackupKeys(DeleteBackupKeys { version: 2, ..delete })
            }
            other => other,
        };
        assert_eq!(state(&server, &write(&world, command).await).await, (2, etag, count));
    }
    assert_eq!(keys(&server, 2, "", "").await, found(&[(b, "1", 100)]));
    assert_eq!(keys(&server, 2, a, "").await, []);
    assert_eq!(keys(&server, 2, b, "1").await, found(&[(b, "1", 100)]));
    assert_eq!(keys(&server, 2, b, "2").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_current_version_takes_keys() {
    let (world, server) = stage().await;
    for _ in 0..2 {
        state(&server, &write(&world, create()).await).await;
    }
    let [a, _] = ROOMS;
    for (version, reason) in
        [(1, ErrorReason::WrongRoomKeysVersion), (3, ErrorReason::NotFound), (0, ErrorReason::NotFound)]
    {
        let refused = server.rejected(&write(&world, put(version, vec![key(a, "1", 1)])).await).await;
        assert_eq!(refused.reason(), reason, "{version}");
    }
    let gone = Command::DeleteBackup(DeleteBackup { version: 2 });
    server.accepted(&write(&world, gone).await).await;
    assert_eq!(state(&server, &write(&world, put(1, vec![key(a, "1", 1)])).await).await, (1, 1, 1));
    let refused = server.rejected(&write(&world, delete(2, "", "")).await).await;
    assert_eq!(refused.reason(), ErrorReason::NotFound);
    for wrong in [
        key("no room", "1", 1),
        key(a, "", 1),
        key(a, "\0", 1),
        key(a, &"x".repeat(256), 1),
        key(a, "1", 1 << 53),
    ] {
        let refused = server.rejected(&write(&world, put(1, vec![wrong])).await).await;
        assert_eq!(refused.reason(), ErrorReason::InvalidParam);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_goes_in_steps() {
    let (world, server) = stage().await;
    state(&server, &write(&world, create()).await).await;
    let many: Vec<BackupKey> = (0..50).map(|number| key(ROOMS[0], &number.to_string(), 1)).collect();
    state(&server, &write(&world, put(1, many.clone())).await).await;
    state(&server, &write(&world, delete(1, "", "")).await).await;
    state(&server, &write(&world, put(1, many[..10].to_vec())).await).await;
    let count = "SELECT count(*) FROM key_backup_keys";
    let garbage = "SELECT count(*) FROM key_backup_versions WHERE has_garbage";
    assert_eq!((world.number(count).await, world.number(garbage).await), (50, 1));
    let mut conn = world.connect().await;
    assert_eq!(backups::collect_garbage(&mut conn, 7, || false).await.expect("it goes"), 40);
    assert_eq!((world.number(count).await, world.number(garbage).await), (10, 0));
    assert_eq!(keys(&server, 1, "", "").await.len(), 10);
    state(&server, &write(&world, create()).await).await;
    state(&server, &write(&world, put(2, many)).await).await;
    let gone = Command::DeleteBackup(DeleteBackup { version: 2 });
    server.accepted(&write(&world, gone).await).await;
    assert_eq!(backups::collect_garbage(&mut conn, 7, || false).await.expect("it goes"), 50);
    server.accepted(&write(&world, Command::Deactivate(Deactivate { erase: false })).await).await;
    assert_eq!(backups::collect_garbage(&mut conn, 7, || false).await.expect("it goes"), 10);
    assert_eq!((world.number(count).await, world.number(garbage).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_come_in_chunks_and_in_order() {
    let (world, server) = stage().await;
    state(&server, &write(&world, create()).await).await;
    world
        .sql(
            "INSERT INTO key_backup_keys (user_id, version, room_id, session_id, first_message_index, \
             forwarded_count, is_verified, session_data, etag) \
             SELECT '@alice:example.org', 1, '!' || (n % 3) || ':example.org', n::text, n, 0, false, \
               convert_to(n::text, 'UTF8'), 1 FROM generate_series(1, 2500) n",
        )
        .await;
    let all = keys(&server, 1, "", "").await;
    let mut sorted = all.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((all.len(), sorted.len()), (2500, 2500));
    let rooms: Vec<&str> = all.iter().map(|key| key.0.as_str()).collect();
    assert!(rooms.is_sorted(), "keys of a room follow each other");
    assert_eq!(keys(&server, 1, "!1:example.org", "").await.len(), 834);
}
