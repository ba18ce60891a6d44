//! Events of other servers, by way of the log and the database.

use std::collections::BTreeMap;

use bytes::Bytes;
use plexus_events::{Draft, RoomRules, SigningKey, canonical, create::unsigned_create_event, hash, signing};
use plexus_log::{InputRoomBulk, partition_of};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{InputLog, verdict::Outcome},
    log::v1::{
        InputRoomEvent, Pdu, PduBatch, SnapshotChunk, StateBefore, input_room_event::Body, output_room_event,
        pdu::Kind,
    },
    room::v1::{
        CheckVisibilityRequest, Direction, FindEventByTimeRequest, GetAggregationsRequest,
        GetBackfillRequest, GetForwardExtremitiesRequest, GetMissingEventsRequest, ListJoinedServersRequest,
        ListRelationsRequest, ListThreadsRequest, ListTimelineRequest, StreamStateAtRequest,
        StreamStateDeltaRequest, check_visibility_request::Reader,
        room_graph_service_client::RoomGraphServiceClient,
        room_history_service_client::RoomHistoryServiceClient,
        room_query_service_client::RoomQueryServiceClient,
        room_stream_service_client::RoomStreamServiceClient,
    },
};
use ruma::{OwnedEventId, RoomId, RoomVersionId, UserId};
use serde_json::{Value, json};

use super::fixture::{ALICE, Server, World, Written, intent, message, public_room, room_record};

pub(super) const BOB: &str = "@bob:b.example";
const TS: i64 = 1_700_000_000_000;

/// A room as another server sees it: what is needed to build events.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) room: String,
    version: &'static str,
    state: BTreeMap<(String, String), String>,
    latest: String,
    depth: i64,
}

impl Remote {
    pub(super) fn build(
        &mut self,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> (String, Bytes) {
        let rules = RoomRules::of(self.version).expect("served");
        let room_id = RoomId::parse(&self.room).expect("a room ID");
        let user = <&UserId>::try_from(sender).expect("a user ID");
        let mut wanted = vec![("m.room.power_levels", ""), ("m.room.member", sender)];
        if event_type == "m.room.member" && content["membership"] != "leave" {
            wanted.push(("m.room.join_rules", ""));
        }
        if !rules.room_id_is_create_hash() {
            wanted.push(("m.room.create", ""));
        }
        let id = |id: &String| OwnedEventId::try_from(id.as_str()).expect("an event ID");
        let auth =
            wanted.into_iter().filter_map(|(t, k)| self.state.get(&(t.to_owned(), k.to_owned())).map(id));
        let auth: Vec<_> = auth.collect();
        let prev: Vec<_> = [id(&self.latest)].into();
        self.depth += 1;
        let draft = Draft {
            room_id: Some(&room_id),
            sender: user,
            event_type,
            state_key,
            content: canonical::parse_object(content.to_string().as_bytes()).expect("canonical"),
            redacts: None,
            prev_events: &prev,
            auth_events: &auth,
            depth: self.depth,
            origin_server_ts: TS + self.depth,
        };
        let built =
            draft.hash(rules).and_then(|hashed| hashed.sign(user.server_name(), &key())).expect("builds");
        let id = built.event_id.to_string();
        if let Some(state_key) = state_key {
            self.state.insert((event_type.to_owned(), state_key.to_owned()), id.clone());
        }
        self.latest.clone_from(&id);
        (id, built.json.into())
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed("a_test", &[9; 32]).expect("a key")
}

pub(super) fn record(room: &str, json: &Bytes) -> InputRoomEvent {
    let pdu =
        Pdu { kind: Kind::New.into(), json: json.clone(), origin: "b.example".to_owned(), ..Pdu::default() };
    room_record(room, Body::Pdu(pdu))
}

/// A room of Alice as it was put out.
pub(super) async fn remote_of(world: &World, room: &str, to: u64) -> Remote {
    let mut remote = Remote {
        room: room.to_owned(),
        version: "12",
        state: BTreeMap::new(),
        latest: String::new(),
        depth: 0,
    };
    for record in world.output_room(partition_of(room), to).await {
        if record.room_id != room {
            continue;
        }
        let Some(output_room_event::Body::NewEvent(event)) = record.body else { continue };
        let value: Value = serde_json::from_slice(&event.json).expect("JSON");
        if let (Some(event_type), Some(state_key)) = (value["type"].as_str(), value["state_key"].as_str()) {
            remote.state.insert((event_type.to_owned(), state_key.to_owned()), event.event_id.clone());
        }
        remote.latest = event.event_id;
        remote.depth = i64::try_from(event.depth).expect("small");
    }
    remote
}

#[tokio::test]
async fn parked_events_survive_a_restart_and_go_on() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("parked");
    let created = server.accepted(&world.write_room(&create).await).await;
    let mut remote = remote_of(&world, &room, created.seq).await;
    let (_, join) = remote.build(BOB, "m.room.member", Some(BOB), json!({"membership": "join"}));
    let (_, first) = remote.build(BOB, "m.room.message", None, json!({"body": "one"}));
    let (last_id, last) = remote.build(BOB, "m.room.message", None, json!({"body": "two"}));
    for json in [&last, &first] {
        let verdict = server.verdict(&world.write_room(&record(&room, json)).await).await.expect("an answer");
        assert!(matches!(verdict.outcome, Some(Outcome::Parked(_))), "{verdict:?}");
    }
    assert_eq!(world.number("SELECT count(*) FROM parked").await, 2);
    server.stop().await;
    let server = world.start().await;
    server.accepted(&world.write_room(&record(&room, &join)).await).await;
    assert_eq!(world.number("SELECT count(*) FROM parked").await, 0);
    assert_eq!(world.number("SELECT count(*) FROM parked_on").await, 0);
    assert_eq!(world.number("SELECT parked::bigint FROM rooms").await, 0);
    let front =
        GetForwardExtremitiesRequest { room_id: room.clone(), ..GetForwardExtremitiesRequest::default() };
    let front = graph(&server).get_forward_extremities(front).await.expect("answers").into_inner();
    assert_eq!(
        front.forward_extremities.iter().map(|event| event.event_id.clone()).collect::<Vec<_>>(),
        std::slice::from_ref(&last_id)
    );
    // The same event again, as another input.
    let again = server.accepted(&world.write_room(&record(&room, &last)).await).await;
    assert!(again.duplicate);
    assert_eq!(again.event_id, last_id);
    // Ours follows on it.
    let ours = server.accepted(&world.write_room(&message(&room, ALICE, "three")).await).await;
    let output = world.output_room(partition_of(&room), ours.seq).await;
    let fetches =
        output.iter().filter(|record| matches!(record.body, Some(output_room_event::Body::Fetch(_))));
    assert_eq!(fetches.count(), 2);
    for pair in output.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq + 1);
    }
    // What lies between is told, as is what came before.
    let missing = GetMissingEventsRequest {
        room_id: room.clone(),
        earliest: front.forward_extremities.iter().map(|event| event.event_id.clone()).collect(),
        latest: vec![ours.event_id.clone()],
        limit: 10,
        ..GetMissingEventsRequest::default()
    };
    let missing = graph(&server).get_missing_events(missing).await.expect("answers").into_inner();
    assert!(missing.events.is_empty());
    let backfill = GetBackfillRequest {
        room_id: room.clone(),
        from: vec![ours.event_id.clone()],
        limit: 4,
        server: "b.example".to_owned(),
    };
    let backfill = graph(&server).get_backfill(backfill).await.expect("answers").into_inner();
    let ids: Vec<_> = backfill.events.iter().map(|event| event.event_id.clone()).collect();
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[..2], [ours.event_id, last_id]);
    server.stop().await;
}

#[tokio::test]
async fn forks_are_stored_and_told() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("forks");
    let created = server.accepted(&world.write_room(&create).await).await;
    let mut remote = remote_of(&world, &room, created.seq).await;
    let (_, join) = remote.build(BOB, "m.room.member", Some(BOB), json!({"membership": "join"}));
    server.accepted(&world.write_room(&record(&room, &join)).await).await;
    // Alice goes on, and Bob has not seen it.
    for n in 0..3 {
        server.accepted(&world.write_room(&message(&room, ALICE, &n.to_string())).await).await;
    }
    let pdus: Vec<Pdu> = (0..3)
        .map(|n| {
            let (_, json) = remote.build(BOB, "m.room.message", None, json!({"body": n}));
            Pdu { kind: Kind::New.into(), json, ..Pdu::default() }
        })
        .collect();
    let batch = world.write_room(&room_record(&room, Body::Pdus(PduBatch { pdus }))).await;
    let results = server.accepted(&batch).await.results;
    assert_eq!(results.len(), 3);
    let is_accepted = |verdict: &Option<plexus_proto::input::v1::Verdict>| {
        matches!(verdict.as_ref().and_then(|verdict| verdict.outcome.as_ref()), Some(Outcome::Accepted(_)))
    };
    assert!(results.iter().all(|result| is_accepted(&result.verdict)));
    assert_eq!(world.number("SELECT cardinality(latest_nids)::bigint FROM rooms").await, 2);
    assert_eq!(world.number("SELECT count(*) FROM rooms WHERE forked").await, 1);
    assert_eq!(world.number("SELECT count(*) FROM room_states").await, 3);
    let healed = server.accepted(&world.write_room(&message(&room, ALICE, "healed")).await).await;
    assert_eq!(world.number("SELECT cardinality(latest_nids)::bigint FROM rooms").await, 1);
    // Nothing that Bob sent may be seen by somebody who never was in the room.
    let seen = CheckVisibilityRequest {
        room_id: room.clone(),
        event_ids: vec![healed.event_id.clone()],
        reader: Some(Reader::UserId("@carol:example.org".to_owned())),
    };
    let seen = graph(&server).check_visibility(seen).await.expect("answers").into_inner();
    assert!(!seen.events[0].visible);
    let seen = CheckVisibilityRequest {
        room_id: room.clone(),
        event_ids: vec![healed.event_id],
        reader: Some(Reader::UserId(ALICE.to_owned())),
    };
    let seen = graph(&server).check_visibility(seen).await.expect("answers").into_inner();
    assert!(seen.events[0].visible);
    assert_eq!(seen.events[0].membership, "join");
    server.stop().await;
}

/// A room of another server with many members.
pub(super) fn far_room(members: usize) -> (Remote, Vec<Bytes>) {
    let creator = "@creator:b.example";
    let user = <&UserId>::try_from(creator).expect("a user ID");
    let content = json!({"org.example.salt": "far"}).as_object().expect("an object").clone();
    let (room, create) = unsigned_create_event(&RoomVersionId::V12, user, None, content, TS).expect("builds");
    let rules = RoomRules::of("12").expect("served");
    let mut create = canonical::parse_object(&create).expect("JSON");
    signing::sign_event(&mut create, user.server_name(), &key(), rules).expect("signs");
    let id = hash::event_id(&create, rules).expect("hashes").to_string();
    let mut events = vec![Bytes::from(canonical::object_to_vec(&create))];
    let mut remote = Remote {
        room: room.to_string(),
        version: "12",
        state: BTreeMap::from([(("m.room.create".to_owned(), String::new()), id.clone())]),
        latest: id,
        depth: 1,
    };
    events.push(remote.build(creator, "m.room.member", Some(creator), json!({"membership": "join"})).1);
    events.push(remote.build(creator, "m.room.power_levels", Some(""), json!({})).1);
    events.push(remote.build(creator, "m.room.join_rules", Some(""), json!({"join_rule": "public"})).1);
    for n in 0..members {
        let user = format!("@user{n}:b.example");
        events.push(remote.build(&user, "m.room.member", Some(&user), json!({"membership": "join"})).1);
    }
    (remote, events)
}

pub(super) async fn write_bulk(world: &World, record: &InputRoomEvent) -> Written {
    let (partition, offset) = world.log.append::<InputRoomBulk>(record).await.expect("log takes records");
    Written { log: InputLog::RoomBulk, partition, offset, input_id: record.input_id.clone() }
}

#[tokio::test]
async fn room_of_another_server_is_joined_through_the_bulk_lane() {
    let world = World::new().await;
    let server = world.start().await;
    let (mut remote, events) = far_room(400);
    let room = remote.room.clone();
    let ids: Vec<String> = events.iter().map(id_of).collect();
    let state = remote.state.len();
    let (_, join) = remote.build(ALICE, "m.room.member", Some(ALICE), json!({"membership": "join"}));
    let token = Bytes::from(vec![3; 16]);
    let mut join = record(&room, &join);
    if let Some(Body::Pdu(pdu)) = &mut join.body {
        pdu.state_before = Some(StateBefore {
            snapshot_token: token.clone(),
            chunks: 5,
            events: u32::try_from(state).expect("small"),
        });
    }
    // Before its state has arrived, there is no such room.
    let early = server.rejected(&world.write_room(&join).await).await;
    assert_eq!(early.reason(), ErrorReason::RoomUnknown);
    for (index, (pdus, ids)) in events.chunks(100).zip(ids.chunks(100)).enumerate() {
        let chunk = SnapshotChunk {
            token: token.clone(),
            index: u32::try_from(index).expect("small"),
            room_version: "12".to_owned(),
            origin: "b.example".to_owned(),
            pdus: pdus.to_vec(),
            state_event_ids: ids.to_vec(),
            last: index == 4,
        };
        let record = room_record(&room, Body::Snapshot(chunk));
        let written = write_bulk(&world, &record).await;
        server.accepted(&written).await;
        // A repeat changes nothing.
        assert!(server.accepted(&write_bulk(&world, &record).await).await.duplicate);
    }
    assert_eq!(world.number("SELECT cardinality(latest_nids)::bigint FROM rooms").await, 0);
    let unseen = server.rejected(&world.write_room(&message(&room, ALICE, "too early")).await).await;
    assert_eq!(unseen.reason(), ErrorReason::RoomUnknown);
    join.input_id = super::fixture::input_id();
    let joined = server.accepted(&world.write_room(&join).await).await;
    assert_eq!(world.number("SELECT joined_members::bigint FROM rooms").await, 402);
    assert_eq!(world.number("SELECT count(*) FROM current_members WHERE membership = 'join'").await, 402);
    assert_eq!(world.number("SELECT count(*) FROM snapshot_chunks").await, 0);
    assert_eq!(world.number("SELECT count(*) FROM backward_refs").await, 1);
    server.accepted(&world.write_room(&message(&room, ALICE, "hello")).await).await;
    let servers = ListJoinedServersRequest { room_id: room.clone(), ..ListJoinedServersRequest::default() };
    let servers = graph(&server).list_joined_servers(servers).await.expect("answers").into_inner().servers;
    let servers: Vec<_> = servers.iter().map(|server| (server.name.as_str(), server.members)).collect();
    assert_eq!(servers, [("b.example", 401), ("example.org", 1)]);
    assert_eq!(world.number(super::servers::ASTRAY).await, 0);
    let state_at = StreamStateAtRequest {
        room_id: room.clone(),
        event_id: joined.event_id,
        ids_only: true,
        ..StreamStateAtRequest::default()
    };
    let mut stream = graph(&server).stream_state_at(state_at).await.expect("answers").into_inner();
    let (mut told, mut chain) = (0, 0);
    while let Some(chunk) = stream.message().await.expect("a chunk") {
        told += chunk.state.len();
        chain += chunk.auth_chain.len();
    }
    assert_eq!(told, state);
    assert!(chain >= 3);
    // What lies before the join could not be had, and whoever let us in has handed it on.
    assert_eq!(handed_on(&world, &room, joined.seq).await.first(), Some(&(false, true)));
    server.stop().await;
}

/// What the events of a room say, as they were put out: whether this server hands them on, whether some lack before them.
async fn handed_on(world: &World, room: &str, to: u64) -> Vec<(bool, bool)> {
    let records = world.output_room(partition_of(room), to).await.into_iter();
    let bodies = records.filter(|record| record.room_id == room).filter_map(|record| record.body);
    let told = bodies.filter_map(|body| match body {
        output_room_event::Body::NewEvent(event) => Some((event.relay, event.gap_before)),
        _ => None,
    });
    told.collect()
}

/// What is made here is handed on, and so is what others ask a resident to take; what they send is not.
#[tokio::test]
async fn events_tell_whether_they_are_handed_on() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("handed on");
    let created = server.accepted(&world.write_room(&create).await).await;
    let mut remote = remote_of(&world, &room, created.seq).await;
    let (_, join) = remote.build(BOB, "m.room.member", Some(BOB), json!({"membership": "join"}));
    let mut taken = record(&room, &join);
    if let Some(Body::Pdu(pdu)) = &mut taken.body {
        pdu.relay = true;
    }
    server.accepted(&world.write_room(&taken).await).await;
    let (_, sent) = remote.build(BOB, "m.room.message", None, json!({"body": "hello"}));
    server.accepted(&world.write_room(&record(&room, &sent)).await).await;
    let last = server.accepted(&world.write_room(&message(&room, ALICE, "hello")).await).await;
    let told = handed_on(&world, &room, last.seq).await;
    let (made, others) = told.split_at(told.len() - 3);
    assert!(made.iter().all(|told| *told == (true, false)), "{made:?}");
    assert_eq!(others, [(true, false), (false, false), (true, false)]);
    let stored = world.number("SELECT count(*) FROM events WHERE flags & 32 <> 0").await;
    assert_eq!(usize::try_from(stored), Ok(told.len() - 1));
    assert_eq!(world.number("SELECT count(*) FROM events WHERE flags & 64 <> 0").await, 0);
    server.stop().await;
}

pub(super) fn id_of(json: &Bytes) -> String {
    let object = canonical::parse_object(json).expect("JSON");
    hash::event_id(&object, RoomRules::of("12").expect("served")).expect("hashes").to_string()
}

/// Sends a state ahead, in chunks of 200 events.
async fn tell_state(
    world: &World,
    server: &Server,
    remote: &Remote,
    token: u8,
    pdus: &[Bytes],
) -> StateBefore {
    let token = Bytes::from(vec![token; 16]);
    let mut pdus = pdus.chunks(200);
    let ids: Vec<String> = remote.state.values().cloned().collect();
    // What is known already is not sent again; entries follow when all events are there.
    let mut index = 0;
    loop {
        let events = pdus.next();
        let last = events.is_none();
        let chunk = SnapshotChunk {
            token: token.clone(),
            index,
            room_version: "12".to_owned(),
            origin: "b.example".to_owned(),
            pdus: events.unwrap_or_default().to_vec(),
            state_event_ids: if last { ids.clone() } else { Vec::new() },
            ..SnapshotChunk::default()
        };
        index += 1;
        server.accepted(&write_bulk(world, &room_record(&remote.room, Body::Snapshot(chunk))).await).await;
        if last {
            let events = u32::try_from(ids.len()).expect("small");
            return StateBefore { snapshot_token: token, chunks: index, events };
        }
    }
}

fn with_state(json: &Bytes, kind: Kind, state_before: Option<StateBefore>) -> Pdu {
    Pdu {
        kind: kind.into(),
        json: json.clone(),
        origin: "b.example".to_owned(),
        state_before,
        ..Pdu::default()
    }
}

/// Asks for pages from the first to the last: each is told where to start, and tells where to go on.
async fn paged<T>(ask: impl AsyncFn(Option<i64>) -> (Vec<T>, Option<i64>)) -> Vec<T> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let (page, next) = ask(from).await;
        all.extend(page);
        if next.is_none() {
            return all;
        }
        from = next;
    }
}

/// The timeline, two events at a time.
async fn timeline(server: &Server, room: &str, direction: Direction) -> Vec<(i64, String)> {
    paged(async |from| {
        let request = ListTimelineRequest {
            room_id: room.to_owned(),
            viewer: ALICE.to_owned(),
            direction: direction.into(),
            from,
            limit: 2,
            ..ListTimelineRequest::default()
        };
        let page = RoomQueryServiceClient::new(server.channel.clone()).list_timeline(request).await;
        let page = page.expect("answers").into_inner();
        let events = page.events.into_iter().map(|event| (event.position, event.event_id));
        (events.collect(), page.next)
    })
    .await
}

/// What was fetched from before the join is paged through like the rest, in the order of the event graph.
#[tokio::test]
async fn history_from_before_the_join_is_paged() {
    const CREATOR: &str = "@creator:b.example";
    let world = World::new().await;
    let server = world.start().await;
    let (mut remote, events) = far_room(3);
    let room = remote.room.clone();
    let before = remote.clone();
    let mut old = vec![remote.build(CREATOR, "m.room.message", None, json!({"body": "a thread begins"}))];
    let root = old[0].0.clone();
    let reply = related("m.thread", &root);
    old.extend((1..6).map(|_| remote.build(CREATOR, "m.room.message", None, reply.clone())));
    let told = tell_state(&world, &server, &remote, 1, &events).await;
    let (_, join) = remote.build(ALICE, "m.room.member", Some(ALICE), json!({"membership": "join"}));
    let join = with_state(&join, Kind::New, Some(told));
    let joined = server.accepted(&world.write_room(&room_record(&room, Body::Pdu(join))).await).await;
    let hello = server.accepted(&world.write_room(&message(&room, ALICE, "hello")).await).await;
    // What a room is was told with its state.
    let facts = "SELECT count(*) FROM current_facts f JOIN events e USING (event_nid) WHERE f.type = e.type";
    assert_eq!(world.number(facts).await, 2);

    // Each batch begins with an event whose state is told; the later batch holds what is older.
    for (n, events) in [&old[3..], &old[..3]].into_iter().enumerate() {
        let token = u8::try_from(n + 2).expect("small");
        let mut told = Some(tell_state(&world, &server, &before, token, &[]).await);
        let pdus = events.iter().map(|(_, json)| with_state(json, Kind::Old, told.take())).collect();
        let batch = write_bulk(&world, &room_record(&room, Body::Pdus(PduBatch { pdus }))).await;
        for result in server.accepted(&batch).await.results {
            let verdict = result.verdict.and_then(|verdict| verdict.outcome);
            assert!(matches!(verdict, Some(Outcome::Accepted(_))), "{verdict:?}");
        }
    }
    let mut expected: Vec<(i64, String)> =
        old.iter().map(|(id, _)| id.clone()).zip(-6..).map(|(id, n)| (n, id)).collect();
    let mut replies: Vec<String> = old[1..].iter().map(|(id, _)| id.clone()).collect();
    expected.push((joined.seq.cast_signed(), joined.event_id));
    expected.push((hello.seq.cast_signed(), hello.event_id.clone()));
    assert_eq!(timeline(&server, &room, Direction::Forward).await, expected);
    expected.reverse();
    assert_eq!(timeline(&server, &room, Direction::Backward).await, expected);

    // Relations are paged likewise, and a thread whose replies all lie there is listed where the latest of them is.
    let mut history = RoomHistoryServiceClient::new(server.channel.clone());
    assert_eq!(threads(&server, &room).await, [(root.clone(), replies[4].clone(), 5)]);
    let second = intent(ALICE, "m.room.message", None, related("m.thread", &hello.event_id));
    let second = room_record(&room, Body::Intent(second));
    let second = server.accepted(&world.write_room(&second).await).await.event_id;
    assert_eq!(
        threads(&server, &room).await,
        [(hello.event_id, second, 1), (root.clone(), replies[4].clone(), 5)]
    );
    assert_eq!(relations(&server, &room, &root, Direction::Forward).await, replies);
    let last = room_record(&room, Body::Intent(intent(ALICE, "m.room.message", None, reply)));
    replies.push(server.accepted(&world.write_room(&last).await).await.event_id);
    assert_eq!(threads(&server, &room).await[0], (root.clone(), replies[5].clone(), 6));
    replies.reverse();
    assert_eq!(relations(&server, &room, &root, Direction::Backward).await, replies);
    let oldest = FindEventByTimeRequest {
        room_id: room.clone(),
        viewer: ALICE.to_owned(),
        ts: serde_json::from_slice::<Value>(&old[0].1).expect("JSON")["origin_server_ts"]
            .as_i64()
            .expect("a time"),
        direction: Direction::Forward.into(),
    };
    let found = history.find_event_by_time(oldest).await.expect("answers").into_inner();
    assert_eq!(found.event_id, root);
    server.stop().await;
}

pub(super) fn related(rel_type: &str, event_id: &str) -> Value {
    json!({"body": "related", "m.relates_to": {"rel_type": rel_type, "event_id": event_id}})
}

/// What relates to an event, two at a time.
async fn relations(server: &Server, room: &str, event_id: &str, direction: Direction) -> Vec<String> {
    paged(async |from| {
        let request = ListRelationsRequest {
            room_id: room.to_owned(),
            viewer: ALICE.to_owned(),
            event_id: event_id.to_owned(),
            direction: direction.into(),
            from,
            limit: 2,
            ..ListRelationsRequest::default()
        };
        let page = RoomHistoryServiceClient::new(server.channel.clone()).list_relations(request).await;
        let page = page.expect("answers").into_inner();
        (page.events.into_iter().map(|event| event.event_id).collect(), page.next)
    })
    .await
}

/// Roots of threads, one at a time, each with the latest reply and their count.
async fn threads(server: &Server, room: &str) -> Vec<(String, String, u64)> {
    paged(async |from| {
        let mut history = RoomHistoryServiceClient::new(server.channel.clone());
        let mut told = Vec::new();
        let request = ListThreadsRequest {
            room_id: room.to_owned(),
            viewer: ALICE.to_owned(),
            from,
            limit: 1,
            ..ListThreadsRequest::default()
        };
        let page = history.list_threads(request).await.expect("answers").into_inner();
        for root in page.roots {
            let asked = GetAggregationsRequest {
                room_id: room.to_owned(),
                viewer: ALICE.to_owned(),
                event_ids: vec![root.event_id.clone()],
                ..GetAggregationsRequest::default()
            };
            let found = history.get_aggregations(asked).await.expect("answers").into_inner().aggregations;
            let thread = found[0].thread.clone().expect("a thread");
            told.push((root.event_id, thread.latest.expect("a reply").event_id, thread.count));
        }
        (told, page.next)
    })
    .await
}

/// A room that everybody here has left is joined again, and much has changed meanwhile.
#[tokio::test]
async fn large_change_of_state_is_kept_and_told() {
    const CREATOR: &str = "@creator:b.example";
    let world = World::new().await;
    let server = world.start().await;
    let (mut remote, events) = far_room(3);
    let room = remote.room.clone();
    let told = tell_state(&world, &server, &remote, 1, &events).await;
    let (_, join) = remote.build(ALICE, "m.room.member", Some(ALICE), json!({"membership": "join"}));
    let join = with_state(&join, Kind::New, Some(told));
    server.accepted(&world.write_room(&room_record(&room, Body::Pdu(join))).await).await;
    let (_, leave) = remote.build(ALICE, "m.room.member", Some(ALICE), json!({"membership": "leave"}));
    let left = server.accepted(&world.write_room(&record(&room, &leave)).await).await;

    let mut pdus = vec![leave];
    pdus.push(remote.build(CREATOR, "m.room.topic", Some(""), json!({"topic": "much has changed"})).1);
    for n in 0..1_200 {
        let user = format!("@late{n}:b.example");
        pdus.push(remote.build(&user, "m.room.member", Some(&user), json!({"membership": "join"})).1);
    }
    let told = tell_state(&world, &server, &remote, 2, &pdus).await;
    let (id, join) = remote.build(ALICE, "m.room.member", Some(ALICE), json!({"membership": "join"}));
    let join = with_state(&join, Kind::New, Some(told));
    let joined = server.accepted(&world.write_room(&room_record(&room, Body::Pdu(join))).await).await;
    assert_eq!(joined.event_id, id);
    let topics = "SELECT count(*) FROM current_facts WHERE type = 'm.room.topic'";
    assert_eq!(world.number(topics).await, 1);

    let mut client = RoomStreamServiceClient::new(server.channel.clone());
    let request = StreamStateDeltaRequest { room_id: room.clone(), from_seq: left.seq, to_seq: joined.seq };
    let mut chunks = client.stream_state_delta(request).await.expect("answers").into_inner();
    let mut changed = Vec::new();
    while let Some(chunk) = chunks.message().await.expect("a chunk") {
        changed.extend(chunk.changed.into_iter().map(|event| event.event_id));
        assert!(chunk.removed.is_empty());
    }
    assert_eq!(changed.len(), 1_202);
    assert!(changed.contains(&id) && pdus[1..].iter().all(|json| changed.contains(&id_of(json))));
    server.stop().await;
}

pub(super) fn graph(server: &Server) -> RoomGraphServiceClient<plexus_service::RpcChannel> {
    RoomGraphServiceClient::new(server.channel.clone())
}
