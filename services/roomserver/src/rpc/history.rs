//! `RoomHistoryService`: relations, threads, and events by time.

use plexus_proto::room::v1::{
    FindEventByTimeRequest, FindEventByTimeResponse, GetAggregationsInRoomsRequest,
    GetAggregationsInRoomsResponse, GetAggregationsRequest, GetAggregationsResponse, ListRelationsRequest,
    ListRelationsResponse, ListThreadsRequest, ListThreadsResponse,
    room_history_service_server::{RoomHistoryService, RoomHistoryServiceServer},
};
use tonic::{Request, Response, Status};

use super::rooms::{find_event_by_time, get_aggregations, list_relations, list_threads};
use crate::app::App;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> RoomHistoryServiceServer<impl RoomHistoryService> {
    RoomHistoryServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl RoomHistoryService for Service {
    async fn list_relations(
        &self,
        request: Request<ListRelationsRequest>,
    ) -> Result<Response<ListRelationsResponse>, Status> {
        list_relations::answer(&self.app, request).await
    }

    async fn list_threads(
        &self,
        request: Request<ListThreadsRequest>,
    ) -> Result<Response<ListThreadsResponse>, Status> {
        list_threads::answer(&self.app, request).await
    }

    async fn get_aggregations(
        &self,
        request: Request<GetAggregationsRequest>,
    ) -> Result<Response<GetAggregationsResponse>, Status> {
        get_aggregations::answer(&self.app, request).await
    }

    async fn get_aggregations_in_rooms(
        &self,
        request: Request<GetAggregationsInRoomsRequest>,
    ) -> Result<Response<GetAggregationsInRoomsResponse>, Status> {
        get_aggregations::answer_rooms(&self.app, request.into_inner()).await
    }

    async fn find_event_by_time(
        &self,
        request: Request<FindEventByTimeRequest>,
    ) -> Result<Response<FindEventByTimeResponse>, Status> {
        find_event_by_time::answer(&self.app, request).await
    }
}
