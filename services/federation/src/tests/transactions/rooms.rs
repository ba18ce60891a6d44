//! A room server that knows a few rooms, reads the input log, and judges events by their types.

use std::{sync::Arc, time::Duration};

use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use plexus_events::{RoomRules, receive};
use plexus_log::{InputRoom, Log, PARTITIONS, StartAt, partition_of};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{
        Accepted, AwaitInputRequest, AwaitInputResponse, FindTransactionRequest, FindTransactionResponse,
        Parked, PduResult, Rejected, Verdict, input_service_server::InputService, verdict::Outcome,
    },
    log::v1::{InputRoomEvent, Pdu, PduBatch, input_room_event::Body},
    room::v1::{room_graph_service_server::RoomGraphService, room_query_service_server::RoomQueryService, *},
};
use plexus_service::refusal::refusal;
use ruma::state_res::Event as _;
use serde_json::json;
use tonic::{Code, Request, Response, Status};

pub(crate) const ROOM: &str = "!room:us.test";
/// Another room, in which the same servers are.
pub(crate) const ELSEWHERE: &str = "!elsewhere:us.test";
/// A room that this server has left.
const LEFT: &str = "!left:us.test";
pub(crate) const ORIGIN: &str = "192.0.2.1";
/// A server that the ACLs of the rooms deny.
pub(crate) const DENIED: &str = "192.0.2.2";

#[derive(Clone, Default)]
pub(crate) struct Rooms {
    written: Arc<Mutex<Vec<InputRoomEvent>>>,
    /// Parked events that lack something.
    pub(crate) open: Arc<Mutex<Vec<OpenFetch>>>,
}

impl Rooms {
    /// Reads what is written.
    pub(crate) async fn follow(&self, log: &Log) {
        let mut reader = log.reader::<InputRoom>().unwrap();
        for partition in 0..PARTITIONS {
            reader.assign(partition, StartAt::Oldest).await.unwrap();
        }
        let rooms = self.clone();
        tokio::spawn(async move {
            while let Ok(batch) = reader.next_batch(100).await {
                for entry in batch {
                    rooms.take(entry.record.unwrap());
                }
            }
        });
    }

    fn take(&self, record: InputRoomEvent) {
        if let Some(Body::FetchDone(done)) = &record.body {
            self.open.lock().retain_mut(|fetch| {
                fetch.not_before_ts = done.not_before_ts;
                fetch.event_id != done.event_id || done.not_before_ts > 0
            });
        }
        self.written.lock().push(record);
    }

    /// Everything that was written.
    pub(crate) fn written(&self) -> Vec<InputRoomEvent> {
        self.written.lock().clone()
    }

    fn pdus(&self) -> Vec<Pdu> {
        let pdus = |record: InputRoomEvent| match record.body {
            Some(Body::Pdus(batch)) => batch.pdus,
            other => panic!("{other:?}"),
        };
        self.written().into_iter().flat_map(pdus).collect()
    }

    /// The IDs of all events that were written.
    pub(crate) fn events(&self) -> Vec<String> {
        self.pdus().iter().map(|pdu| read(pdu).0).collect()
    }

    /// Who has sent them.
    pub(crate) fn origins(&self) -> Vec<String> {
        self.pdus().into_iter().map(|pdu| pdu.origin).collect()
    }
}

/// ID and type of an event.
fn read(pdu: &Pdu) -> (String, String) {
    let received = receive::parse(&pdu.json, RoomRules::of("11").unwrap()).unwrap();
    let received = received.trust_signatures().unwrap();
    (received.pdu.id().to_string(), received.pdu.event_type().to_string())
}

fn judge(pdu: &Pdu) -> PduResult {
    let (event_id, event_type) = read(pdu);
    let outcome = match event_type.as_str() {
        "test.rejected" => Outcome::Rejected(Rejected {
            reason: ErrorReason::Forbidden.into(),
            message: "auth_events: the rules refuse it".to_owned(),
        }),
        "test.parked" => Outcome::Parked(Parked { missing_event_ids: vec!["$missing".to_owned()] }),
        _ => Outcome::Accepted(Accepted { event_id: event_id.clone(), ..Accepted::default() }),
    };
    PduResult { event_id, verdict: Some(Verdict { outcome: Some(outcome) }) }
}

#[tonic::async_trait]
impl InputService for Rooms {
    async fn await_input(
        &self,
        request: Request<AwaitInputRequest>,
    ) -> Result<Response<AwaitInputResponse>, Status> {
        let input_id = request.into_inner().input_id;
        let record = loop {
            let found = self.written.lock().iter().find(|record| record.input_id == input_id).cloned();
            match found {
                Some(record) => break record,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        let batch = match record.body {
            Some(Body::Pdus(batch)) => batch,
            _ => PduBatch::default(),
        };
        if batch.pdus.iter().any(|pdu| read(pdu).1 == "test.slow") {
            std::future::pending::<()>().await;
        }
        let accepted = Accepted { results: batch.pdus.iter().map(judge).collect(), ..Accepted::default() };
        let verdict = Verdict { outcome: Some(Outcome::Accepted(accepted)) };
        Ok(Response::new(AwaitInputResponse { verdict: Some(verdict) }))
    }

    async fn find_transaction(
        &self,
        _: Request<FindTransactionRequest>,
    ) -> Result<Response<FindTransactionResponse>, Status> {
        Err(not_asked())
    }
}

fn not_asked() -> Status {
    Status::unimplemented("not asked")
}

fn known(room_id: &str) -> Result<(), Status> {
    if [ROOM, ELSEWHERE, LEFT].contains(&room_id) {
        return Ok(());
    }
    Err(refusal(Code::NotFound, ErrorReason::RoomUnknown, "this server does not know the room"))
}

type Stream<T> = BoxStream<'static, Result<T, Status>>;
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RoomGraphService for Rooms {
    type StreamStateAtStream = Stream<StreamStateAtResponse>;
    type StreamAuthChainStream = Stream<StreamAuthChainResponse>;

    async fn get_forward_extremities(
        &self,
        request: Request<GetForwardExtremitiesRequest>,
    ) -> Answer<GetForwardExtremitiesResponse> {
        known(&request.into_inner().room_id)?;
        let acl = json!({ "content": { "allow": ["*"], "deny": [DENIED] } }).to_string();
        let state = vec![GraphEvent { json: acl.into(), ..GraphEvent::default() }];
        let room_version = "11".to_owned();
        Ok(Response::new(GetForwardExtremitiesResponse { room_version, state, ..Default::default() }))
    }

    async fn list_joined_servers(
        &self,
        request: Request<ListJoinedServersRequest>,
    ) -> Answer<ListJoinedServersResponse> {
        let request = request.into_inner();
        known(&request.room_id)?;
        let servers = if request.room_id == LEFT { vec![ORIGIN] } else { vec!["us.test", ORIGIN, DENIED] };
        let asked = servers.into_iter().filter(|name| request.server.is_empty() || *name == request.server);
        let servers = asked.map(|name| JoinedServer { name: name.to_owned(), members: 1 }).collect();
        Ok(Response::new(ListJoinedServersResponse { servers, as_of: None }))
    }

    async fn list_history_ends(&self, _: Request<ListHistoryEndsRequest>) -> Answer<ListHistoryEndsResponse> {
        Err(not_asked())
    }

    async fn stream_state_at(&self, _: Request<StreamStateAtRequest>) -> Answer<Self::StreamStateAtStream> {
        Ok(Response::new(Box::pin(stream::empty())))
    }

    async fn stream_auth_chain(
        &self,
        _: Request<StreamAuthChainRequest>,
    ) -> Answer<Self::StreamAuthChainStream> {
        Ok(Response::new(Box::pin(stream::empty())))
    }

    async fn get_missing_events(
        &self,
        _: Request<GetMissingEventsRequest>,
    ) -> Answer<GetMissingEventsResponse> {
        Err(not_asked())
    }

    async fn get_backfill(&self, _: Request<GetBackfillRequest>) -> Answer<GetBackfillResponse> {
        Err(not_asked())
    }

    async fn check_visibility(&self, _: Request<CheckVisibilityRequest>) -> Answer<CheckVisibilityResponse> {
        Err(not_asked())
    }

    async fn check_restricted_join(
        &self,
        _: Request<CheckRestrictedJoinRequest>,
    ) -> Answer<CheckRestrictedJoinResponse> {
        Err(not_asked())
    }

    async fn find_events(&self, _: Request<FindEventsRequest>) -> Answer<FindEventsResponse> {
        Err(not_asked())
    }

    async fn list_open_fetches(
        &self,
        request: Request<ListOpenFetchesRequest>,
    ) -> Answer<ListOpenFetchesResponse> {
        let request = request.into_inner();
        let asked = |fetch: &&OpenFetch| {
            fetch.room_id == request.room_id
                || (request.room_id.is_empty() && partition_of(&fetch.room_id) == request.partition)
        };
        let fetches = self.open.lock().iter().filter(asked).cloned().collect();
        Ok(Response::new(ListOpenFetchesResponse { fetches, next: 0 }))
    }
}

#[tonic::async_trait]
impl RoomQueryService for Rooms {
    type StreamStateStream = Stream<StreamStateResponse>;

    async fn get_memberships(
        &self,
        request: Request<GetMembershipsRequest>,
    ) -> Answer<GetMembershipsResponse> {
        let users = request.into_inner().user_ids.into_iter().filter(|user| !user.starts_with("@stranger"));
        let members = users.map(|user_id| Member {
            user_id,
            membership: "join".to_owned(),
            event_id: "$member".to_owned(),
            forgotten: false,
        });
        let members = members.collect();
        Ok(Response::new(GetMembershipsResponse {
            members,
            room_exists: true,
            resident: true,
            ..Default::default()
        }))
    }

    async fn get_events(&self, _: Request<GetEventsRequest>) -> Answer<GetEventsResponse> {
        Err(not_asked())
    }

    async fn get_rooms(&self, _: Request<GetRoomsRequest>) -> Answer<GetRoomsResponse> {
        Err(not_asked())
    }

    async fn get_state(&self, _: Request<GetStateRequest>) -> Answer<GetStateResponse> {
        Err(not_asked())
    }

    async fn stream_state(&self, _: Request<StreamStateRequest>) -> Answer<Self::StreamStateStream> {
        Ok(Response::new(Box::pin(stream::empty())))
    }

    async fn list_copies(&self, _: Request<ListCopiesRequest>) -> Answer<ListCopiesResponse> {
        Err(not_asked())
    }

    async fn list_timeline(&self, _: Request<ListTimelineRequest>) -> Answer<ListTimelineResponse> {
        Err(not_asked())
    }

    async fn list_rooms_for_user(
        &self,
        _: Request<ListRoomsForUserRequest>,
    ) -> Answer<ListRoomsForUserResponse> {
        Err(not_asked())
    }
}
