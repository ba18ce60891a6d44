//! Tests that the servers in a room follow its members, whatever changes them.

use diesel_async::AsyncPgConnection;
use plexus_log::partition_of;
use plexus_proto::{
    log::v1::output_room_event::Body,
    room::v1::{JoinedServer, ListJoinedServersRequest, room_graph_service_client::RoomGraphServiceClient},
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use ruma::{OwnedUserId, UserId};
use serde_json::json;

use super::{
    fixture::{ALICE, BOB, World, intent, message, public_room, room_record},
    received::{record, remote_of},
};
use crate::{
    rooms::{EventNid, MemberRow, PurgeRow, RoomNid, Rows, SnapshotMember, SnapshotRows, Token},
    store::{batch::Batch, snapshots},
};

/// Servers whose counts are not those of the members, and such that have none at all.
pub(super) const ASTRAY: &str = "SELECT count(*) FROM (SELECT * FROM room_servers WHERE joined <> 0) s \
    FULL JOIN (SELECT room_nid, snapshot, substr(user_id, strpos(user_id, ':') + 1) AS server, count(*) AS joined \
        FROM room_members WHERE membership = 'join' GROUP BY room_nid, snapshot, server) m \
    USING (room_nid, snapshot, server) WHERE s.joined IS DISTINCT FROM m.joined";

const MADE: RoomNid = RoomNid(1);
const JOINED: RoomNid = RoomNid(2);
const TOKENS: [Token; 2] = [[1; 16], [2; 16]];
const MEMBERSHIPS: [&str; 4] = ["join", "join", "leave", "invite"];

/// Something that changes members; numbers choose whom.
#[derive(Debug, Clone)]
enum Step {
    /// Members of rooms that are joined change, in one batch.
    Members(Vec<(bool, u8, u8)>),
    /// A snapshot tells members.
    Snapshot(usize, Vec<(u8, u8)>),
    /// The room is joined by a snapshot.
    Join(usize),
    /// Snapshots that are too old go, so many rows at a time.
    Expire(i64),
    /// A room is deleted.
    Purge,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let member = (any::<bool>(), 0..12_u8, 0..4_u8);
    let told = (0..12_u8, 0..4_u8);
    let step = prop_oneof![
        6 => prop::collection::vec(member, 1..8).prop_map(Step::Members),
        6 => (0..2_usize, prop::collection::vec(told, 1..8)).prop_map(|(token, told)| Step::Snapshot(token, told)),
        1 => (0..2_usize).prop_map(Step::Join),
        2 => (1..4_i64).prop_map(Step::Expire),
        1 => Just(Step::Purge),
    ];
    prop::collection::vec(step, 1..24)
}

fn user(number: u8) -> OwnedUserId {
    let server = ["example.org", "elsewhere.org:8448", "[::1]:80"][usize::from(number % 3)];
    UserId::parse(format!("@user{number}:{server}")).expect("a user ID")
}

/// The rooms as they are at first: one that was made here, and one that is only being joined.
const ROOMS: &str = "TRUNCATE rooms, room_members, room_servers, snapshot_chunks, purged_rooms; \
    INSERT INTO rooms (room_nid, room_id, partition, version, create_nid, latest_nids, members_root, other_root, \
        depth, last_seq, joined_members, invited_members) \
    SELECT n, '!room' || n || ':example.org', 0, '12', 1, CASE n WHEN 1 THEN '{1}'::bigint[] ELSE '{}' END, \
        0, 0, 1, 1, 0, 0 FROM generate_series(1, 2) AS n";

async fn perform(world: &World, conn: &mut AsyncPgConnection, step: &Step, joined: &mut bool) {
    let mut batch = Batch::default();
    match step {
        Step::Members(members) => {
            for (other, number, membership) in members {
                let room_nid = if *other && *joined { JOINED } else { MADE };
                let row = MemberRow {
                    room_nid,
                    user_id: user(*number),
                    membership: MEMBERSHIPS[usize::from(*membership)].to_owned(),
                    event_nid: EventNid(1),
                    seq: 1,
                };
                batch.rooms.merge(Rows { members: vec![row], ..Rows::default() });
            }
        }
        Step::Snapshot(token, told) if !*joined => {
            let members = told.iter().map(|(number, membership)| SnapshotMember {
                user_id: user(*number),
                membership: MEMBERSHIPS[usize::from(*membership)].to_owned(),
                event_nid: EventNid(1),
            });
            let (token, members) = (TOKENS[*token], members.collect());
            let told = SnapshotRows { room_nid: JOINED, token, members, facts: Vec::new() };
            batch.rooms.merge(Rows { snapshot_rows: Some(told), ..Rows::default() });
            world
                .sql(&format!(
                    "INSERT INTO snapshot_chunks VALUES (2, '\\x{}', 0, '', 1) ON CONFLICT DO NOTHING",
                    token.map(|byte| format!("{byte:02x}")).concat()
                ))
                .await;
        }
        Step::Join(token) if !*joined => {
            *joined = true;
            let token = TOKENS[*token].map(|byte| format!("{byte:02x}")).concat();
            world
                .sql(&format!(
                    "UPDATE rooms SET snapshot = '\\x{token}', latest_nids = '{{2}}' WHERE room_nid = 2"
                ))
                .await;
        }
        Step::Expire(most) => {
            // One step of many: whatever is left half way agrees, too.
            let stop = || true;
            snapshots::expire(conn, &[0], i64::MAX, *most, stop).await.expect("they go");
        }
        Step::Purge if *joined => {
            let room_id = "!room2:example.org".try_into().expect("a room ID");
            let row = PurgeRow { room_nid: JOINED, room_id, partition: 0, purged_ts: 1 };
            batch.rooms.merge(Rows { purged: Some(row), ..Rows::default() });
        }
        Step::Snapshot(..) | Step::Join(_) | Step::Purge => {}
    }
    batch.commit(conn).await.expect("the batch is committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_servers_are_those_of_the_members_whatever_happens() {
    let world = World::new().await;
    world.start().await.stop().await;
    let mut runner = TestRunner::deterministic();
    let mut conn = world.connect().await;
    for _ in 0..10 {
        let steps = steps().new_tree(&mut runner).expect("steps are made").current();
        world.sql(ROOMS).await;
        let mut joined = false;
        for (index, step) in steps.iter().enumerate() {
            perform(&world, &mut conn, step, &mut joined).await;
            assert_eq!(world.number(ASTRAY).await, 0, "after {:?}", &steps[..=index]);
            if matches!(step, Step::Purge) && joined {
                assert_eq!(world.number("SELECT count(*) FROM room_servers WHERE room_nid = 2").await, 0);
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_a_room_are_told_with_their_members() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let member = async |user: &str, membership: &str| {
        let content = json!({ "membership": membership });
        let body = plexus_proto::log::v1::input_room_event::Body::Intent(intent(
            user,
            "m.room.member",
            Some(user),
            content,
        ));
        server.accepted(&world.write_room(&room_record(&room_id, body)).await).await;
    };
    let told = async || {
        let request = ListJoinedServersRequest { room_id: room_id.clone(), ..Default::default() };
        let mut client = RoomGraphServiceClient::new(server.channel.clone());
        client.list_joined_servers(request).await.expect("they are told").into_inner().servers
    };
    let own = |members| JoinedServer { name: "example.org".to_owned(), members };
    member(BOB, "join").await;
    assert_eq!(told().await, [own(2)]);
    member(BOB, "join").await;
    member(BOB, "leave").await;
    assert_eq!(told().await, [own(1)]);
    member(ALICE, "leave").await;
    assert!(told().await.is_empty());
    let refused = server.rejected(&world.write_room(&message(&room_id, ALICE, "still here?")).await).await;
    assert!(!refused.message.is_empty());
    assert_eq!(world.number(ASTRAY).await, 0);
    server.stop().await;
}

/// Records tell which other servers come into a room, and which go.
#[tokio::test]
async fn records_tell_which_servers_come_and_go() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("a");
    let created = server.accepted(&world.write_room(&create).await).await;
    let mut remote = remote_of(&world, &room, created.seq).await;
    let mut last = created.seq;
    let users = ["@one:b.example", "@two:b.example"];
    let steps = [(0, "join"), (1, "join"), (0, "join"), (0, "leave"), (1, "leave"), (1, "join")];
    for (user, membership) in steps {
        let user = users[user];
        let content = json!({ "membership": membership });
        let (_, pdu) = remote.build(user, "m.room.member", Some(user), content);
        last = server.accepted(&world.write_room(&record(&room, &pdu)).await).await.seq;
    }
    let records = world.output_room(partition_of(&room), last).await.into_iter();
    let events = records.filter(|record| record.room_id == room).filter_map(|record| match record.body {
        Some(Body::NewEvent(event)) => Some(event.server_changes.map(|told| (told.joined, told.left))),
        _ => None,
    });
    let told: Vec<_> = events.collect();
    let (own, others) = told.split_at(told.len() - steps.len());
    assert!(own.iter().all(Option::is_none), "{own:?}");
    let (there, none) = (vec!["b.example".to_owned()], Vec::new());
    let (come, go) = (Some((there.clone(), none.clone())), Some((none, there)));
    assert_eq!(others, [come.clone(), None, None, None, go, come]);
    assert_eq!(world.number(ASTRAY).await, 0);
    server.stop().await;
}
