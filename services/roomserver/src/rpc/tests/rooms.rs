use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        Direction, GetEventsRequest, GetMembershipsRequest, GetRoomsRequest, GetStateRequest,
        ListAliasesRequest, ListRoomsForUserRequest, ListTimelineRequest, ResolveAliasRequest,
        room_directory_service_client::RoomDirectoryServiceClient,
    },
};
use serde_json::json;

use super::fixture::{Fixture, reason};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";

#[tokio::test]
async fn rooms_and_memberships_are_described() {
    let mut fixture = Fixture::start().await;
    let mut room = fixture.room(ALICE).await;
    room.member(&mut fixture, ALICE, "join").await;
    room.member(&mut fixture, BOB, "invite").await;
    let mut other = fixture.room(BOB).await;
    other.member(&mut fixture, BOB, "join").await;
    other.member(&mut fixture, BOB, "leave").await;
    let ids = vec![room.room_id.clone(), "!unknown:example.org".to_owned()];
    let request = GetRoomsRequest { room_ids: ids };
    let rooms = fixture.queries().get_rooms(request).await.expect("rooms are read").into_inner().rooms;
    let [info] = rooms.as_slice() else { panic!("one room is known: {rooms:?}") };
    assert_eq!((info.joined_members, info.invited_members, info.last_seq), (1, 1, room.last().seq));
    assert_eq!(info.latest_event_ids, [room.last().event_id.clone()]);
    assert_eq!(info.partition, plexus_log::partition_of(&room.room_id));

    let list = async |fixture: &Fixture, memberships: &[&str], include_forgotten| {
        let request = ListRoomsForUserRequest {
            user_id: BOB.to_owned(),
            memberships: memberships.iter().map(|text| (*text).to_owned()).collect(),
            include_forgotten,
        };
        let answer =
            fixture.queries().list_rooms_for_user(request).await.expect("rooms are read").into_inner();
        assert_eq!(answer.heads.len(), 64);
        assert!(
            answer.heads.iter().any(|head| head.partition == info.partition && head.seq >= info.last_seq)
        );
        answer.rooms.into_iter().map(|room| (room.room_id, room.membership)).collect::<Vec<_>>()
    };
    let (invited, left) =
        ((room.room_id.clone(), "invite".to_owned()), (other.room_id.clone(), "leave".to_owned()));
    assert_eq!(list(&fixture, &[], false).await, [invited.clone(), left.clone()]);
    assert_eq!(list(&fixture, &["invite", "join"], false).await, std::slice::from_ref(&invited));
    fixture.sql("UPDATE room_members SET forgotten = true WHERE membership = 'leave'").await;
    assert_eq!(list(&fixture, &[], false).await, std::slice::from_ref(&invited));
    assert_eq!(list(&fixture, &[], true).await, [invited, left]);

    let members = async |room_id: &str| {
        let request = GetMembershipsRequest {
            room_id: room_id.to_owned(),
            user_ids: vec![ALICE.to_owned(), "@nobody:example.org".to_owned()],
        };
        fixture.queries().get_memberships(request).await.expect("members are read").into_inner()
    };
    let found = members(&room.room_id).await;
    assert!(found.room_exists);
    assert_eq!(found.members.len(), 1);
    assert_eq!((found.members[0].user_id.as_str(), found.members[0].membership.as_str()), (ALICE, "join"));
    let found = members(&other.room_id).await;
    assert!(found.room_exists && found.members.is_empty());
    assert!(!members("!unknown:example.org").await.room_exists);
}

#[tokio::test]
async fn aliases_are_for_members_and_for_open_rooms() {
    let mut fixture = Fixture::start().await;
    let mut room = fixture.room(ALICE).await;
    room.member(&mut fixture, ALICE, "join").await;
    fixture
        .sql("INSERT INTO aliases VALUES ('#a:example.org', '!room1:example.org', '@alice:example.org', 1)")
        .await;
    let mut directory = RoomDirectoryServiceClient::new(fixture.channel.clone());
    let request = ResolveAliasRequest { alias: "#a:example.org".to_owned() };
    let found = directory.resolve_alias(request).await.expect("alias is known").into_inner();
    assert_eq!((found.room_id.as_str(), found.creator.as_str()), (room.room_id.as_str(), ALICE));
    let request = ResolveAliasRequest { alias: "#b:example.org".to_owned() };
    assert_eq!(reason(directory.resolve_alias(request).await), ErrorReason::NotFound);
    let mut list = async |viewer: &str| {
        let request =
            ListAliasesRequest { room_id: "!room1:example.org".to_owned(), viewer: viewer.to_owned() };
        directory.list_aliases(request).await.map(|answer| answer.into_inner().aliases)
    };
    assert_eq!(list(ALICE).await.expect("a member may"), ["#a:example.org"]);
    assert_eq!(list("").await.expect("a service may"), ["#a:example.org"]);
    assert_eq!(reason(list(BOB).await), ErrorReason::Forbidden);
    room.member(&mut fixture, BOB, "join").await;
    room.member(&mut fixture, BOB, "leave").await;
    assert_eq!(reason(list(BOB).await), ErrorReason::Forbidden);
    let content = json!({"history_visibility": "world_readable"});
    room.state(&mut fixture, ALICE, "m.room.history_visibility", "", content).await;
    assert_eq!(list(BOB).await.expect("anybody may"), ["#a:example.org"]);
}

#[tokio::test]
async fn requests_that_do_not_hold_are_refused() {
    let fixture = Fixture::start().await;
    let mut queries = fixture.queries();
    for room_id in ["", "room", "!a\0b:example.org"] {
        let request = GetStateRequest { room_id: room_id.to_owned(), ..GetStateRequest::default() };
        assert_eq!(reason(queries.get_state(request).await), ErrorReason::InvalidParam, "{room_id:?}");
    }
    let request = GetStateRequest {
        room_id: "!a:example.org".to_owned(),
        viewer: "nobody".to_owned(),
        ..GetStateRequest::default()
    };
    assert_eq!(reason(queries.get_state(request).await), ErrorReason::InvalidParam);
    let request = GetStateRequest { room_id: "!a:example.org".to_owned(), ..GetStateRequest::default() };
    assert_eq!(reason(queries.get_state(request.clone()).await), ErrorReason::RoomUnknown);
    let request = GetStateRequest { viewer: ALICE.to_owned(), ..request };
    assert_eq!(reason(queries.get_state(request).await), ErrorReason::Forbidden);
    for (limit, direction) in
        [(0, Direction::Forward), (1001, Direction::Backward), (1, Direction::Unspecified)]
    {
        let request = ListTimelineRequest {
            room_id: "!a:example.org".to_owned(),
            direction: direction.into(),
            limit,
            ..ListTimelineRequest::default()
        };
        assert_eq!(reason(queries.list_timeline(request).await), ErrorReason::InvalidParam);
    }
    let request = GetEventsRequest { event_ids: vec!["$a".to_owned(); 1001], ..GetEventsRequest::default() };
    assert_eq!(reason(queries.get_events(request).await), ErrorReason::InvalidParam);
    let request = GetEventsRequest { event_ids: vec!["$a\0".to_owned()], ..GetEventsRequest::default() };
    assert_eq!(reason(queries.get_events(request).await), ErrorReason::InvalidParam);
}

#[tokio::test]
async fn hidden_events_are_not_for_users() {
    let mut fixture = Fixture::start().await;
    let mut room = fixture.room(ALICE).await;
    room.member(&mut fixture, ALICE, "join").await;
    let event = room.message(&mut fixture, ALICE).await;
    for (flags, for_services) in [(17, 0), (18, 1), (20, 1), (24, 1)] {
        fixture.sql(&format!("UPDATE events SET flags = {flags} WHERE event_id = '{event}'")).await;
        let count = async |viewer: &str| {
            let request = GetEventsRequest {
                event_ids: vec![event.clone()],
                viewer: viewer.to_owned(),
                ..GetEventsRequest::default()
            };
            fixture.queries().get_events(request).await.expect("events are read").into_inner().events.len()
        };
        assert_eq!(count("").await, for_services);
        assert_eq!(count(ALICE).await, usize::from(flags == 24));
    }
}

#[tokio::test]
async fn malformed_rows_fail_the_call_and_nothing_else() {
    let mut fixture = Fixture::start().await;
    let mut room = fixture.room(ALICE).await;
    room.member(&mut fixture, ALICE, "join").await;
    fixture.sql("UPDATE event_json SET json = 'nonsense'; UPDATE state_node SET body = 'x'").await;
    let request = GetStateRequest {
        room_id: room.room_id.clone(),
        keys: vec![plexus_proto::room::v1::StateKey {
            r#type: "m.room.create".to_owned(),
            state_key: String::new(),
        }],
        ..GetStateRequest::default()
    };
    let status = fixture.queries().get_state(request.clone()).await.expect_err("the state is not to be read");
    assert_eq!(status.code(), tonic::Code::Internal);
    let request = GetStateRequest { viewer: ALICE.to_owned(), ..request };
    fixture.queries().get_state(request).await.expect_err("the history is not to be read");
    let request = GetRoomsRequest { room_ids: vec![room.room_id.clone()] };
    fixture.queries().get_rooms(request).await.expect("rooms are read");
}
