//! Tests the kept state of the sender to other servers.

use std::collections::BTreeSet;

use diesel_async::RunQueryDsl as _;
use futures::TryStreamExt as _;
use plexus_proto::{
    common::v1::ErrorReason,
    operator::v1::{
        ForgetDestinationRequest, GetDestinationRequest, ListDestinationsRequest, RetryDestinationRequest,
        destination_admin_service_client::DestinationAdminServiceClient,
    },
    room::v1::{
        BehindRoom, CaughtUpRoom, ClaimShardsRequest, ClaimShardsResponse, Destination, DestinationOrder,
        ListOutgoingRequest, ListServersBeforeRequest, SaveProgressRequest, SaveProgressResponse,
        ShardPositions, StreamRoomServersRequest, destination_order::Kind,
        destination_service_client::DestinationServiceClient,
    },
};
use plexus_service::RpcChannel;
use serde_json::json;

use super::fixture::{Dice, Fixture, Room, Sent, reason};
use crate::{rpc, visibility::Membership};

const ALICE: &str = "@alice:example.org";
const REMOTE: [&str; 4] = ["@bob:b.example", "@bea:b.example", "@carl:c.example", "@otto:other.b.example"];
const SERVERS: [&str; 5] = ["b.example", "c.example", "other.b.example", "nobody.example", "example"];

type Client = DestinationServiceClient<RpcChannel>;

fn client(fixture: &Fixture) -> Client {
    DestinationServiceClient::new(fixture.channel.clone())
}

fn server_of(user: &str) -> &str {
    user.split_once(':').expect("a user ID").1
}

/// Servers with joined users after an event.
fn servers(sent: Option<&Sent>) -> BTreeSet<String> {
    let joined = sent.into_iter().flat_map(|sent| &sent.memberships);
    let joined = joined.filter(|(_, membership)| **membership == Membership::Join);
    joined.map(|(user, _)| server_of(user).to_owned()).collect()
}

/// A room in which users of other servers come and go. Every event is one that this server hands on.
async fn history(fixture: &mut Fixture, seed: u64) -> (Room, Vec<String>) {
    let mut dice = Dice::new(seed);
    let mut room = fixture.room(ALICE).await;
    let mut senders = vec![ALICE.to_owned()];
    for turn in 0..50 {
        let user = REMOTE[dice.roll(REMOTE.len())];
        let sender = match dice.roll(4) {
            _ if turn == 0 => {
                room.member(fixture, ALICE, "join").await;
                ALICE
            }
            0 | 1 => {
                let membership = ["join", "join", "invite", "knock", "leave", "ban"][dice.roll(6)];
                // Leaves and bans are Alice's doing.
                let sender = if matches!(membership, "leave" | "ban") { ALICE } else { user };
                let content = json!({ "membership": membership });
                room.state(fixture, sender, "m.room.member", user, content).await;
                sender
            }
            2 => {
                room.message(fixture, user).await;
                user
            }
            _ => {
                room.message(fixture, ALICE).await;
                ALICE
            }
        };
        senders.push(sender.to_owned());
    }
    fixture.sql("UPDATE events SET flags = flags | 32").await;
    (room, senders)
}

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    number: i64,
}

/// Whether a server is to be sent an event: it was there, or the event ends what its user had; but not its own.
fn is_sent(before: Option<&Sent>, sent: &Sent, sender: &str, server: &str) -> bool {
    if server_of(sender) == server {
        return false;
    }
    let user = sent.state_key.as_deref().filter(|_| sent.event_type == "m.room.member");
    let ends = user.filter(|user| server_of(user) == server).is_some_and(|user| {
        let had_one = before.is_some_and(|before| before.memberships.contains_key(user));
        had_one && matches!(sent.memberships.get(user), Some(Membership::Leave | Membership::Ban))
    });
    ends || servers(before).contains(server)
}

#[tokio::test]
async fn servers_are_sent_what_came_while_they_were_there() {
    let mut fixture = Fixture::start().await;
    let mut client = client(&fixture);
    let mut told = 0;
    for seed in 0..6 {
        let (room, senders) = history(&mut fixture, seed).await;
        assert_eq!(senders.len(), room.log.len());
        for server in SERVERS {
            let mut found = Vec::new();
            let mut after_seq = 0;
            loop {
                let request = ListOutgoingRequest {
                    room_id: room.room_id.clone(),
                    server: server.to_owned(),
                    after_seq,
                    limit: 3,
                    ..ListOutgoingRequest::default()
                };
                let page = client.list_outgoing(request).await.expect("a page").into_inner();
                assert!(page.events.len() <= 3 && page.events.iter().all(|event| event.seq > after_seq));
                found.extend(page.events.into_iter().map(|event| event.event_id));
                after_seq = page.reached_seq;
                if !page.more {
                    break;
                }
            }
            let before = std::iter::once(None).chain(room.log.iter().map(Some));
            let events = before.zip(&room.log).zip(&senders);
            let expected: Vec<String> = events
                .filter(|((before, sent), sender)| is_sent(*before, sent, sender, server))
                .map(|((_, sent), _)| sent.event_id.clone())
                .collect();
            assert_eq!(found, expected, "{server}, seed {seed}");
            assert_eq!(after_seq, room.last().seq);
            told += found.len();
        }
    }
    assert!(told > 150, "{told} events: the histories prove little");
}

#[tokio::test]
async fn servers_of_a_room_are_told_as_of_any_record() {
    let mut fixture = Fixture::start().await;
    let mut client = client(&fixture);
    for seed in 10..14 {
        let (room, _) = history(&mut fixture, seed).await;
        let before = std::iter::once(None).chain(room.log.iter().map(Some));
        for (before, sent) in before.zip(&room.log) {
            let request = ListServersBeforeRequest { room_id: room.room_id.clone(), seq: sent.seq };
            let answer = client.list_servers_before(request).await.expect("servers").into_inner().servers;
            assert_eq!(answer, servers(before).into_iter().collect::<Vec<_>>(), "seed {seed}: {sent:?}");
        }
        let request = ListServersBeforeRequest { room_id: room.room_id.clone(), seq: u64::MAX };
        let now = client.list_servers_before(request).await.expect("servers").into_inner().servers;
        assert_eq!(now, servers(Some(room.last())).into_iter().collect::<Vec<_>>());

        let partition = plexus_log::partition_of(&room.room_id);
        let mut all = async |after_seq| {
            let request = StreamRoomServersRequest { partition, after_seq };
            let chunks = client.stream_room_servers(request).await.expect("rooms").into_inner();
            let chunks: Vec<_> = chunks.try_collect().await.expect("chunks");
            let mut rooms = chunks.into_iter().flat_map(|chunk| chunk.rooms);
            rooms.find(|found| found.room_id == room.room_id).map(|found| found.servers)
        };
        let others: Vec<String> = now.into_iter().filter(|server| server != "example.org").collect();
        assert_eq!(all(room.last().seq - 1).await.unwrap_or_default(), others);
        assert_eq!(all(room.last().seq).await, None);
    }
    let unknown = ListServersBeforeRequest { room_id: "!none:example.org".to_owned(), seq: 1 };
    assert_eq!(reason(client.list_servers_before(unknown).await), ErrorReason::RoomUnknown);
}

#[tokio::test]
async fn what_is_too_old_or_too_much_is_left_out() {
    let mut fixture = Fixture::start().await;
    let mut client = client(&fixture);
    let mut room = fixture.room(ALICE).await;
    room.member(&mut fixture, "@bob:b.example", "join").await;
    for _ in 0..10 {
        room.message(&mut fixture, ALICE).await;
    }
    fixture.sql("UPDATE events SET flags = flags | 32").await;
    let mut ask = async |max_backlog, min_ts| {
        let request = ListOutgoingRequest {
            room_id: room.room_id.clone(),
            server: "b.example".to_owned(),
            limit: 50,
            trim: true,
            max_backlog,
            min_ts,
            ..ListOutgoingRequest::default()
        };
        let page = client.list_outgoing(request).await.expect("a page").into_inner();
        page.events.into_iter().map(|event| event.event_id).collect::<Vec<_>>()
    };
    let ids: Vec<String> = room.log.iter().skip(2).map(|sent| sent.event_id.clone()).collect();
    assert_eq!(ask(5_000, 0).await, ids);
    assert_eq!(ask(3, 0).await, ids[7..]);
    // All were received at 1.
    assert_eq!(ask(5_000, 2).await, ids[9..]);
}

async fn claim(client: &mut Client, sender: u8, shards: &[u32]) -> ClaimShardsResponse {
    let request = ClaimShardsRequest { sender: vec![sender; 16].into(), shards: shards.to_vec() };
    let chunks = client.claim_shards(request).await.expect("a claim").into_inner();
    let chunks: Vec<ClaimShardsResponse> = chunks.try_collect().await.expect("chunks");
    let mut all = ClaimShardsResponse::default();
    for chunk in chunks {
        all.shards.extend(chunk.shards);
        for destination in chunk.destinations {
            match all.destinations.iter_mut().find(|known| known.server == destination.server) {
                Some(known) => known.rooms.extend(destination.rooms),
                None => all.destinations.push(destination),
            }
        }
    }
    all
}

fn behind(server: &str, shard: u32, rooms: &[(&str, u64)]) -> Destination {
    let room = |(room_id, after_seq): &(&str, u64)| BehindRoom {
        room_id: (*room_id).to_owned(),
        after_seq: *after_seq,
    };
    Destination {
        server: server.to_owned(),
        shard,
        failures: 2,
        first_failure_ts: 10,
        retry_ts: 20,
        error: "down".to_owned(),
        last_success_ts: 5,
        rooms: rooms.iter().map(room).collect(),
    }
}

fn progress(sender: u8, serial: u64, shards: &[u32]) -> SaveProgressRequest {
    SaveProgressRequest {
        sender: vec![sender; 16].into(),
        serial,
        shards: shards.to_vec(),
        order_shards: shards.to_vec(),
        ..SaveProgressRequest::default()
    }
}

#[tokio::test]
async fn progress_is_kept_for_whoever_claims_the_shard_next() {
    let mut fixture = Fixture::start().await;
    let mut client = client(&fixture);
    fixture.sql("UPDATE partition_state SET next_room_seq = partition + 8").await;
    let first = claim(&mut client, 1, &[3, 4]).await;
    assert_eq!(first.shards.iter().map(|shard| shard.shard).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(first.shards[0].positions, (7..71).collect::<Vec<u64>>());
    assert_eq!(first.destinations, []);

    let positions = ShardPositions { shard: 3, positions: (7..71).map(|seq| seq - 1).collect() };
    let mut saved = progress(1, 1, &[3, 4]);
    saved.positions = vec![positions.clone()];
    saved.destinations =
        vec![behind("a.example", 3, &[("!a:x", 1), ("!b:x", 2)]), behind("b.example", 4, &[("!a:x", 3)])];
    let kept = client.save_progress(saved.clone()).await.expect("kept").into_inner();
    assert_eq!(kept, SaveProgressResponse::default());
    // A repeat changes nothing.
    client.save_progress(saved).await.expect("kept");
    let mut saved = progress(1, 2, &[3, 4]);
    saved.caught_up = vec![CaughtUpRoom { server: "a.example".to_owned(), room_id: "!a:x".to_owned() }];
    saved.recovered = vec!["b.example".to_owned()];
    client.save_progress(saved).await.expect("kept");

    let second = claim(&mut client, 2, &[3, 4]).await;
    assert_eq!(second.shards[0], positions);
    assert_eq!(second.shards[1].positions, (7..71).collect::<Vec<u64>>());
    assert_eq!(second.destinations, [behind("a.example", 3, &[("!b:x", 2)])]);
    // Whoever had it before writes nothing any more; nor does what comes late.
    let mut late = progress(1, 3, &[3, 4]);
    late.recovered = vec!["a.example".to_owned()];
    assert_eq!(client.save_progress(late.clone()).await.expect("an answer").into_inner().lost_shards, [3, 4]);
    let mut newer = progress(2, 9, &[3]);
    newer.destinations = vec![behind("a.example", 3, &[("!c:x", 7)])];
    client.save_progress(newer).await.expect("kept");
    late.sender = vec![2; 16].into();
    late.shards = vec![3];
    assert_eq!(client.save_progress(late).await.expect("an answer").into_inner().lost_shards, [3]);
    assert_eq!(claim(&mut client, 2, &[3]).await.destinations[0].rooms.len(), 2);
    // Records that it still needs are kept.
    let cursor =
        "SELECT min(seq) AS number FROM reader_cursors WHERE reader = 'federation-sender' AND partition = 0";
    let cursor: Number =
        diesel::sql_query(cursor).get_result(&mut fixture.conn).await.expect("the cursor is there");
    assert_eq!(cursor.number, 6);

    let wrong_shard =
        SaveProgressRequest { destinations: vec![behind("a.example", 4, &[])], ..progress(2, 10, &[3]) };
    let wrong_positions = SaveProgressRequest {
        positions: vec![ShardPositions { shard: 3, positions: vec![1] }],
        ..progress(2, 10, &[3])
    };
    let nobody = SaveProgressRequest { sender: vec![1; 15].into(), ..progress(2, 10, &[3]) };
    for wrong in [wrong_shard, wrong_positions, nobody, progress(2, 10, &[64])] {
        assert_eq!(reason(client.save_progress(wrong).await), ErrorReason::InvalidParam);
    }
}

#[tokio::test]
async fn operators_see_what_is_kept_and_are_heard_once() {
    let fixture = Fixture::start().await;
    let mut client = client(&fixture);
    let operators = RpcChannel::in_process(rpc::operator_routes(&fixture.app));
    let mut admin = DestinationAdminServiceClient::new(operators);
    claim(&mut client, 1, &[3, 4]).await;
    let mut saved = progress(1, 1, &[3, 4]);
    saved.destinations = vec![
        behind("a.example", 3, &[("!a:x", 1), ("!b:x", 2)]),
        behind("b.example", 4, &[]),
        behind("c.example", 4, &[]),
    ];
    client.save_progress(saved).await.expect("kept");
    let mut list = async |after_server: &str, limit| {
        let request = ListDestinationsRequest { after_server: after_server.to_owned(), limit };
        let answer = admin.list_destinations(request).await.expect("a list").into_inner();
        answer.destinations.into_iter().map(|row| (row.server, row.rooms)).collect::<Vec<_>>()
    };
    assert_eq!(list("", 2).await, [("a.example".to_owned(), 2), ("b.example".to_owned(), 0)]);
    assert_eq!(list("b.example", 0).await, [("c.example".to_owned(), 0)]);
    let server = || "a.example".to_owned();
    let found = admin.get_destination(GetDestinationRequest { server: server() }).await;
    let found = found.expect("the destination").into_inner();
    let status = found.status.expect("its status");
    assert_eq!((status.failures, status.retry_ts, status.error.as_str()), (2, 20, "down"));
    assert_eq!(found.rooms.iter().map(|room| room.after_seq).collect::<Vec<_>>(), [1, 2]);

    admin.retry_destination(RetryDestinationRequest { server: server() }).await.expect("noted");
    let forget = ForgetDestinationRequest { server: "b.example".to_owned() };
    admin.forget_destination(forget).await.expect("noted");
    let unknown = RetryDestinationRequest { server: "z.example".to_owned() };
    assert_eq!(reason(admin.retry_destination(unknown).await), ErrorReason::NotFound);
    // Not those of others.
    let orders = client.save_progress(progress(2, 1, &[])).await.expect("an answer").into_inner().orders;
    assert_eq!(orders, []);
    let mut asked = progress(1, 2, &[]);
    asked.order_shards = vec![3, 4];
    let mut orders = client.save_progress(asked.clone()).await.expect("an answer").into_inner().orders;
    orders.sort_by(|a, b| a.server.cmp(&b.server));
    let order = |server: &str, kind: Kind| DestinationOrder { server: server.to_owned(), kind: kind.into() };
    assert_eq!(orders, [order("a.example", Kind::Retry), order("b.example", Kind::Forget)]);
    assert_eq!(client.save_progress(asked).await.expect("an answer").into_inner().orders, []);
}
