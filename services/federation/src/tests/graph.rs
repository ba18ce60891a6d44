//! Endpoints about rooms, with a room server that knows one room with two servers.

use futures::stream::{self, BoxStream};
use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        CheckRestrictedJoinRequest, CheckRestrictedJoinResponse, CheckVisibilityRequest,
        CheckVisibilityResponse, EventVisibility, FindEventsRequest, FindEventsResponse, GetBackfillRequest,
        GetBackfillResponse, GetEventsRequest, GetEventsResponse, GetForwardExtremitiesRequest,
        GetForwardExtremitiesResponse, GetMembershipsRequest, GetMembershipsResponse,
        GetMissingEventsRequest, GetMissingEventsResponse, GetRoomsRequest, GetRoomsResponse,
        GetStateRequest, GetStateResponse, GraphEvent, JoinedServer, ListCopiesRequest, ListCopiesResponse,
        ListHistoryEndsRequest, ListHistoryEndsResponse, ListJoinedServersRequest, ListJoinedServersResponse,
        ListOpenFetchesRequest, ListOpenFetchesResponse, ListRoomsForUserRequest, ListRoomsForUserResponse,
        ListTimelineRequest, ListTimelineResponse, RoomEvent, StreamAuthChainRequest,
        StreamAuthChainResponse, StreamStateAtRequest, StreamStateAtResponse, StreamStateRequest,
        StreamStateResponse,
        room_graph_service_server::{RoomGraphService, RoomGraphServiceServer},
        room_query_service_server::{RoomQueryService, RoomQueryServiceServer},
    },
};
use plexus_service::refusal::refusal;
use tonic::Code;

use super::*;

const ROOM: &str = "!room:us.test";
const IN_ROOM: &str = "192.0.2.1";
const DENIED: &str = "192.0.2.2";
const OUTSIDE: &str = "192.0.2.3";

/// What the service asked last, as text.
type Asked = Arc<Mutex<String>>;

#[derive(Clone, Default)]
struct Rooms(Asked);

fn known(room_id: &str) -> Result<(), Status> {
    if room_id == ROOM {
        return Ok(());
    }
    Err(refusal(Code::NotFound, ErrorReason::RoomUnknown, "this server is not in the room"))
}

fn event(id: &str) -> GraphEvent {
    GraphEvent {
        event_id: id.to_owned(),
        json: format!("{{\"id\":\"{id}\"}}").into(),
        ..GraphEvent::default()
    }
}

type Stream<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl RoomGraphService for Rooms {
    type StreamStateAtStream = Stream<StreamStateAtResponse>;
    type StreamAuthChainStream = Stream<StreamAuthChainResponse>;

    async fn get_forward_extremities(
        &self,
        request: tonic::Request<GetForwardExtremitiesRequest>,
    ) -> Result<Response<GetForwardExtremitiesResponse>, Status> {
        let request = request.into_inner();
        known(&request.room_id)?;
        assert_eq!(request.keys[0].r#type, "m.room.server_acl");
        let acl = json!({ "content": { "allow": ["*"], "deny": [DENIED] } }).to_string();
        let state = vec![GraphEvent { json: acl.into(), ..event("$acl") }];
        Ok(Response::new(GetForwardExtremitiesResponse { state, ..Default::default() }))
    }

    async fn list_history_ends(
        &self,
        _: tonic::Request<ListHistoryEndsRequest>,
    ) -> Result<Response<ListHistoryEndsResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn stream_state_at(
        &self,
        request: tonic::Request<StreamStateAtRequest>,
    ) -> Result<Response<Self::StreamStateAtStream>, Status> {
        let request = request.into_inner();
        known(&request.room_id)?;
        if request.event_id != "$known" {
            return Err(refusal(Code::NotFound, ErrorReason::NotFound, "the room has no such event"));
        }
        let chunk = |state: &[&str], chain: &[&str]| StreamStateAtResponse {
            state: state.iter().map(|id| event(id)).collect(),
            auth_chain: chain.iter().map(|id| event(id)).collect(),
        };
        let chunks = [chunk(&["$a"], &[]), chunk(&["$b"], &[]), chunk(&[], &["$c"])];
        Ok(Response::new(Box::pin(stream::iter(chunks.map(Ok)))))
    }

    async fn stream_auth_chain(
        &self,
        request: tonic::Request<StreamAuthChainRequest>,
    ) -> Result<Response<Self::StreamAuthChainStream>, Status> {
        let request = request.into_inner();
        known(&request.room_id)?;
        assert!(!request.include_given);
        let chunks = ["$a", "$b"].map(|id| Ok(StreamAuthChainResponse { events: vec![event(id)] }));
        Ok(Response::new(Box::pin(stream::iter(chunks))))
    }

    async fn get_missing_events(
        &self,
        request: tonic::Request<GetMissingEventsRequest>,
    ) -> Result<Response<GetMissingEventsResponse>, Status> {
        let request = request.into_inner();
        *self.0.lock() = format!("{} {} {}", request.server, request.limit, request.min_depth);
        Ok(Response::new(GetMissingEventsResponse { events: vec![event("$a"), event("$b")] }))
    }

    async fn get_backfill(
        &self,
        request: tonic::Request<GetBackfillRequest>,
    ) -> Result<Response<GetBackfillResponse>, Status> {
        let request = request.into_inner();
        *self.0.lock() = format!("{} {} {}", request.server, request.limit, request.from.join(","));
        Ok(Response::new(GetBackfillResponse { events: vec![event("$b"), event("$a")] }))
    }

    async fn check_visibility(
        &self,
        request: tonic::Request<CheckVisibilityRequest>,
    ) -> Result<Response<CheckVisibilityResponse>, Status> {
        let request = request.into_inner();
        let ids = request.event_ids.into_iter().filter(|id| id != "$rejected");
        let events = ids.map(|event_id| EventVisibility {
            visible: event_id != "$hidden",
            event_id,
            membership: String::new(),
        });
        Ok(Response::new(CheckVisibilityResponse { events: events.collect() }))
    }

    async fn list_joined_servers(
        &self,
        request: tonic::Request<ListJoinedServersRequest>,
    ) -> Result<Response<ListJoinedServersResponse>, Status> {
        let request = request.into_inner();
        known(&request.room_id)?;
        let joined = [IN_ROOM, DENIED].into_iter().filter(|name| *name == request.server);
        let servers = joined.map(|name| JoinedServer { name: name.to_owned(), members: 1 }).collect();
        Ok(Response::new(ListJoinedServersResponse { servers, as_of: None }))
    }

    async fn check_restricted_join(
        &self,
        _: tonic::Request<CheckRestrictedJoinRequest>,
    ) -> Result<Response<CheckRestrictedJoinResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn find_events(
        &self,
        _: tonic::Request<FindEventsRequest>,
    ) -> Result<Response<FindEventsResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn list_open_fetches(
        &self,
        _: tonic::Request<ListOpenFetchesRequest>,
    ) -> Result<Response<ListOpenFetchesResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }
}

#[tonic::async_trait]
impl RoomQueryService for Rooms {
    type StreamStateStream = Stream<StreamStateResponse>;

    async fn get_events(
        &self,
        request: tonic::Request<GetEventsRequest>,
    ) -> Result<Response<GetEventsResponse>, Status> {
        let ids = request.into_inner().event_ids.into_iter().filter(|id| id != "$unknown");
        let events = ids.map(|event_id| RoomEvent {
            json: format!("{{\"id\":\"{event_id}\",\"unsigned\":{{\"redacted_because\":{{}}}}}}").into(),
            room_id: if event_id == "$elsewhere" { "!other:us.test".to_owned() } else { ROOM.to_owned() },
            event_id,
            ..RoomEvent::default()
        });
        Ok(Response::new(GetEventsResponse { events: events.collect() }))
    }

    async fn get_rooms(
        &self,
        _: tonic::Request<GetRoomsRequest>,
    ) -> Result<Response<GetRoomsResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn get_state(
        &self,
        _: tonic::Request<GetStateRequest>,
    ) -> Result<Response<GetStateResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn stream_state(
        &self,
        _: tonic::Request<StreamStateRequest>,
    ) -> Result<Response<Self::StreamStateStream>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn list_copies(
        &self,
        _: tonic::Request<ListCopiesRequest>,
    ) -> Result<Response<ListCopiesResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn list_timeline(
        &self,
        _: tonic::Request<ListTimelineRequest>,
    ) -> Result<Response<ListTimelineResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn list_rooms_for_user(
        &self,
        _: tonic::Request<ListRoomsForUserRequest>,
    ) -> Result<Response<ListRoomsForUserResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn get_memberships(
        &self,
        _: tonic::Request<GetMembershipsRequest>,
    ) -> Result<Response<GetMembershipsResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }
}

struct World {
    fixture: Fixture,
    key: SigningKey,
    asked: Asked,
}

impl World {
    fn new() -> Self {
        let rooms = Rooms::default();
        let asked = Arc::clone(&rooms.0);
        let fixture = Fixture::with(&json!({}), |routes| {
            routes.add_service(RoomGraphServiceServer::new(rooms.clone()));
            routes.add_service(RoomQueryServiceServer::new(rooms));
        });
        let key = key("a", 1);
        for server in [IN_ROOM, DENIED, OUTSIDE] {
            fixture.know(server, &key, HOUR, None);
        }
        Self { fixture, key, asked }
    }

    async fn ask(&self, origin: &str, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let uri = format!("/_matrix/federation/v1/{path}");
        let ask = Ask { method, uri: &uri, body, origin, destination: "us.test", key: &self.key };
        let (status, body, _) = self.fixture.ask(ask.signed()).await;
        (status, body)
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(IN_ROOM, Method::GET, path, "").await
    }
}

const MISSING: &str = r#"{"earliest_events":[],"latest_events":["$z"]}"#;

/// Every endpoint about a room.
const ABOUT_ROOMS: [(Method, &str, &str); 5] = [
    (Method::GET, "state/ROOM?event_id=$known", ""),
    (Method::GET, "state_ids/ROOM?event_id=$known", ""),
    (Method::GET, "event_auth/ROOM/$known", ""),
    (Method::GET, "backfill/ROOM?v=$a&limit=5", ""),
    (Method::POST, "get_missing_events/ROOM", MISSING),
];

#[tokio::test]
async fn rooms_are_told_to_servers_that_are_in_them() {
    let world = World::new();
    for (method, path, body) in ABOUT_ROOMS {
        let ours = path.replace("ROOM", "%21room%3Aus.test");
        let (status, answer) = world.ask(IN_ROOM, method.clone(), &ours, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        // A room that we are not in is one that the server is not in, as far as we tell.
        let unknown = path.replace("ROOM", "%21unknown%3Aus.test");
        for (server, path) in [(DENIED, &ours), (OUTSIDE, &ours), (IN_ROOM, &unknown)] {
            let (status, answer) = world.ask(server, method.clone(), path, body).await;
            let refused = (status, answer["errcode"].as_str());
            assert_eq!(refused, (StatusCode::FORBIDDEN, Some("M_FORBIDDEN")), "{server} {path}");
        }
    }
}

#[tokio::test]
async fn answers_have_the_form_of_the_specification() {
    let world = World::new();
    let pdu = |id: &str| json!({ "id": id });
    let (_, state) = world.get(&format!("state/{ROOM}?event_id=$known")).await;
    assert_eq!(state, json!({ "pdus": [pdu("$a"), pdu("$b")], "auth_chain": [pdu("$c")] }));
    let (_, ids) = world.get(&format!("state_ids/{ROOM}?event_id=$known")).await;
    assert_eq!(ids, json!({ "pdu_ids": ["$a", "$b"], "auth_chain_ids": ["$c"] }));
    let (status, _) = world.get(&format!("state_ids/{ROOM}?event_id=$unknown")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, chain) = world.get(&format!("event_auth/{ROOM}/$known")).await;
    assert_eq!(chain, json!({ "auth_chain": [pdu("$a"), pdu("$b")] }));
    let (_, backfill) = world.get(&format!("backfill/{ROOM}?v=$a&v=$b&limit=1000")).await;
    assert_eq!((&backfill["origin"], &backfill["pdus"]), (&json!("us.test"), &json!([pdu("$b"), pdu("$a")])));
    assert_eq!(*world.asked.lock(), format!("{IN_ROOM} 100 $a,$b"));
    let (_, missing) = world.ask(IN_ROOM, Method::POST, &format!("get_missing_events/{ROOM}"), MISSING).await;
    assert_eq!(missing, json!({ "events": [pdu("$a"), pdu("$b")] }));
    assert_eq!(*world.asked.lock(), format!("{IN_ROOM} 10 0"));
    for (path, status) in [
        (format!("backfill/{ROOM}?limit=5"), StatusCode::BAD_REQUEST),
        (format!("backfill/{ROOM}?v=$a"), StatusCode::BAD_REQUEST),
        (format!("backfill/{ROOM}?v=a&limit=5"), StatusCode::BAD_REQUEST),
        (format!("backfill/{ROOM}?limit=5{}", "&v=$a".repeat(51)), StatusCode::BAD_REQUEST),
        ("state/room?event_id=$known".to_owned(), StatusCode::BAD_REQUEST),
        (format!("state/{ROOM}"), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(world.get(&path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn events_are_told_to_servers_that_may_see_them() {
    let world = World::new();
    let (status, answer) = world.get("event/%24seen").await;
    assert_eq!((status, &answer["pdus"]), (StatusCode::OK, &json!([{ "id": "$seen" }])));
    assert_eq!(answer["origin"], "us.test");
    for (server, event, status) in [
        (IN_ROOM, "$unknown", StatusCode::NOT_FOUND),
        (IN_ROOM, "$rejected", StatusCode::NOT_FOUND),
        (IN_ROOM, "$hidden", StatusCode::FORBIDDEN),
        (IN_ROOM, "$elsewhere", StatusCode::FORBIDDEN),
        (OUTSIDE, "$seen", StatusCode::FORBIDDEN),
        (DENIED, "$seen", StatusCode::FORBIDDEN),
    ] {
        let (answered, _) = world.ask(server, Method::GET, &format!("event/{event}"), "").await;
        assert_eq!(answered, status, "{server} {event}");
    }
}
