//! A database of an earlier version is migrated: what was there is there, and the rooms go on.

use plexus_proto::{
    operator::v1::{VerifyRoomRequest, room_admin_service_client::RoomAdminServiceClient},
    room::v1::{
        GetMembershipsRequest, ListAliasesRequest, ListPublicRoomsRequest, ListTimelineRequest,
        SearchUsersRequest, room_directory_service_client::RoomDirectoryServiceClient,
        room_query_service_client::RoomQueryServiceClient,
        room_summary_service_client::RoomSummaryServiceClient,
    },
};
use plexus_service::RpcChannel;

use super::fixture::{World, message};

const DUMP: &str = include_str!("../../../tests/fixtures/1fa722c.sql");
const ALICE: &str = "@alice:plexus.test";
const BOB: &str = "@bob:plexus.test";

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_1fa722c_is_migrated() {
    let world = World::new().await;
    world.sql(DUMP).await;
    let counts = async || {
        let mut counts = Vec::new();
        for sql in [
            "SELECT count(*) FROM rooms",
            "SELECT sum(joined_members)::bigint FROM rooms",
            "SELECT sum(last_seq)::bigint FROM rooms",
            "SELECT count(*) FROM rooms WHERE published",
            "SELECT count(*) FROM events",
            "SELECT sum(length(json))::bigint FROM event_json",
            "SELECT count(*) FROM current_members WHERE membership = 'join'",
            "SELECT count(*) FROM current_members WHERE membership <> 'join'",
            "SELECT count(*) FROM current_members WHERE forgotten",
            "SELECT sum(event_seq)::bigint FROM receipts",
            "SELECT count(*) FROM receipts",
            "SELECT count(*) FROM event_relations",
            "SELECT sum(replies)::bigint FROM threads",
            "SELECT count(*) FROM aliases",
            "SELECT count(*) FROM accounts",
            "SELECT count(*) FROM devices",
            "SELECT count(*) FROM access_tokens",
            "SELECT count(*) FROM account_data",
            "SELECT count(*) FROM profiles",
            "SELECT sum(next_room_seq + next_user_seq)::bigint FROM partition_state",
        ] {
            counts.push((sql, world.number(sql).await));
        }
        counts
    };
    let before = counts().await;
    assert_eq!(before[..3], [(before[0].0, 6), (before[1].0, 15), (before[2].0, 191)], "the dump is whole");
    let server = world.start_as("plexus.test", "http://migrated", serde_json::json!({})).await;
    assert_eq!(counts().await, before);
    assert_eq!(world.number("SELECT count(*) FROM backfills").await, 0);
    let memberships = "SELECT count(*) FROM current_members m JOIN events e USING (event_nid) \
        WHERE e.value IS DISTINCT FROM m.membership";
    assert_eq!(world.number(memberships).await, 0, "each member event tells its membership");
    let facts = "SELECT count(*) FROM current_facts f JOIN events e USING (event_nid) \
        WHERE e.value IS DISTINCT FROM f.value";
    assert_eq!(world.number(facts).await, 0);

    let channel = || server.channel.clone();
    let mut queries = RoomQueryServiceClient::new(channel());
    let public = ListPublicRoomsRequest {
        limit: 10,
        search_term: "room".to_owned(),
        ..ListPublicRoomsRequest::default()
    };
    let public = RoomSummaryServiceClient::new(channel())
        .list_public_rooms(public)
        .await
        .expect("it is read")
        .into_inner();
    assert_eq!((public.rooms.len(), public.total), (3, 3));
    let find = SearchUsersRequest { viewer: ALICE.to_owned(), search_term: "Builder".to_owned(), limit: 10 };
    let found =
        RoomSummaryServiceClient::new(channel()).search_users(find).await.expect("it is read").into_inner();
    assert_eq!(found.users.len(), 1, "{found:?}");
    assert_eq!(found.users[0].user_id, BOB);

    let mut conn = world.connect().await;
    let rooms: Vec<String> = {
        use diesel_async::RunQueryDsl as _;
        let sql = diesel::dsl::sql::<diesel::sql_types::Text>("SELECT room_id FROM rooms ORDER BY room_id");
        sql.load(&mut conn).await.expect("SQL holds")
    };
    for room_id in &rooms {
        let verify = VerifyRoomRequest { room_id: room_id.clone() };
        let operators = RpcChannel::in_process(server.server.operator_routes());
        let verified = RoomAdminServiceClient::new(operators)
            .verify_room(verify)
            .await
            .expect("it is verified")
            .into_inner();
        assert!(verified.agrees, "{room_id}: {verified:?}");
        for viewer in [ALICE, BOB] {
            let timeline = ListTimelineRequest {
                room_id: room_id.clone(),
                viewer: viewer.to_owned(),
                limit: 1000,
                direction: plexus_proto::room::v1::Direction::Backward.into(),
                ..ListTimelineRequest::default()
            };
            let events =
                queries.list_timeline(timeline).await.expect("the timeline is read").into_inner().events;
            assert!(events.len() > 15, "{room_id}: {viewer} sees {}", events.len());
        }
        let members = GetMembershipsRequest { room_id: room_id.clone(), user_ids: vec![ALICE.to_owned()] };
        queries.get_memberships(members).await.expect("members are read");
        let aliases = ListAliasesRequest { room_id: room_id.clone(), viewer: ALICE.to_owned() };
        let aliases =
            RoomDirectoryServiceClient::new(channel()).list_aliases(aliases).await.expect("they are listed");
        assert!(!aliases.into_inner().aliases.is_empty());
        server.accepted(&world.write_room(&message(room_id, ALICE, "and on it goes")).await).await;
    }
    server.stop().await;
}
