//! A database of its own, a log, room servers on them, and writers who do not give up.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use plexus_events::create::unsigned_create_event;
use plexus_log::{InputRoom, InputUser, Log, OutputRoom, OutputUser, StartAt, memory, partition_of};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{
        Accepted, AwaitInputRequest, InputLog, Rejected, Verdict, input_service_client::InputServiceClient,
        verdict::Outcome,
    },
    log::v1::{
        AtomicBatch, ClientTransaction, InputRoomEvent, InputUserEvent, Intent, OutputRoomEvent,
        OutputUserEvent, input_room_event, input_user_event,
    },
};
use plexus_service::{Config, RpcChannel, Shutdown, refusal::reason_of};
use ruma::{RoomVersionId, UserId};
use serde_json::json;
use tonic::Status;

use crate::{Deps, RoomServer, start, store};

pub(super) const ALICE: &str = "@alice:example.org";
pub(super) const BOB: &str = "@bob:example.org";

/// Connections to this database that wait for a lock.
pub(super) const HELD_UP: &str =
    "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// A database and a log.
pub(super) struct World {
    pub(super) url: String,
    pub(super) log: Log,
    _folder: tempfile::TempDir,
    key: PathBuf,
}

/// A room server on them.
pub(super) struct Server {
    pub(super) server: RoomServer,
    pub(super) shutdown: Shutdown,
    pub(super) channel: RpcChannel,
}

/// An input that was written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) log: InputLog,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) input_id: Bytes,
}

impl World {
    pub(super) async fn new() -> Self {
        let host = std::env::var("PGHOST").expect("PGHOST names the test database's host or socket folder");
        let user = std::env::var("PGUSER").unwrap_or_else(|_| "postgres".to_owned());
        let name = format!("worker_{}", uuid::Uuid::now_v7().simple());
        let url = |database: &str| format!("host={host} user={user} dbname={database}");
        let mut admin = store::pool::connect(&url("postgres")).await.expect("Postgres runs");
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("database is made");
        let folder = tempfile::tempdir().expect("folder is made");
        let key = folder.path().join("signing.key");
        Self { url: url(&name), log: new_log(), _folder: folder, key }
    }

    /// Starts a room server at an address of its own: one that shares it takes up what the other works on.
    pub(super) async fn start(&self) -> Server {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        self.start_at(&format!("http://server-{}", STARTED.fetch_add(1, Ordering::Relaxed))).await
    }

    pub(super) async fn start_at(&self, advertise: &str) -> Server {
        self.start_with(advertise, json!({})).await
    }

    /// Starts a room server that keeps records of the output logs for a while only.
    pub(super) async fn start_with(&self, advertise: &str, retention: serde_json::Value) -> Server {
        self.start_as("example.org", advertise, retention).await
    }

    pub(super) async fn start_as(
        &self,
        server_name: &str,
        advertise: &str,
        retention: serde_json::Value,
    ) -> Server {
        let config: Config = serde_json::from_value(json!({
            "server": {"name": server_name, "signing_key": self.key},
            "roomserver": {"advertise": advertise},
            "postgres": {"url": self.url, "max_connections": 4},
            "retention": retention,
        }))
        .expect("configuration holds");
        let shutdown = Shutdown::new();
        let deps = Deps { config: Arc::new(config), log: self.log.clone(), shutdown: shutdown.clone() };
        let server = start(deps).await.expect("room server starts");
        let channel = RpcChannel::in_process(server.routes());
        let server = Server { server, shutdown, channel };
        server.wait_until_ready().await;
        server
    }

    pub(super) async fn connect(&self) -> AsyncPgConnection {
        store::pool::connect(&self.url).await.expect("Postgres runs")
    }

    pub(super) async fn sql(&self, sql: &str) {
        self.connect().await.batch_execute(sql).await.expect("SQL holds");
    }

    /// Locks the positions of partitions: until the transaction ends, no batch is committed and no partition claimed.
    pub(super) async fn hold_up(&self) -> AsyncPgConnection {
        let mut conn = self.connect().await;
        conn.batch_execute("BEGIN; LOCK TABLE partition_state").await.expect("nobody else has it");
        conn
    }

    /// Waits until somebody waits for a lock.
    pub(super) async fn until_held_up(&self) {
        self.until_reached(&format!("SELECT count(*) {HELD_UP}"), 1).await;
    }

    /// Waits until a query returns a number.
    pub(super) async fn until(&self, sql: &str, wanted: i64) {
        self.until_it_holds(sql, |number| number == wanted).await;
    }

    /// Waits until a query returns a number that is large enough.
    pub(super) async fn until_reached(&self, sql: &str, least: i64) {
        self.until_it_holds(sql, |number| number >= least).await;
    }

    async fn until_it_holds(&self, sql: &str, holds: impl Fn(i64) -> bool) {
        let give_up = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let seen = self.number(sql).await;
            if holds(seen) {
                return;
            }
            assert!(std::time::Instant::now() < give_up, "{sql} is still {seen}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The only number that a query returns.
    pub(super) async fn number(&self, sql: &str) -> i64 {
        let sql = diesel::dsl::sql::<diesel::sql_types::BigInt>(sql);
        let mut conn = self.connect().await;
        sql.get_result::<i64>(&mut conn).await.expect("SQL holds")
    }

    pub(super) async fn write_room(&self, record: &InputRoomEvent) -> Written {
        let (partition, offset) = self.log.append::<InputRoom>(record).await.expect("log takes records");
        Written { log: InputLog::Room, partition, offset, input_id: record.input_id.clone() }
    }

    pub(super) async fn write_user(&self, record: &InputUserEvent) -> Written {
        let (partition, offset) = self.log.append::<InputUser>(record).await.expect("log takes records");
        Written { log: InputLog::User, partition, offset, input_id: record.input_id.clone() }
    }

    /// Output records of a room's partition up to a `seq`, as a reader sees them that drops repeats.
    pub(super) async fn output_room(&self, partition: u32, to: u64) -> Vec<OutputRoomEvent> {
        let mut reader = self.log.reader::<OutputRoom>().expect("reader opens");
        reader.assign(partition, StartAt::Oldest).await.expect("partition exists");
        let mut seen: Vec<OutputRoomEvent> = Vec::new();
        while seen.last().map_or(0, |record| record.seq) < to {
            let batch = tokio::time::timeout(Duration::from_secs(10), reader.next_batch(100)).await;
            for entry in batch.expect("output is published").expect("log is open") {
                let record = entry.record.expect("record decodes");
                let last = seen.last().map_or(0, |record| record.seq);
                if record.seq > last {
                    seen.push(record);
                }
            }
        }
        seen
    }

    pub(super) async fn output_user(&self, partition: u32, to: u64) -> Vec<OutputUserEvent> {
        let mut reader = self.log.reader::<OutputUser>().expect("reader opens");
        reader.assign(partition, StartAt::Oldest).await.expect("partition exists");
        let mut seen: Vec<OutputUserEvent> = Vec::new();
        while seen.last().map_or(0, |record| record.seq) < to {
            let batch = tokio::time::timeout(Duration::from_secs(10), reader.next_batch(100)).await;
            for entry in batch.expect("output is published").expect("log is open") {
                let record = entry.record.expect("record decodes");
                let last = seen.last().map_or(0, |record| record.seq);
                if record.seq > last {
                    seen.push(record);
                }
            }
        }
        seen
    }
}

pub(super) fn new_log() -> Log {
    memory::open(memory::MemoryConfig::default())
}

impl Server {
    pub(super) async fn wait_until_ready(&self) {
        for _ in 0..500 {
            if self.server.ready().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the room server did not become ready");
    }

    /// Asks for the verdict on an input.
    pub(super) async fn verdict(&self, written: &Written) -> Result<Verdict, Status> {
        let mut request = tonic::Request::new(AwaitInputRequest {
            log: written.log.into(),
            partition: written.partition,
            offset: written.offset,
            input_id: written.input_id.clone(),
        });
        request.set_timeout(Duration::from_secs(20));
        let answer = InputServiceClient::new(self.channel.clone()).await_input(request).await?;
        Ok(answer.into_inner().verdict.expect("a verdict"))
    }

    pub(super) async fn accepted(&self, written: &Written) -> Accepted {
        match self.verdict(written).await.expect("an answer").outcome {
            Some(Outcome::Accepted(accepted)) => accepted,
            other => panic!("not accepted: {other:?}"),
        }
    }

    pub(super) async fn rejected(&self, written: &Written) -> Rejected {
        match self.verdict(written).await.expect("an answer").outcome {
            Some(Outcome::Rejected(rejected)) => rejected,
            other => panic!("not rejected: {other:?}"),
        }
    }

    pub(super) async fn stop(self) {
        assert!(self.shutdown.finish(Duration::from_secs(10)).await, "tasks end");
    }
}

/// Writes until there is a verdict, over crashes and wiped logs, as writers do.
pub(super) async fn insist(
    log: &Log,
    channel: &tokio::sync::watch::Receiver<Option<RpcChannel>>,
    record: &InputRoomEvent,
) -> Verdict {
    loop {
        let Ok((partition, offset)) = log.append::<InputRoom>(record).await else { continue };
        loop {
            let Some(open) = channel.borrow().clone() else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let mut request = tonic::Request::new(AwaitInputRequest {
                log: InputLog::Room.into(),
                partition,
                offset,
                input_id: record.input_id.clone(),
            });
            request.set_timeout(Duration::from_millis(500));
            match InputServiceClient::new(open).await_input(request).await {
                Ok(answer) => match answer.into_inner().verdict.and_then(|verdict| verdict.outcome) {
                    Some(Outcome::Unknown(_)) | None => break,
                    outcome @ Some(_) => return Verdict { outcome },
                },
                Err(status) => {
                    let known =
                        matches!(reason_of(&status), Some(ErrorReason::NotOwner | ErrorReason::TimedOut));
                    assert!(known, "unexpected failure: {status:?}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }
}

pub(super) fn input_id() -> Bytes {
    Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes())
}

pub(super) fn room_record(room_id: &str, body: input_room_event::Body) -> InputRoomEvent {
    InputRoomEvent {
        version: 1,
        input_id: input_id(),
        room_id: room_id.to_owned(),
        produced_ts: 1_700_000_000_000,
        traceparent: String::new(),
        body: Some(body),
    }
}

pub(super) fn user_record(user_id: &str, command: input_user_event::Command) -> InputUserEvent {
    InputUserEvent {
        version: 1,
        input_id: input_id(),
        user_id: user_id.to_owned(),
        produced_ts: 1_700_000_000_000,
        traceparent: String::new(),
        command: Some(command),
    }
}

pub(super) fn intent(
    sender: &str,
    event_type: &str,
    state_key: Option<&str>,
    content: serde_json::Value,
) -> Intent {
    Intent {
        sender: sender.to_owned(),
        r#type: event_type.to_owned(),
        state_key: state_key.map(str::to_owned),
        content: content.to_string().into(),
        origin_server_ts: 1_700_000_000_000,
        ..Intent::default()
    }
}

pub(super) fn message(room_id: &str, sender: &str, text: &str) -> InputRoomEvent {
    let intent = intent(sender, "m.room.message", None, json!({"msgtype": "m.text", "body": text}));
    room_record(room_id, input_room_event::Body::Intent(intent))
}

pub(super) fn message_with_txn(room_id: &str, sender: &str, text: &str, txn_id: &str) -> InputRoomEvent {
    let mut intent = intent(sender, "m.room.message", None, json!({"msgtype": "m.text", "body": text}));
    intent.txn = Some(ClientTransaction {
        user_id: sender.to_owned(),
        device_id: "DEVICE".to_owned(),
        txn_id: txn_id.to_owned(),
        scope: format!("send/{room_id}/m.room.message"),
    });
    room_record(room_id, input_room_event::Body::Intent(intent))
}

/// A public room of Alice, as a batch; `salt` makes it another one.
pub(super) fn public_room(salt: &str) -> (String, InputRoomEvent) {
    let alice = <&UserId>::try_from(ALICE).expect("a user ID");
    let content = json!({"org.example.salt": salt}).as_object().expect("an object").clone();
    let (room_id, create) =
        unsigned_create_event(&RoomVersionId::V12, alice, None, content, 1_700_000_000_000).expect("builds");
    let batch = AtomicBatch {
        create_pdu: create.into(),
        room_version: "12".to_owned(),
        intents: vec![
            intent(ALICE, "m.room.member", Some(ALICE), json!({"membership": "join"})),
            intent(ALICE, "m.room.power_levels", Some(""), json!({})),
            intent(ALICE, "m.room.join_rules", Some(""), json!({"join_rule": "public"})),
        ],
        ..AtomicBatch::default()
    };
    let record = room_record(room_id.as_str(), input_room_event::Body::Batch(batch));
    (room_id.to_string(), record)
}

/// Public rooms that lie in one partition.
pub(super) fn rooms_of_one_partition(count: usize) -> Vec<(String, InputRoomEvent)> {
    let (first, record) = public_room("0");
    let partition = partition_of(&first);
    let mut rooms = vec![(first, record)];
    for salt in 1_u32.. {
        if rooms.len() == count {
            break;
        }
        let room = public_room(&salt.to_string());
        if partition_of(&room.0) == partition {
            rooms.push(room);
        }
    }
    rooms
}
