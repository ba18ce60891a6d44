//! A database, the services on it, and rooms whose every state is remembered.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, SmallInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        room_graph_service_client::RoomGraphServiceClient,
        room_history_service_client::RoomHistoryServiceClient,
        room_query_service_client::RoomQueryServiceClient,
        room_summary_service_client::RoomSummaryServiceClient,
    },
    user::v1::{
        credential_service_client::CredentialServiceClient, user_query_service_client::UserQueryServiceClient,
    },
};
use plexus_service::{RpcChannel, config::PostgresConfig, refusal::reason_of};
use plexus_sessions::SessionCache;
use serde_json::{Value, json};

use crate::{
    app::App,
    rooms::{Counters, EventNid, Key, NewNodes, Node, NodeNid, Trie, value_of},
    rpc,
    store::{self, reads::state::NodeCache},
    users::words_of,
    visibility::{HistoryVisibility, Membership},
    worker::VerdictBoard,
};

pub(super) struct Fixture {
    pub(super) app: App,
    pub(super) conn: AsyncPgConnection,
    pub(super) channel: RpcChannel,
    rooms: i64,
}

impl Fixture {
    /// Makes a database of its own from `PGHOST` and `PGUSER`.
    pub(super) async fn start() -> Self {
        let host = std::env::var("PGHOST").expect("PGHOST names the test database's host or socket folder");
        let user = std::env::var("PGUSER").unwrap_or_else(|_| "postgres".to_owned());
        let url = |database: &str| format!("host={host} user={user} dbname={database}");
        let name = format!("queries_{}", uuid::Uuid::now_v7().simple());
        let mut admin = store::pool::connect(&url("postgres")).await.expect("Postgres runs");
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("database is made");
        let url = url(&name);
        store::migrate::run(&url).await.expect("migrations run");
        let config = PostgresConfig {
            url: url.clone(),
            max_connections: 4,
            search_waiting: 2,
            search_timeout_ms: 8_000,
            ..PostgresConfig::default()
        };
        let pools = store::pool::open(&config).expect("pools open");
        let app = App {
            config: Arc::new(
                serde_json::from_value(json!({"server": {"name": "example.org"}}))
                    .expect("configuration holds"),
            ),
            log: plexus_log::memory::open(plexus_log::memory::MemoryConfig::default()),
            pool: pools.reads,
            login_pool: pools.login,
            search_pool: pools.search,
            verdicts: Arc::new(VerdictBoard::new("http://here".to_owned())),
            sessions: SessionCache::new(None),
            session_leases: Arc::default(),
            purged: Arc::default(),
            member_jobs: Arc::default(),
            nodes: NodeCache::default(),
        };
        let conn = store::pool::connect(&url).await.expect("Postgres runs");
        let channel = RpcChannel::in_process(rpc::routes(&app));
        Self { app, conn, channel, rooms: 0 }
    }

    pub(super) fn queries(&self) -> RoomQueryServiceClient<RpcChannel> {
        RoomQueryServiceClient::new(self.channel.clone())
    }

    pub(super) fn users(&self) -> UserQueryServiceClient<RpcChannel> {
        UserQueryServiceClient::new(self.channel.clone())
    }

    pub(super) fn credentials(&self) -> CredentialServiceClient<RpcChannel> {
        CredentialServiceClient::new(self.channel.clone())
    }

    pub(super) async fn sql(&mut self, sql: &str) {
        self.conn.batch_execute(sql).await.expect("SQL holds");
    }

    pub(super) fn history(&self) -> RoomHistoryServiceClient<RpcChannel> {
        RoomHistoryServiceClient::new(self.channel.clone())
    }

    pub(super) fn graph(&self) -> RoomGraphServiceClient<RpcChannel> {
        RoomGraphServiceClient::new(self.channel.clone())
    }

    pub(super) fn summaries(&self) -> RoomSummaryServiceClient<RpcChannel> {
        RoomSummaryServiceClient::new(self.channel.clone())
    }

    /// Makes an account with a display name.
    pub(super) async fn account(&mut self, user_id: &str, name: Option<&str>) {
        self.sql(&format!("INSERT INTO accounts (user_id, created_ts) VALUES ('{user_id}', 1)")).await;
        if let Some(name) = name {
            let value = Value::from(name).to_string();
            diesel::sql_query("INSERT INTO profiles (user_id, field, value) VALUES ($1, 'displayname', $2)")
                .bind::<Text, _>(user_id)
                .bind::<Binary, _>(value.into_bytes())
                .execute(&mut self.conn)
                .await
                .expect("profile is stored");
        }
        let words = words_of(user_id, name);
        let beginnings: Vec<String> = words.beginnings.into_iter().collect();
        diesel::sql_query(
            "WITH w AS (INSERT INTO user_directory_words SELECT word, $1 FROM unnest($4) AS w(word)) \
             INSERT INTO user_directory (user_id, display_name, words) VALUES ($1, $2, $3)",
        )
        .bind::<Text, _>(user_id)
        .bind::<Nullable<Text>, _>(name)
        .bind::<Text, _>(&words.text)
        .bind::<Array<Text>, _>(&beginnings)
        .execute(&mut self.conn)
        .await
        .expect("user is listed");
    }

    /// Makes a room by its create event, with some content.
    pub(super) async fn room_with(&mut self, creator: &str, create: Value) -> Room {
        self.make_room(creator, create).await
    }

    /// Makes a room by its create event.
    pub(super) async fn room(&mut self, creator: &str) -> Room {
        self.make_room(creator, json!({})).await
    }

    async fn make_room(&mut self, creator: &str, create: Value) -> Room {
        self.rooms += 1;
        let room_id = format!("!room{}:example.org", self.rooms);
        let partition = partition_of(&room_id);
        let mut counters = Counters::first(partition);
        counters.next_nid += self.rooms * 1_000_000;
        let nid = counters.room().0;
        let mut room = Room {
            room_id,
            nid,
            partition: i16::try_from(partition).expect("small"),
            counters,
            members: Trie::default(),
            others: Trie::default(),
            nodes: HashMap::new(),
            visibility: HistoryVisibility::Shared,
            state: BTreeMap::new(),
            log: Vec::new(),
            now: 1,
        };
        room.state(self, creator, "m.room.create", "", create).await;
        room
    }
}

/// What was sent, and everything that was so after it.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) event_id: String,
    pub(super) seq: u64,
    pub(super) event_type: String,
    pub(super) state_key: Option<String>,
    pub(super) visibility: HistoryVisibility,
    /// The state after it.
    pub(super) state: BTreeMap<(String, String), String>,
    /// Memberships after it.
    pub(super) memberships: HashMap<String, Membership>,
}

pub(super) struct Room {
    pub(super) room_id: String,
    nid: i64,
    partition: i16,
    counters: Counters,
    members: Trie,
    others: Trie,
    nodes: HashMap<NodeNid, Arc<Node>>,
    visibility: HistoryVisibility,
    state: BTreeMap<(String, String), (i64, String)>,
    pub(super) log: Vec<Sent>,
    /// `origin_server_ts` of the events to come.
    pub(super) now: i64,
}

impl Room {
    pub(super) fn last(&self) -> &Sent {
        self.log.last().expect("a room has events")
    }

    pub(super) async fn message(&mut self, fixture: &mut Fixture, sender: &str) -> String {
        self.send(fixture, sender, "m.room.message", None, json!({"body": "hello"})).await
    }

    pub(super) async fn member(&mut self, fixture: &mut Fixture, user: &str, membership: &str) -> String {
        self.state(fixture, user, "m.room.member", user, json!({"membership": membership})).await
    }

    pub(super) async fn state(
        &mut self,
        fixture: &mut Fixture,
        sender: &str,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> String {
        self.send(fixture, sender, event_type, Some(state_key), content).await
    }

    /// Lays down an event with everything that belongs to it. Leaves gaps between the `seq`s, as other rooms of the
    /// partition would.
    pub(super) async fn send(
        &mut self,
        fixture: &mut Fixture,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> String {
        let event = self.counters.event();
        self.counters.next_seq += event.0 % 3;
        let seq = self.counters.seq();
        let event_id = format!("$e{}", event.0);
        let mut visibility = self.visibility;
        let mut replaces = None;
        if let Some(state_key) = state_key {
            let slot = (event_type.to_owned(), state_key.to_owned());
            replaces = self.state.insert(slot, (event.0, event_id.clone())).map(|(nid, _)| nid);
            if event_type == "m.room.history_visibility" {
                self.visibility = match content["history_visibility"].as_str() {
                    Some("joined") => HistoryVisibility::Joined,
                    Some("invited") => HistoryVisibility::Invited,
                    Some("world_readable") => HistoryVisibility::WorldReadable,
                    _ => HistoryVisibility::Shared,
                };
                visibility = visibility.max(self.visibility);
            }
            self.put(fixture, event_type, state_key, event).await;
        }
        let json = json!({
            "type": event_type, "state_key": state_key, "sender": sender, "room_id": self.room_id, "content": content,
            "origin_server_ts": self.now,
        });
        let value = state_key.and_then(|_| value_of(event_type, json.to_string().as_bytes()));
        let column = match visibility {
            HistoryVisibility::Joined => 1_i16,
            HistoryVisibility::Invited => 2,
            HistoryVisibility::Shared => 3,
            HistoryVisibility::WorldReadable => 4,
        };
        diesel::sql_query(
            "WITH j AS (INSERT INTO event_json (event_nid, json) VALUES ($1, $2)) \
             INSERT INTO events (event_nid, room_nid, event_id, type, state_key, sender, depth, origin_server_ts, \
             received_ts, flags, visibility, auth_generation, auth_nids, prev_nids, members_root, other_root, \
             replaces_nid, seq, txn_device_id, txn_id, value) \
             VALUES ($1, $3, $4, $5, $6, $7, 1, $13, 1, 16, $8, 0, '{}', '{}', $9, $10, $11, $12, 'D', 'T', $14)",
        )
        .bind::<BigInt, _>(event.0)
        .bind::<Binary, _>(serde_json::to_vec(&json).expect("JSON"))
        .bind::<BigInt, _>(self.nid)
        .bind::<Text, _>(&event_id)
        .bind::<Text, _>(event_type)
        .bind::<Nullable<Text>, _>(state_key)
        .bind::<Text, _>(sender)
        .bind::<SmallInt, _>(column)
        .bind::<BigInt, _>(self.members.root_column())
        .bind::<BigInt, _>(self.others.root_column())
        .bind::<Nullable<BigInt>, _>(replaces)
        .bind::<BigInt, _>(seq)
        .bind::<BigInt, _>(self.now)
        .bind::<Nullable<Text>, _>(value.as_deref())
        .execute(&mut fixture.conn)
        .await
        .expect("event is stored");
        if let Some(state_key) = state_key {
            // More than the worker keeps there; readers ask for what they know.
            diesel::sql_query(
                "INSERT INTO room_facts VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (room_nid, snapshot, type, state_key) DO UPDATE SET event_nid = $4",
            )
            .bind::<BigInt, _>(self.nid)
            .bind::<Text, _>(event_type)
            .bind::<Text, _>(state_key)
            .bind::<BigInt, _>(event.0)
            .execute(&mut fixture.conn)
            .await
            .expect("fact is stored");
        }
        self.note_relation(fixture, event, &event_id, event_type, state_key, sender, &content, seq).await;
        let memberships = self.note_membership(fixture, event_type, state_key, &content, event, seq).await;
        self.update(fixture, event, seq, &memberships).await;
        let seq = u64::try_from(seq).expect("positive");
        self.log.push(Sent {
            event_id: event_id.clone(),
            seq,
            event_type: event_type.to_owned(),
            state_key: state_key.map(ToOwned::to_owned),
            visibility,
            state: self.state.iter().map(|(key, (_, id))| (key.clone(), id.clone())).collect(),
            memberships,
        });
        event_id
    }

    async fn put(&mut self, fixture: &mut Fixture, event_type: &str, state_key: &str, event: EventNid) {
        let trie = if event_type == "m.room.member" { &mut self.members } else { &mut self.others };
        let mut new = NewNodes::new(&mut self.counters);
        *trie =
            trie.set(Key::of(event_type, state_key), event, &self.nodes, &mut new).expect("all is loaded");
        for (nid, node) in new.nodes {
            diesel::sql_query("INSERT INTO state_node (room_nid, node_nid, body) VALUES ($1, $2, $3)")
                .bind::<BigInt, _>(self.nid)
                .bind::<BigInt, _>(nid.0)
                .bind::<Binary, _>(node.encode().to_vec())
                .execute(&mut fixture.conn)
                .await
                .expect("node is stored");
            self.nodes.insert(nid, node);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of a row")]
    async fn note_relation(
        &self,
        fixture: &mut Fixture,
        event: EventNid,
        event_id: &str,
        event_type: &str,
        state_key: Option<&str>,
        sender: &str,
        content: &Value,
        seq: i64,
    ) {
        let relation = &content["m.relates_to"];
        let (Some(target), Some(rel_type)) = (relation["event_id"].as_str(), relation["rel_type"].as_str())
        else {
            return;
        };
        let replaces = rel_type == "m.replace" && state_key.is_none() && content["m.new_content"].is_object();
        diesel::sql_query(
            "WITH t AS (INSERT INTO threads SELECT $2, $4, 1, $1, $9 WHERE $5 = 'm.thread' \
               ON CONFLICT (room_nid, root_id) DO UPDATE \
               SET replies = threads.replies + 1, latest_nid = $1, latest_seq = $9) \
             INSERT INTO event_relations VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind::<BigInt, _>(event.0)
        .bind::<BigInt, _>(self.nid)
        .bind::<Text, _>(event_id)
        .bind::<Text, _>(target)
        .bind::<Text, _>(rel_type)
        .bind::<Text, _>(event_type)
        .bind::<Text, _>(sender)
        .bind::<BigInt, _>(self.now)
        .bind::<BigInt, _>(seq)
        .bind::<diesel::sql_types::Bool, _>(replaces)
        .execute(&mut fixture.conn)
        .await
        .expect("relation is stored");
    }

    async fn note_membership(
        &self,
        fixture: &mut Fixture,
        event_type: &str,
        state_key: Option<&str>,
        content: &Value,
        event: EventNid,
        seq: i64,
    ) -> HashMap<String, Membership> {
        let mut memberships = self.log.last().map(|last| last.memberships.clone()).unwrap_or_default();
        if let (true, Some(user)) = (event_type == "m.room.member", state_key) {
            let membership = content["membership"].as_str().expect("a membership");
            memberships.insert(user.to_owned(), Membership::parse(membership));
            diesel::sql_query(
                "INSERT INTO room_members (room_nid, user_id, membership, event_nid, seq) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (room_nid, snapshot, user_id) DO UPDATE \
                 SET membership = $3, event_nid = $4, seq = $5, forgotten = false",
            )
            .bind::<BigInt, _>(self.nid)
            .bind::<Text, _>(user)
            .bind::<Text, _>(membership)
            .bind::<BigInt, _>(event.0)
            .bind::<BigInt, _>(seq)
            .execute(&mut fixture.conn)
            .await
            .expect("member is stored");
            fixture
                .sql(
                    "DELETE FROM room_servers; INSERT INTO room_servers (room_nid, snapshot, server, joined) \
                     SELECT room_nid, snapshot, substr(user_id, strpos(user_id, ':') + 1), count(*) \
                     FROM room_members WHERE membership = 'join' GROUP BY 1, 2, 3",
                )
                .await;
        }
        memberships
    }

    async fn update(
        &self,
        fixture: &mut Fixture,
        event: EventNid,
        seq: i64,
        memberships: &HashMap<String, Membership>,
    ) {
        let count =
            |wanted| i32::try_from(memberships.values().filter(|m| **m == wanted).count()).expect("small");
        diesel::sql_query(
            "WITH p AS (UPDATE partition_state SET next_room_seq = greatest(next_room_seq, $1 + 1) WHERE partition = $2) \
             INSERT INTO rooms (room_nid, room_id, partition, version, create_nid, latest_nids, members_root, \
             other_root, depth, last_seq, joined_members, invited_members) \
             VALUES ($3, $4, $2, '12', $5[1], $5, $6, $7, 1, $1, $8, $9) ON CONFLICT (room_nid) DO UPDATE \
             SET latest_nids = $5, members_root = $6, other_root = $7, last_seq = $1, joined_members = $8, \
             invited_members = $9",
        )
        .bind::<BigInt, _>(seq)
        .bind::<SmallInt, _>(self.partition)
        .bind::<BigInt, _>(self.nid)
        .bind::<Text, _>(&self.room_id)
        .bind::<Array<BigInt>, _>(vec![event.0])
        .bind::<BigInt, _>(self.members.root_column())
        .bind::<BigInt, _>(self.others.root_column())
        .bind::<Integer, _>(count(Membership::Join))
        .bind::<Integer, _>(count(Membership::Invite))
        .execute(&mut fixture.conn)
        .await
        .expect("room is stored");
    }
}

/// Why a call was refused.
pub(super) fn reason<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> ErrorReason {
    let status = result.expect_err("the call is refused");
    reason_of(&status).unwrap_or_else(|| panic!("the call failed rather than being refused: {status:?}"))
}

/// Numbers that look random and are the same every time.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}
