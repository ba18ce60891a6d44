use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{self as proto, room_history_service_server::RoomHistoryService},
};
use plexus_service::refusal::refusal;
use tonic::{Code, Request, Response, Status};

use super::{Fake, queries::check_viewer};

#[tonic::async_trait]
impl RoomHistoryService for Fake {
    async fn list_relations(
        &self,
        request: Request<proto::ListRelationsRequest>,
    ) -> Result<Response<proto::ListRelationsResponse>, Status> {
        let request = request.into_inner();
        let mut known = self.known.lock().unwrap();
        check_viewer(&known, &request.room_id, &request.viewer)?;
        if !known.events.contains_key(&request.event_id) {
            return Err(refusal(Code::NotFound, ErrorReason::NotFound, "no such event"));
        }
        let depth = if request.recurse { 3 } else { 1 };
        known.relation_requests.push(request);
        Ok(Response::new(proto::ListRelationsResponse {
            events: known.related.clone(),
            next: Some(3),
            depth,
        }))
    }

    async fn list_threads(
        &self,
        request: Request<proto::ListThreadsRequest>,
    ) -> Result<Response<proto::ListThreadsResponse>, Status> {
        let request = request.into_inner();
        let mut known = self.known.lock().unwrap();
        check_viewer(&known, &request.room_id, &request.viewer)?;
        known.thread_requests.push(request);
        Ok(Response::new(proto::ListThreadsResponse { roots: known.related.clone(), next: None }))
    }

    async fn get_aggregations(
        &self,
        request: Request<proto::GetAggregationsRequest>,
    ) -> Result<Response<proto::GetAggregationsResponse>, Status> {
        let request = request.into_inner();
        let known = self.known.lock().unwrap();
        check_viewer(&known, &request.room_id, &request.viewer)?;
        let found = request.event_ids.iter().filter_map(|event_id| known.aggregations.get(event_id)).cloned();
        Ok(Response::new(proto::GetAggregationsResponse { aggregations: found.collect() }))
    }

    async fn get_aggregations_in_rooms(
        &self,
        _: Request<proto::GetAggregationsInRoomsRequest>,
    ) -> Result<Response<proto::GetAggregationsInRoomsResponse>, Status> {
        Err(Status::unimplemented("this service asks about one room"))
    }

    async fn find_event_by_time(
        &self,
        request: Request<proto::FindEventByTimeRequest>,
    ) -> Result<Response<proto::FindEventByTimeResponse>, Status> {
        let request = request.into_inner();
        let known = self.known.lock().unwrap();
        check_viewer(&known, &request.room_id, &request.viewer)?;
        if request.ts > 1_000 {
            return Err(refusal(Code::NotFound, ErrorReason::NotFound, "no event"));
        }
        Ok(Response::new(proto::FindEventByTimeResponse {
            event_id: "$found".to_owned(),
            origin_server_ts: request.ts,
        }))
    }
}
