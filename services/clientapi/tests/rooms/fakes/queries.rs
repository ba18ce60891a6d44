use std::pin::Pin;

use futures::Stream;
use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{self as proto, RoomInfo, room_query_service_server::RoomQueryService},
};
use plexus_service::refusal::refusal;
use tonic::{Code, Request, Response, Status};

use super::{Fake, Known};

/// With a viewer, only members see a room.
pub(super) fn check_viewer(known: &Known, room_id: &str, viewer: &str) -> Result<(), Status> {
    if !known.rooms.contains(room_id) {
        return Err(refusal(Code::NotFound, ErrorReason::RoomUnknown, "no such room"));
    }
    if !viewer.is_empty() && !known.members.contains_key(&(room_id.to_owned(), viewer.to_owned())) {
        return Err(refusal(Code::PermissionDenied, ErrorReason::Forbidden, "not in the room"));
    }
    Ok(())
}

#[tonic::async_trait]
impl RoomQueryService for Fake {
    type StreamStateStream = Pin<Box<dyn Stream<Item = Result<proto::StreamStateResponse, Status>> + Send>>;

    async fn get_rooms(
        &self,
        request: Request<proto::GetRoomsRequest>,
    ) -> Result<Response<proto::GetRoomsResponse>, Status> {
        let known = self.known.lock().unwrap();
        let found = request.into_inner().room_ids.into_iter().filter(|room_id| known.rooms.contains(room_id));
        let info = |room_id: String| RoomInfo {
            published: known.published.contains(&room_id),
            room_version: known.versions.get(&room_id).cloned().unwrap_or_default(),
            room_id,
            ..RoomInfo::default()
        };
        Ok(Response::new(proto::GetRoomsResponse { rooms: found.map(info).collect() }))
    }

    async fn get_state(
        &self,
        request: Request<proto::GetStateRequest>,
    ) -> Result<Response<proto::GetStateResponse>, Status> {
        let request = request.into_inner();
        let known = self.known.lock().unwrap();
        check_viewer(&known, &request.room_id, &request.viewer)?;
        let find = |key: proto::StateKey| {
            known.state.get(&(request.room_id.clone(), key.r#type, key.state_key)).cloned()
        };
        let events = request.keys.into_iter().filter_map(find).collect();
        Ok(Response::new(proto::GetStateResponse { events, as_of: None }))
    }

    async fn stream_state(
        &self,
        request: Request<proto::StreamStateRequest>,
    ) -> Result<Response<Self::StreamStateStream>, Status> {
        let request = request.into_inner();
        let known = self.known.lock().unwrap();
        check_viewer(&known, &request.room_id, &request.viewer)?;
        let wanted = |(room_id, event_type, _): &(String, String, String)| {
            *room_id == request.room_id && (request.types.is_empty() || request.types.contains(event_type))
        };
        let is_left_out = |event: &proto::RoomEvent| {
            let event: serde_json::Value = serde_json::from_slice(&event.json).expect("events are JSON");
            let membership = event["content"]["membership"].as_str().unwrap_or_default();
            event["type"] == "m.room.member" && request.not_memberships.iter().any(|not| not == membership)
        };
        let found = known.state.iter().filter(|(key, event)| wanted(key) && !is_left_out(event));
        let found = found.map(|(_, event)| event.clone());
        // One event in each chunk, to see that all are read.
        let chunks: Vec<_> =
            found.map(|event| Ok(proto::StreamStateResponse { events: vec![event], as_of: None })).collect();
        Ok(Response::new(Box::pin(futures::stream::iter(chunks))))
    }

    async fn get_events(
        &self,
        request: Request<proto::GetEventsRequest>,
    ) -> Result<Response<proto::GetEventsResponse>, Status> {
        let request = request.into_inner();
        let known = self.known.lock().unwrap();
        let visible = check_viewer(&known, &request.room_id, &request.viewer).is_ok();
        let found = request.event_ids.iter().filter_map(|id| known.events.get(id)).filter(|_| visible);
        Ok(Response::new(proto::GetEventsResponse { events: found.cloned().collect() }))
    }

    async fn list_timeline(
        &self,
        request: Request<proto::ListTimelineRequest>,
    ) -> Result<Response<proto::ListTimelineResponse>, Status> {
        let request = request.into_inner();
        let mut known = self.known.lock().unwrap();
        check_viewer(&known, &request.room_id, &request.viewer)?;
        known.timeline_requests.push(request);
        Ok(Response::new(known.timeline.clone()))
    }

    async fn list_rooms_for_user(
        &self,
        request: Request<proto::ListRoomsForUserRequest>,
    ) -> Result<Response<proto::ListRoomsForUserResponse>, Status> {
        let request = request.into_inner();
        let known = self.known.lock().unwrap();
        let rooms = known
            .members
            .iter()
            .filter(|((_, user), membership)| {
                *user == request.user_id && request.memberships.contains(membership)
            })
            .map(|((room_id, _), _)| proto::UserRoom {
                room_id: room_id.clone(),
                ..proto::UserRoom::default()
            })
            .collect();
        Ok(Response::new(proto::ListRoomsForUserResponse { rooms, heads: Vec::new() }))
    }

    async fn list_copies(
        &self,
        _: Request<proto::ListCopiesRequest>,
    ) -> Result<Response<proto::ListCopiesResponse>, Status> {
        Err(Status::unimplemented("this service does not ask"))
    }

    async fn get_memberships(
        &self,
        request: Request<proto::GetMembershipsRequest>,
    ) -> Result<Response<proto::GetMembershipsResponse>, Status> {
        let request = request.into_inner();
        let known = self.known.lock().unwrap();
        let member = |user_id: String| {
            let membership = known.members.get(&(request.room_id.clone(), user_id.clone()))?.clone();
            Some(proto::Member { user_id, membership, ..proto::Member::default() })
        };
        let members = request.user_ids.into_iter().filter_map(member).collect();
        let room_exists = known.rooms.contains(&request.room_id);
        Ok(Response::new(proto::GetMembershipsResponse {
            members,
            room_exists,
            resident: room_exists,
            out_of_band: Vec::new(),
        }))
    }
}
