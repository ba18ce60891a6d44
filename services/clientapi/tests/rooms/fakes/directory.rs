use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        ListAliasesRequest, ListAliasesResponse, ResolveAliasRequest, ResolveAliasResponse,
        room_directory_service_server::RoomDirectoryService,
    },
};
use plexus_service::refusal::refusal;
use tonic::{Code, Request, Response, Status};

use super::Fake;

#[tonic::async_trait]
impl RoomDirectoryService for Fake {
    async fn resolve_alias(
        &self,
        request: Request<ResolveAliasRequest>,
    ) -> Result<Response<ResolveAliasResponse>, Status> {
        match self.known.lock().unwrap().aliases.get(&request.into_inner().alias) {
            Some(room_id) => {
                Ok(Response::new(ResolveAliasResponse { room_id: room_id.clone(), creator: String::new() }))
            }
            None => Err(refusal(Code::NotFound, ErrorReason::NotFound, "no such alias")),
        }
    }

    async fn list_aliases(
        &self,
        request: Request<ListAliasesRequest>,
    ) -> Result<Response<ListAliasesResponse>, Status> {
        let request = request.into_inner();
        let known = self.known.lock().unwrap();
        if !known.members.contains_key(&(request.room_id.clone(), request.viewer)) {
            return Err(refusal(Code::PermissionDenied, ErrorReason::Forbidden, "not in the room"));
        }
        let aliases = known.aliases.iter().filter(|(_, room_id)| **room_id == request.room_id);
        Ok(Response::new(ListAliasesResponse { aliases: aliases.map(|(alias, _)| alias.clone()).collect() }))
    }
}
