//! `InspectionService`: reads rooms for operators.
//!
//! It asks `RoomQueryService` in this process, without a viewer, and turns events into what people read.

mod encode;

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use plexus_proto::{
    operator::v1::{
        GetEventRequest, GetEventResponse, ListTimelineRequest, ListTimelineResponse, StreamMembersRequest,
        StreamMembersResponse, StreamStateRequest, StreamStateResponse,
        inspection_service_server::{InspectionService, InspectionServiceServer},
    },
    room::v1::{
        self as room, Direction, StatePoint, room_query_service_client::RoomQueryServiceClient,
        state_point::Point,
    },
};
use plexus_service::RpcChannel;
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    check::{event_id, failed, not_found},
    rooms,
};
use crate::{
    app::App,
    rooms::flags,
    store::{pool, reads},
};

/// Events of a page if the request does not say how many.
const PAGE: u32 = 50;
/// Most events of a page.
const MOST: u32 = 1000;

struct Service {
    app: App,
    rooms: RoomQueryServiceClient<RpcChannel>,
}

/// Makes the service.
pub(super) fn service(app: &App) -> InspectionServiceServer<impl InspectionService> {
    let routes = tonic::service::Routes::new(rooms::service(app));
    let rooms = RoomQueryServiceClient::new(RpcChannel::in_process(routes));
    InspectionServiceServer::new(Service { app: app.clone(), rooms })
}

#[tonic::async_trait]
impl InspectionService for Service {
    #[instrument(name = "rpc.operator.get_event", skip_all)]
    async fn get_event(
        &self,
        request: Request<GetEventRequest>,
    ) -> Result<Response<GetEventResponse>, Status> {
        let id = request.into_inner().event_id;
        event_id("event_id", &id)?;
        let conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let rows = reads::events::list_by_id(&conn, &false, &[id]).await.map_err(|error| failed(&error))?;
        let row = rows.into_iter().next().ok_or_else(|| not_found("there is no such event here"))?;
        let has = |flag: i32| row.flags & flag != 0;
        Ok(Response::new(GetEventResponse {
            rejected: has(flags::REJECTED),
            soft_failed: has(flags::SOFT_FAILED),
            outlier: has(flags::OUTLIER),
            redacted: has(flags::REDACTED),
            event: Some(encode::row(row)),
        }))
    }

    type StreamStateStream = BoxStream<'static, Result<StreamStateResponse, Status>>;

    #[instrument(name = "rpc.operator.stream_state", skip_all)]
    async fn stream_state(
        &self,
        request: Request<StreamStateRequest>,
    ) -> Result<Response<Self::StreamStateStream>, Status> {
        let StreamStateRequest { room_id, event_id, after, types } = request.into_inner();
        let request = room::StreamStateRequest {
            room_id,
            types,
            at: point(event_id, after),
            ..room::StreamStateRequest::default()
        };
        let chunks = self.rooms.clone().stream_state(request).await?.into_inner();
        let chunks = chunks.map_ok(|chunk| StreamStateResponse {
            events: chunk.events.into_iter().map(encode::event).collect(),
        });
        Ok(Response::new(chunks.boxed()))
    }

    #[instrument(name = "rpc.operator.list_timeline", skip_all)]
    async fn list_timeline(
        &self,
        request: Request<ListTimelineRequest>,
    ) -> Result<Response<ListTimelineResponse>, Status> {
        let ListTimelineRequest { room_id, forward, from, limit } = request.into_inner();
        let direction = if forward { Direction::Forward } else { Direction::Backward };
        let request = room::ListTimelineRequest {
            room_id,
            direction: direction.into(),
            from,
            limit: if limit == 0 { PAGE } else { limit.min(MOST) },
            ..room::ListTimelineRequest::default()
        };
        let page = self.rooms.clone().list_timeline(request).await?.into_inner();
        let events = page.events.into_iter().map(encode::event).collect();
        Ok(Response::new(ListTimelineResponse { events, next: page.next }))
    }

    type StreamMembersStream = BoxStream<'static, Result<StreamMembersResponse, Status>>;

    #[instrument(name = "rpc.operator.stream_members", skip_all)]
    async fn stream_members(
        &self,
        request: Request<StreamMembersRequest>,
    ) -> Result<Response<Self::StreamMembersStream>, Status> {
        let StreamMembersRequest { room_id, event_id, after, memberships } = request.into_inner();
        let request = room::StreamStateRequest {
            room_id,
            types: vec!["m.room.member".to_owned()],
            at: point(event_id, after),
            memberships,
            ..room::StreamStateRequest::default()
        };
        let chunks = self.rooms.clone().stream_state(request).await?.into_inner();
        let chunks = chunks.map_ok(|chunk| StreamMembersResponse {
            members: chunk.events.into_iter().map(encode::member).collect(),
        });
        Ok(Response::new(chunks.boxed()))
    }
}

/// The point before or after an event; without one, now.
fn point(event_id: String, after: bool) -> Option<StatePoint> {
    if event_id.is_empty() {
        return None;
    }
    let point = if after { Point::AfterEventId(event_id) } else { Point::BeforeEventId(event_id) };
    Some(StatePoint { point: Some(point) })
}
