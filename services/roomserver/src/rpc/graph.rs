//! `RoomGraphService`: the event graph, for other servers and for what builds on its forward extremities.

mod check_restricted_join;
mod check_visibility;
mod chunks;
mod find_events;
mod get_forward_extremities;
mod list_history_ends;
mod list_joined_servers;
mod list_open_fetches;
mod server_visibility;
mod stream_auth_chain;
mod stream_state_at;
mod walk;

use diesel_async::AsyncPgConnection;
use futures::stream::BoxStream;
use plexus_proto::room::v1::{
    CheckRestrictedJoinRequest, CheckRestrictedJoinResponse, CheckVisibilityRequest, CheckVisibilityResponse,
    FindEventsRequest, FindEventsResponse, GetBackfillRequest, GetBackfillResponse,
    GetForwardExtremitiesRequest, GetForwardExtremitiesResponse, GetMissingEventsRequest,
    GetMissingEventsResponse, ListHistoryEndsRequest, ListHistoryEndsResponse, ListJoinedServersRequest,
    ListJoinedServersResponse, ListOpenFetchesRequest, ListOpenFetchesResponse, StreamAuthChainRequest,
    StreamAuthChainResponse, StreamStateAtRequest, StreamStateAtResponse,
    room_graph_service_server::{RoomGraphService, RoomGraphServiceServer},
};
use tonic::{Request, Response, Status};

use super::rooms::{View, view};
use crate::app::App;

/// Most keys, events or the like that one request may name.
const LIMIT: usize = 1000;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> RoomGraphServiceServer<impl RoomGraphService> {
    RoomGraphServiceServer::new(Service { app: app.clone() })
}

/// Finds a room for a service.
async fn room(app: &App, conn: &AsyncPgConnection, room_id: &str) -> Result<View, Status> {
    view(app, conn, room_id, "").await
}

#[tonic::async_trait]
impl RoomGraphService for Service {
    async fn get_forward_extremities(
        &self,
        request: Request<GetForwardExtremitiesRequest>,
    ) -> Result<Response<GetForwardExtremitiesResponse>, Status> {
        get_forward_extremities::answer(&self.app, request).await
    }

    type StreamStateAtStream = BoxStream<'static, Result<StreamStateAtResponse, Status>>;

    async fn stream_state_at(
        &self,
        request: Request<StreamStateAtRequest>,
    ) -> Result<Response<Self::StreamStateAtStream>, Status> {
        stream_state_at::answer(&self.app, request).await
    }

    type StreamAuthChainStream = BoxStream<'static, Result<StreamAuthChainResponse, Status>>;

    async fn stream_auth_chain(
        &self,
        request: Request<StreamAuthChainRequest>,
    ) -> Result<Response<Self::StreamAuthChainStream>, Status> {
        stream_auth_chain::answer(&self.app, request).await
    }

    async fn get_missing_events(
        &self,
        request: Request<GetMissingEventsRequest>,
    ) -> Result<Response<GetMissingEventsResponse>, Status> {
        walk::missing_events(&self.app, request).await
    }

    async fn get_backfill(
        &self,
        request: Request<GetBackfillRequest>,
    ) -> Result<Response<GetBackfillResponse>, Status> {
        walk::backfill(&self.app, request).await
    }

    async fn check_visibility(
        &self,
        request: Request<CheckVisibilityRequest>,
    ) -> Result<Response<CheckVisibilityResponse>, Status> {
        check_visibility::answer(&self.app, request).await
    }

    async fn list_history_ends(
        &self,
        request: Request<ListHistoryEndsRequest>,
    ) -> Result<Response<ListHistoryEndsResponse>, Status> {
        list_history_ends::answer(&self.app, request).await
    }

    async fn list_joined_servers(
        &self,
        request: Request<ListJoinedServersRequest>,
    ) -> Result<Response<ListJoinedServersResponse>, Status> {
        list_joined_servers::answer(&self.app, request).await
    }

    async fn check_restricted_join(
        &self,
        request: Request<CheckRestrictedJoinRequest>,
    ) -> Result<Response<CheckRestrictedJoinResponse>, Status> {
        check_restricted_join::answer(&self.app, request).await
    }

    async fn find_events(
        &self,
        request: Request<FindEventsRequest>,
    ) -> Result<Response<FindEventsResponse>, Status> {
        find_events::answer(&self.app, request).await
    }

    async fn list_open_fetches(
        &self,
        request: Request<ListOpenFetchesRequest>,
    ) -> Result<Response<ListOpenFetchesResponse>, Status> {
        list_open_fetches::answer(&self.app, request).await
    }
}
