//! A room server in memory: it commits what it is told, writes the output logs, and answers what this service asks.

mod rpc;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use axum::{body::Body, http::Request};
use parking_lot::Mutex;
use plexus_log::{InputUser, Log, OutputRoom, OutputUser, StartAt, memory, partition_of};
use plexus_matrix_http::{Authenticator, Edge, hash_token};
use plexus_proto::{
    log::v1::{
        AccountDataChanged, ClientTransaction, Deactivated, DevicesChanged, Ephemeral, Forgotten,
        HistoryVisibility, KeyCounts, KeyCountsChanged, KeysChanged, NewEvent, OutOfBandMembership,
        OutputRoomEvent, OutputUserEvent, Purged, Receipt, StateChange, StateDelta, ToDevicePending, Typing,
        ephemeral, input_user_event::Command, output_room_event::Body as Fact,
        output_user_event::Fact as UserFact,
    },
    room::v1::RoomEvent,
};
use plexus_service::{Config, RpcChannel, Shutdown, config::SyncConfig, ready::Readiness};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::SyncService;

pub(super) type Key = (String, String);

/// What the room server has committed.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) room_seqs: HashMap<u32, u64>,
    /// What is told as the heads beside the rooms of a user, if they were read earlier than those.
    pub(super) heads_before: Option<HashMap<u32, u64>>,
    /// By how much the next event is older than its record.
    pub(super) late_by: i64,
    /// By room: its last record.
    pub(super) last_seqs: HashMap<String, u64>,
    pub(super) room_records: Vec<OutputRoomEvent>,
    pub(super) events: Vec<Stored>,
    pub(super) forgotten: HashSet<(String, String)>,
    /// By room, user, type and thread.
    pub(super) receipts: BTreeMap<(String, String, String, String), (u64, Receipt)>,
    pub(super) user_seqs: HashMap<u32, u64>,
    pub(super) user_records: Vec<OutputUserEvent>,
    pub(super) generation: u64,
    /// Up to where the records of partitions were deleted.
    pub(super) room_floors: HashMap<u32, u64>,
    pub(super) user_floors: HashMap<u32, u64>,
    pub(super) account_data: BTreeMap<(String, String, String), (u64, Value)>,
    pub(super) filters: HashMap<(String, String), Value>,
    pub(super) tokens: HashMap<Vec<u8>, (String, String)>,
    pub(super) snapshots: usize,
    pub(super) timelines: usize,
    pub(super) deltas: usize,
    /// Rooms whose deltas cannot be told, and those where the answer never comes.
    pub(super) broken: HashSet<String>,
    pub(super) hanging: HashSet<String>,
    pub(super) aggregations: usize,
    /// Messages to devices that wait, and how often they were asked for.
    pub(super) messages: Vec<Message>,
    pub(super) listed: usize,
    /// Whose keys changed, and where that was told; and how often that was asked for.
    pub(super) keys_changed: Vec<(u32, u64, String)>,
    pub(super) compared: usize,
    /// By user and device.
    pub(super) key_counts: HashMap<(String, String), KeyCounts>,
    /// What other servers have told of users.
    pub(super) out_of_band: HashMap<String, Vec<OutOfBandMembership>>,
}

/// A message to a device.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) user: String,
    pub(super) device: String,
    pub(super) seq: u64,
    pub(super) content: Value,
}

impl Facts {
    /// Commits a record of a user.
    fn put_out_user(&mut self, user: &str, fact: UserFact) -> OutputUserEvent {
        let partition = partition_of(user);
        let seq = self.user_seqs.entry(partition).or_default();
        *seq += 1;
        let (seq, user_id, fact) = (*seq, user.to_owned(), Some(fact));
        let record =
            OutputUserEvent { version: 1, seq, user_id, partition, fact, ..OutputUserEvent::default() };
        self.user_records.push(record.clone());
        record
    }

    /// Commits a record of a room that brings no event.
    fn put_out(&mut self, room: &str, body: Fact) -> OutputRoomEvent {
        let partition = partition_of(room);
        let seq = self.room_seqs.entry(partition).or_default();
        *seq += 1;
        let seq = *seq;
        self.last_seqs.insert(room.to_owned(), seq);
        let record = OutputRoomEvent {
            version: 1,
            seq,
            room_id: room.to_owned(),
            partition,
            body: Some(body),
            ..OutputRoomEvent::default()
        };
        self.room_records.push(record.clone());
        record
    }
}

#[derive(Clone)]
pub(super) struct Stored {
    pub(super) event: RoomEvent,
    pub(super) key: Option<Key>,
    pub(super) visibility: HistoryVisibility,
    pub(super) content: Value,
    pub(super) ts: i64,
}

impl Stored {
    /// When it came: as late as it was committed.
    pub(super) fn committed_ts(&self) -> i64 {
        self.ts
    }
}

/// The room server, the log, and replicas of the service.
#[derive(Clone)]
pub(super) struct World {
    pub(super) facts: Arc<Mutex<Facts>>,
    pub(super) log: Log,
    /// What bounds positions of sliding sync.
    pub(super) bounds: crate::endpoint::sliding::Bounds,
}

/// One replica.
pub(super) struct Replica {
    router: axum::Router,
    pub(super) service: SyncService,
    pub(super) readiness: Readiness,
    pub(super) shutdown: Shutdown,
}

/// An event about to be sent.
pub(super) struct Send<'a> {
    pub(super) room: &'a str,
    pub(super) sender: &'a str,
    pub(super) kind: &'a str,
    pub(super) state_key: Option<&'a str>,
    pub(super) content: Value,
    pub(super) txn: Option<(&'a str, &'a str)>,
}

impl World {
    pub(super) fn new() -> Self {
        let facts = Arc::new(Mutex::new(Facts { generation: 1, ..Facts::default() }));
        let log = memory::open(memory::MemoryConfig::default());
        Self { facts, log, bounds: crate::endpoint::sliding::Bounds::default() }
    }

    /// Starts a replica and waits until it is ready.
    pub(super) async fn replica(&self) -> Replica {
        self.replica_with(SyncConfig::default()).await
    }

    pub(super) async fn replica_with(&self, config: SyncConfig) -> Replica {
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let channel = RpcChannel::in_process(self.routes());
        let part = readiness.part("sync");
        let whole: Config = serde_json::from_value(json!({ "server": { "name": "test" } })).unwrap();
        let edge = Edge::new(&whole, Authenticator::new(channel.clone()));
        let mut service =
            SyncService::start(self.log.clone(), channel.clone(), edge, &config, part, shutdown.clone());
        tokio::time::timeout(Duration::from_secs(5), readiness.ready()).await.expect("it becomes ready");
        service.bounds = self.bounds;
        let router = crate::router(service.clone());
        Replica { router, service, readiness, shutdown }
    }

    /// Deletes all records of both output logs, as a room server does after a while.
    pub(super) fn trim(&self) {
        let mut facts = self.facts.lock();
        facts.room_records.clear();
        facts.user_records.clear();
        (facts.room_floors, facts.user_floors) = (facts.room_seqs.clone(), facts.user_seqs.clone());
    }

    /// Commits an event without writing it to the log.
    pub(super) fn commit(&self, send: Send<'_>) -> OutputRoomEvent {
        let mut facts = self.facts.lock();
        let partition = partition_of(send.room);
        let seq = facts.room_seqs.entry(partition).or_default();
        *seq += 1;
        let seq = *seq;
        // What an input waited for counts, too.
        let ts = i64::try_from(1_000 + facts.events.len()).unwrap() - std::mem::take(&mut facts.late_by);
        let event_id = format!("${partition}x{seq}");
        let mut json = json!({
            "type": send.kind, "sender": send.sender, "content": send.content, "room_id": send.room,
            "origin_server_ts": 1_000 + seq, "depth": seq, "auth_events": [], "prev_events": [],
        });
        let key = send.state_key.map(|key| (send.kind.to_owned(), key.to_owned()));
        let mut delta = StateDelta::default();
        let mut event = RoomEvent {
            event_id: event_id.clone(),
            seq,
            room_id: send.room.to_owned(),
            ..RoomEvent::default()
        };
        if let Some((kind, state_key)) = &key {
            json["state_key"] = state_key.clone().into();
            let old = facts.state_at(send.room, u64::MAX).remove(&(kind.clone(), state_key.clone()));
            event.prev_content = old.as_ref().map(|old| old.content.to_string().into()).unwrap_or_default();
            let replaces_event_id = old.map(|old| old.event.event_id).unwrap_or_default();
            event.replaces_event_id.clone_from(&replaces_event_id);
            delta.changes.push(StateChange {
                r#type: kind.clone(),
                state_key: state_key.clone(),
                event_id: event_id.clone(),
                replaces_event_id,
            });
        }
        event.json = json.to_string().into();
        let txn = send.txn.map(|(device_id, txn_id)| ClientTransaction {
            user_id: send.sender.to_owned(),
            device_id: device_id.to_owned(),
            txn_id: txn_id.to_owned(),
            scope: String::new(),
        });
        if let Some(txn) = &txn {
            event.txn_device_id.clone_from(&txn.device_id);
            event.txn_id.clone_from(&txn.txn_id);
        }
        let state = facts.state_at(send.room, u64::MAX);
        let setting = state.get(&("m.room.history_visibility".to_owned(), String::new()));
        let visibility = match setting.and_then(|stored| stored.content["history_visibility"].as_str()) {
            Some("joined") => HistoryVisibility::Joined,
            Some("invited") => HistoryVisibility::Invited,
            _ => HistoryVisibility::Shared,
        };
        let sets =
            (send.kind == "m.room.history_visibility").then(|| send.content["history_visibility"].as_str());
        let visibility = match sets.flatten() {
            Some("shared") => HistoryVisibility::Shared,
            Some("invited") => visibility.max(HistoryVisibility::Invited),
            Some(_) | None => visibility,
        };
        let record = OutputRoomEvent {
            version: 1,
            seq,
            room_id: send.room.to_owned(),
            partition,
            body: Some(Fact::NewEvent(NewEvent {
                event_id,
                json: event.json.clone(),
                delta: Some(delta),
                visibility: visibility.into(),
                txn,
                ..NewEvent::default()
            })),
            committed_ts: ts,
            ..OutputRoomEvent::default()
        };
        // Whoever has to do with a room anew has not forgotten it.
        if let Some((kind, user)) = &key
            && kind == "m.room.member"
        {
            facts.forgotten.remove(&(send.room.to_owned(), user.clone()));
        }
        facts.events.push(Stored { event, key, visibility, content: send.content, ts });
        facts.last_seqs.insert(send.room.to_owned(), seq);
        facts.room_records.push(record.clone());
        record
    }

    /// Commits an event and writes it to the log; returns its ID.
    pub(super) async fn send(&self, send: Send<'_>) -> String {
        let record = self.commit(send);
        self.log.append::<OutputRoom>(&record).await.unwrap();
        match record.body {
            Some(Fact::NewEvent(new)) => new.event_id,
            _ => unreachable!("an event was sent"),
        }
    }

    pub(super) async fn say(&self, room: &str, sender: &str, body: &str) -> String {
        let content = json!({"msgtype": "m.text", "body": body});
        self.send(Send { room, sender, kind: "m.room.message", state_key: None, content, txn: None }).await
    }

    /// Says something that follows on events which could not be had.
    pub(super) async fn say_after_gap(&self, room: &str, sender: &str, body: &str) -> String {
        let content = json!({"msgtype": "m.text", "body": body});
        let mut record =
            self.commit(Send { room, sender, kind: "m.room.message", state_key: None, content, txn: None });
        let Some(Fact::NewEvent(new)) = &mut record.body else { unreachable!("an event was sent") };
        new.gap_before = true;
        let event_id = new.event_id.clone();
        {
            let mut facts = self.facts.lock();
            facts.events.last_mut().unwrap().event.gap_before = true;
            *facts.room_records.last_mut().unwrap() = record.clone();
        }
        self.log.append::<OutputRoom>(&record).await.unwrap();
        event_id
    }

    pub(super) async fn set(
        &self,
        room: &str,
        sender: &str,
        kind: &str,
        state_key: &str,
        content: Value,
    ) -> String {
        self.send(Send { room, sender, kind, state_key: Some(state_key), content, txn: None }).await
    }

    pub(super) async fn member(&self, room: &str, sender: &str, user: &str, membership: &str) -> String {
        self.set(room, sender, "m.room.member", user, json!({ "membership": membership })).await
    }

    /// Makes a room with its creator in it.
    pub(super) async fn create(&self, room: &str, creator: &str) {
        self.set(room, creator, "m.room.create", "", json!({"room_version": "12"})).await;
        self.member(room, creator, creator, "join").await;
        self.set(room, creator, "m.room.join_rules", "", json!({"join_rule": "public"})).await;
    }

    pub(super) async fn forget(&self, room: &str, user: &str) {
        let record = {
            let mut facts = self.facts.lock();
            facts.forgotten.insert((room.to_owned(), user.to_owned()));
            facts.put_out(room, Fact::Forgotten(Forgotten { user_id: user.to_owned() }))
        };
        self.log.append::<OutputRoom>(&record).await.unwrap();
    }

    /// Deletes all of a room, as an operator would.
    pub(super) async fn purge(&self, room: &str) {
        let record = {
            let mut facts = self.facts.lock();
            facts.events.retain(|stored| stored.event.room_id != room);
            facts.receipts.retain(|(of, ..), _| of != room);
            facts.put_out(room, Fact::Purged(Purged {}))
        };
        self.log.append::<OutputRoom>(&record).await.unwrap();
    }

    /// Moves a receipt to an event of the room.
    pub(super) async fn receipt(&self, room: &str, user: &str, kind: &str, event_id: &str, thread: &str) {
        let record = self.commit_receipt(room, user, kind, event_id, thread);
        self.log.append::<OutputRoom>(&record).await.unwrap();
    }

    /// Commits a receipt without writing it to the log.
    pub(super) fn commit_receipt(
        &self,
        room: &str,
        user: &str,
        kind: &str,
        event_id: &str,
        thread: &str,
    ) -> OutputRoomEvent {
        let mut facts = self.facts.lock();
        let of = |stored: &&Stored| stored.event.event_id == event_id;
        let event_seq = facts.events.iter().find(of).expect("the event is there").event.seq;
        let receipt = Receipt {
            user_id: user.to_owned(),
            r#type: kind.to_owned(),
            event_id: event_id.to_owned(),
            thread_id: thread.to_owned(),
            event_seq,
            ts: 7,
        };
        let key = (room.to_owned(), user.to_owned(), kind.to_owned(), thread.to_owned());
        let record = facts.put_out(room, Fact::Receipt(receipt.clone()));
        facts.receipts.insert(key, (record.seq, receipt));
        record
    }

    /// Has a user type for a while, or stop.
    pub(super) async fn types(&self, room: &str, user: &str, timeout_ms: u32) {
        let typing = Typing { user_id: user.to_owned(), timeout_ms };
        let record = Ephemeral {
            version: 1,
            room_id: room.to_owned(),
            produced_ts: crate::clock::now_ms(),
            body: Some(ephemeral::Body::Typing(typing)),
        };
        self.log.append::<plexus_log::Ephemeral>(&record).await.unwrap();
    }

    /// Tells what a user is in a room that this server is not in; with no membership, that the room tells it itself.
    pub(super) async fn tell_out_of_band(&self, user: &str, told: OutOfBandMembership) {
        let record = {
            let mut facts = self.facts.lock();
            let record = facts.put_out_user(user, UserFact::OutOfBandMembership(told.clone()));
            let known = facts.out_of_band.entry(user.to_owned()).or_default();
            known.retain(|known| known.room_id != told.room_id);
            if !told.membership.is_empty() {
                known.push(OutOfBandMembership { seq: record.seq, ..told });
            }
            record
        };
        self.log.append::<OutputUser>(&record).await.unwrap();
    }

    pub(super) async fn set_account_data(&self, user: &str, room: &str, kind: &str, content: Value) {
        let record = self.commit_account_data(user, room, kind, content);
        self.log.append::<OutputUser>(&record).await.unwrap();
    }

    /// Commits account data without writing it to the log.
    pub(super) fn commit_account_data(
        &self,
        user: &str,
        room: &str,
        kind: &str,
        content: Value,
    ) -> OutputUserEvent {
        let mut facts = self.facts.lock();
        let partition = partition_of(user);
        let seq = facts.user_seqs.entry(partition).or_default();
        *seq += 1;
        let seq = *seq;
        let key = (user.to_owned(), room.to_owned(), kind.to_owned());
        facts.account_data.insert(key, (seq, content.clone()));
        let record = OutputUserEvent {
            version: 1,
            seq,
            user_id: user.to_owned(),
            partition,
            fact: Some(UserFact::AccountDataChanged(AccountDataChanged {
                room_id: room.to_owned(),
                r#type: kind.to_owned(),
                content: content.to_string().into(),
            })),
            ..OutputUserEvent::default()
        };
        facts.user_records.push(record.clone());
        record
    }

    /// Has a user ask to be erased, without writing it to the log.
    pub(super) fn commit_erasure(&self, user: &str) -> OutputUserEvent {
        let mut facts = self.facts.lock();
        let partition = partition_of(user);
        let seq = facts.user_seqs.entry(partition).or_default();
        *seq += 1;
        let record = OutputUserEvent {
            version: 1,
            seq: *seq,
            user_id: user.to_owned(),
            partition,
            fact: Some(UserFact::Deactivated(Deactivated { erase: true })),
            ..OutputUserEvent::default()
        };
        facts.user_records.push(record.clone());
        for stored in &mut facts.events {
            let json: Value = serde_json::from_slice(&stored.event.json).unwrap();
            if json["sender"] == user {
                user.clone_into(&mut stored.event.erased_sender);
            }
        }
        record
    }

    /// Commits a message whose record names an event of the state beside it, as if states had been resolved anew.
    pub(super) fn commit_resolved(&self, room: &str, sender: &str) -> OutputRoomEvent {
        let content = json!({"body": "resolved"});
        let mut record =
            self.commit(Send { room, sender, kind: "m.room.message", state_key: None, content, txn: None });
        if let Some(Fact::NewEvent(new)) = &mut record.body {
            new.delta = Some(StateDelta {
                changes: vec![StateChange {
                    r#type: "m.room.topic".to_owned(),
                    event_id: "$beside".to_owned(),
                    ..StateChange::default()
                }],
                truncated: false,
            });
        }
        record
    }

    /// Writes what happened to a user to the log.
    pub(super) async fn tell(&self, record: &OutputUserEvent) {
        self.log.append::<OutputUser>(record).await.unwrap();
    }

    /// Ends all sessions of a user, and tells so.
    pub(super) async fn logs_out(&self, user: &str) {
        self.facts.lock().tokens.retain(|_, (of, _)| of != user);
        let devices = DevicesChanged { logged_out: true, ..DevicesChanged::default() };
        self.put_out_user(user, UserFact::DevicesChanged(devices)).await;
    }

    /// Commits a message to a device, and tells so.
    pub(super) async fn send_to_device(&self, user: &str, device: &str, content: Value) {
        let record = {
            let mut facts = self.facts.lock();
            let pending = ToDevicePending { device_ids: vec![device.to_owned()] };
            let record = facts.put_out_user(user, UserFact::ToDevicePending(pending));
            let (user, device, seq) = (user.to_owned(), device.to_owned(), record.seq);
            facts.messages.push(Message { user, device, seq, content });
            record
        };
        self.log.append::<OutputUser>(&record).await.unwrap();
    }

    /// Changes the keys of a user, and tells so.
    pub(super) async fn change_keys(&self, user: &str) {
        let record = {
            let mut facts = self.facts.lock();
            let record = facts.put_out_user(user, UserFact::KeysChanged(KeysChanged { own: false }));
            facts.keys_changed.push((record.partition, record.seq, user.to_owned()));
            record
        };
        self.log.append::<OutputUser>(&record).await.unwrap();
    }

    /// Sets how many one-time keys a device has left, and tells so.
    pub(super) async fn count_keys(&self, user: &str, device: &str, count: u32) {
        let counts = KeyCounts {
            one_time_keys: HashMap::from([("signed_curve25519".to_owned(), count)]),
            unused_fallback_keys: vec!["signed_curve25519".to_owned()],
        };
        self.facts.lock().key_counts.insert((user.to_owned(), device.to_owned()), counts.clone());
        let changed = KeyCountsChanged { device_id: device.to_owned(), counts: Some(counts) };
        self.put_out_user(user, UserFact::KeyCountsChanged(changed)).await;
    }

    /// Takes messages out that were acknowledged, for as long as somebody writes so; returns how far.
    pub(super) async fn acknowledged(&self, user: &str, upto: u64) {
        let mut reader = self.log.reader::<InputUser>().unwrap();
        reader.assign(partition_of(user), StartAt::Oldest).await.unwrap();
        let mut reached = 0;
        while reached < upto {
            let batch = tokio::time::timeout(Duration::from_secs(10), reader.next_batch(100)).await;
            for entry in batch.expect("it is acknowledged").unwrap() {
                let Some(Command::AckToDevice(ack)) = entry.record.unwrap().command else { continue };
                reached = reached.max(ack.seq);
                let is_left = |message: &Message| message.device != ack.device_id || message.seq > ack.seq;
                self.facts.lock().messages.retain(is_left);
            }
        }
        assert_eq!(reached, upto, "no more than what has arrived");
    }

    async fn put_out_user(&self, user: &str, fact: UserFact) {
        let record = self.facts.lock().put_out_user(user, fact);
        self.log.append::<OutputUser>(&record).await.unwrap();
    }

    /// Gives out an access token.
    pub(super) fn login(&self, user: &str, device: &str) -> String {
        let token = format!("{user}/{device}");
        let hash = hash_token(&token).to_vec();
        self.facts.lock().tokens.insert(hash, (user.to_owned(), device.to_owned()));
        token
    }
}

impl Replica {
    /// Syncs on the device `D` of the user.
    pub(super) async fn sync(&self, world: &World, user: &str, query: &[(&str, &str)]) -> Value {
        let (status, body) = self.try_sync(&world.login(user, "D"), query).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(super) async fn try_sync(&self, token: &str, query: &[(&str, &str)]) -> (u16, Value) {
        self.get("sync", token, query).await
    }

    /// `GET /_matrix/client/v3/…`
    pub(super) async fn get(&self, path: &str, token: &str, query: &[(&str, &str)]) -> (u16, Value) {
        let query = query.iter().map(|(key, value)| format!("{key}={}", encode(value)));
        let uri = format!("/_matrix/client/v3/{path}?{}", query.collect::<Vec<_>>().join("&"));
        let request = Request::get(uri).header("authorization", format!("Bearer {token}"));
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Asks for sliding sync by the dialect of clients in use.
    pub(super) async fn sliding(&self, token: &str, query: &[(&str, &str)], body: &Value) -> (u16, Value) {
        self.post("unstable/org.matrix.simplified_msc3575/sync", token, query, body).await
    }

    /// `POST /_matrix/client/…`
    pub(super) async fn post(
        &self,
        path: &str,
        token: &str,
        query: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Value) {
        let query = query.iter().map(|(key, value)| format!("{key}={}", encode(value)));
        let uri = format!("/_matrix/client/{path}?{}", query.collect::<Vec<_>>().join("&"));
        let request = Request::post(uri).header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Waits until a request of the user waits for news, or is about to: it does not miss any from here on.
    pub(super) async fn waits(&self, user: &str) {
        let user = ruma::UserId::parse(user).unwrap();
        let waits = async {
            while self.service.view.find_user(&user).is_none_or(|user| user.waiting() == 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waits).await.expect("a request waits");
    }

    /// Waits until the replica has read all that was committed.
    pub(super) async fn settle(&self, world: &World) {
        let mut target = self.service.positions.cut(1);
        for (partition, seq) in &world.facts.lock().room_seqs {
            target.rooms[*partition as usize] = *seq;
        }
        for (partition, seq) in &world.facts.lock().user_seqs {
            target.users[*partition as usize] = *seq;
        }
        assert!(self.service.positions.reach(&target, Duration::from_secs(10)).await, "it reads everything");
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// `next_batch`.
pub(super) fn token(answer: &Value) -> String {
    answer["next_batch"].as_str().expect("an answer has a token").to_owned()
}

/// Event IDs of a list of events.
pub(super) fn ids(events: &Value) -> Vec<&str> {
    events["events"].as_array().into_iter().flatten().filter_map(|event| event["event_id"].as_str()).collect()
}

/// Types and state keys of a list of events, sorted.
pub(super) fn keys(events: &Value) -> Vec<String> {
    let key = |event: &Value| {
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        format!("{}|{}", text("type"), text("state_key"))
    };
    let mut keys: Vec<String> = events["events"].as_array().into_iter().flatten().map(key).collect();
    keys.sort();
    keys
}
