//! `RoomQueryService`: reads rooms, for services and on behalf of users.

mod access;
mod encode;
mod erasure;
mod filter;
pub(super) mod find_event_by_time;
mod forked_history;
pub(super) mod get_aggregations;
mod get_events;
mod get_memberships;
mod get_rooms;
mod get_state;
mod list_copies;
pub(super) mod list_relations;
mod list_rooms_for_user;
pub(super) mod list_threads;
mod list_timeline;
mod page;
mod point;
mod stream_state;

use futures::stream::BoxStream;
use plexus_proto::room::v1::{
    GetEventsRequest, GetEventsResponse, GetMembershipsRequest, GetMembershipsResponse, GetRoomsRequest,
    GetRoomsResponse, GetStateRequest, GetStateResponse, ListCopiesRequest, ListCopiesResponse,
    ListRoomsForUserRequest, ListRoomsForUserResponse, ListTimelineRequest, ListTimelineResponse,
    StreamStateRequest, StreamStateResponse,
    room_query_service_server::{RoomQueryService, RoomQueryServiceServer},
};
use tonic::{Request, Response, Status};

pub(super) use access::{View, view};
pub(super) use encode::as_of;
pub(super) use get_events::visible_to_user;
pub(super) use point::{current_state, resolve as state_at};

use crate::app::App;

/// Most rooms, keys, events or users that one request may name.
const LIMIT: usize = 1000;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> RoomQueryServiceServer<impl RoomQueryService> {
    RoomQueryServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl RoomQueryService for Service {
    async fn get_rooms(
        &self,
        request: Request<GetRoomsRequest>,
    ) -> Result<Response<GetRoomsResponse>, Status> {
        get_rooms::answer(&self.app, request).await
    }

    async fn get_state(
        &self,
        request: Request<GetStateRequest>,
    ) -> Result<Response<GetStateResponse>, Status> {
        get_state::answer(&self.app, request).await
    }

    type StreamStateStream = BoxStream<'static, Result<StreamStateResponse, Status>>;

    async fn stream_state(
        &self,
        request: Request<StreamStateRequest>,
    ) -> Result<Response<Self::StreamStateStream>, Status> {
        stream_state::answer(&self.app, request).await
    }

    async fn get_events(
        &self,
        request: Request<GetEventsRequest>,
    ) -> Result<Response<GetEventsResponse>, Status> {
        get_events::answer(&self.app, request).await
    }

    async fn list_timeline(
        &self,
        request: Request<ListTimelineRequest>,
    ) -> Result<Response<ListTimelineResponse>, Status> {
        list_timeline::answer(&self.app, request).await
    }

    async fn list_rooms_for_user(
        &self,
        request: Request<ListRoomsForUserRequest>,
    ) -> Result<Response<ListRoomsForUserResponse>, Status> {
        list_rooms_for_user::answer(&self.app, request).await
    }

    async fn list_copies(
        &self,
        request: Request<ListCopiesRequest>,
    ) -> Result<Response<ListCopiesResponse>, Status> {
        list_copies::answer(&self.app, request).await
    }

    async fn get_memberships(
        &self,
        request: Request<GetMembershipsRequest>,
    ) -> Result<Response<GetMembershipsResponse>, Status> {
        get_memberships::answer(&self.app, request).await
    }
}
