use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{self as proto, room_summary_service_server::RoomSummaryService},
};
use plexus_service::refusal::refusal;
use tonic::{Code, Request, Response, Status};

use super::Fake;

#[tonic::async_trait]
impl RoomSummaryService for Fake {
    async fn get_summaries(
        &self,
        request: Request<proto::GetSummariesRequest>,
    ) -> Result<Response<proto::GetSummariesResponse>, Status> {
        let request = request.into_inner();
        let known = self.known.lock().unwrap();
        let found = known.summaries.iter().filter(|room| request.room_ids.contains(&room.room_id));
        let shown = found.filter(|room| room.world_readable || !request.viewer.is_empty());
        Ok(Response::new(proto::GetSummariesResponse { rooms: shown.cloned().collect() }))
    }

    async fn walk_space(
        &self,
        request: Request<proto::WalkSpaceRequest>,
    ) -> Result<Response<proto::WalkSpaceResponse>, Status> {
        let request = request.into_inner();
        let mut known = self.known.lock().unwrap();
        if !known.rooms.contains(&request.room_id) {
            return Err(refusal(Code::PermissionDenied, ErrorReason::Forbidden, "no such space"));
        }
        known.space_requests.push(request);
        let child = serde_json::json!({
            "type": "m.space.child", "state_key": "!child:x", "sender": "@alice:example.org",
            "content": { "via": ["x"] }, "origin_server_ts": 7, "depth": 3, "hashes": {},
        });
        let room = |summary: &proto::RoomSummary| proto::SpaceRoom {
            summary: Some(summary.clone()),
            children: vec![child.to_string().into_bytes().into()],
        };
        Ok(Response::new(proto::WalkSpaceResponse {
            rooms: known.summaries.iter().map(room).collect(),
            more: true,
        }))
    }

    async fn list_public_rooms(
        &self,
        request: Request<proto::ListPublicRoomsRequest>,
    ) -> Result<Response<proto::ListPublicRoomsResponse>, Status> {
        let mut known = self.known.lock().unwrap();
        known.directory_requests.push(request.into_inner());
        Ok(Response::new(proto::ListPublicRoomsResponse {
            rooms: known.summaries.clone(),
            more_before: false,
            more_after: true,
            total: 9,
        }))
    }

    async fn search_users(
        &self,
        request: Request<proto::SearchUsersRequest>,
    ) -> Result<Response<proto::SearchUsersResponse>, Status> {
        let request = request.into_inner();
        let user = proto::FoundUser {
            user_id: "@bob:example.org".to_owned(),
            display_name: request.search_term,
            avatar_url: String::new(),
        };
        Ok(Response::new(proto::SearchUsersResponse { users: vec![user], limited: request.limit == 1 }))
    }

    async fn list_mutual_rooms(
        &self,
        request: Request<proto::ListMutualRoomsRequest>,
    ) -> Result<Response<proto::ListMutualRoomsResponse>, Status> {
        let after = request.into_inner().after_room_id;
        Ok(Response::new(proto::ListMutualRoomsResponse {
            room_ids: vec![format!("!after{after}")],
            total: 3,
        }))
    }
}
