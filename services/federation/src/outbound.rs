//! `OutboundService`: what other services ask of other servers.

mod keys;
mod resolve_alias;

use std::time::Duration;

use plexus_proto::{
    common::v1::ErrorReason,
    federation::v1::{
        BackfillRequest, BackfillResponse, ClaimKeysRequest, ClaimKeysResponse,
        ExchangeThirdPartyInviteRequest, ExchangeThirdPartyInviteResponse, InviteUserRequest,
        InviteUserResponse, JoinRoomRequest, JoinRoomResponse, KnockRoomRequest, KnockRoomResponse,
        LeaveRoomRequest, LeaveRoomResponse, QueryKeysRequest, QueryKeysResponse, ResolveAliasRequest,
        ResolveAliasResponse,
        open_id_service_server::OpenIdServiceServer,
        outbound_query_service_server::OutboundQueryServiceServer,
        outbound_service_server::{OutboundService, OutboundServiceServer},
    },
};
use plexus_service::refusal::refusal;
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use tonic::{Code, Request, Response, Status, service::Routes};

use crate::{
    Federation, fetcher,
    joins::{invite, join, knock, leave, third_party},
    openid, queries,
};

/// How long whoever calls waits for a join; it goes on without them.
const JOIN_PATIENCE: Duration = Duration::from_secs(120);

struct Service {
    federation: Federation,
}

/// The services for other services.
pub(crate) fn routes(federation: &Federation) -> Routes {
    let mut routes = Routes::builder();
    routes.add_service(OutboundServiceServer::new(Service { federation: federation.clone() }));
    let queries = queries::Service { federation: federation.clone() };
    routes.add_service(OutboundQueryServiceServer::new(queries));
    routes.add_service(OpenIdServiceServer::new(openid::Service { federation: federation.clone() }));
    routes.routes()
}

pub(crate) fn invalid(field: &str, why: impl std::fmt::Display) -> Status {
    refusal(Code::InvalidArgument, ErrorReason::InvalidParam, format!("{field}: {why}"))
}

fn room(room_id: &str) -> Result<OwnedRoomId, Status> {
    room_id.try_into().map_err(|error| invalid("room_id", error))
}

fn any_user(field: &str, user_id: &str) -> Result<OwnedUserId, Status> {
    user_id.try_into().map_err(|error| invalid(field, error))
}

impl Service {
    fn user(&self, field: &str, user_id: &str) -> Result<OwnedUserId, Status> {
        let user = any_user(field, user_id)?;
        if self.is_ours(&user) { Ok(user) } else { Err(invalid(field, "is not a user of this server")) }
    }

    fn is_ours(&self, user: &UserId) -> bool {
        user.server_name() == self.federation.name()
    }
}

#[tonic::async_trait]
impl OutboundService for Service {
    async fn join_room(
        &self,
        request: Request<JoinRoomRequest>,
    ) -> Result<Response<JoinRoomResponse>, Status> {
        let JoinRoomRequest { room_id, user_id, via, content } = request.into_inner();
        let (room_id, user_id) = (room(&room_id)?, self.user("user_id", &user_id)?);
        self.federation.blocks.check_room(&room_id)?;
        let joined = join::join(&self.federation, join::Request { room_id, user_id, via, content });
        match tokio::time::timeout(JOIN_PATIENCE, joined).await {
            Ok(joined) => Ok(Response::new(JoinRoomResponse { event_id: joined? })),
            Err(_) => {
                let message = "the join takes long, and goes on";
                Err(refusal(Code::DeadlineExceeded, ErrorReason::TimedOut, message))
            }
        }
    }

    async fn leave_room(
        &self,
        request: Request<LeaveRoomRequest>,
    ) -> Result<Response<LeaveRoomResponse>, Status> {
        let LeaveRoomRequest { room_id, user_id, reason } = request.into_inner();
        let (room_id, user_id) = (room(&room_id)?, self.user("user_id", &user_id)?);
        let federation = self.federation.clone();
        // Whoever asked may go away meanwhile.
        let left = tokio::spawn(async move { leave::leave(&federation, &room_id, &user_id, &reason).await });
        let local_only = left.await.map_err(|_| Status::internal("a leave failed"))??;
        Ok(Response::new(LeaveRoomResponse { local_only }))
    }

    async fn knock_room(
        &self,
        request: Request<KnockRoomRequest>,
    ) -> Result<Response<KnockRoomResponse>, Status> {
        let KnockRoomRequest { room_id, user_id, via, reason } = request.into_inner();
        let (room_id, user_id) = (room(&room_id)?, self.user("user_id", &user_id)?);
        self.federation.blocks.check_room(&room_id)?;
        let _turn = self.federation.joins.turn(&user_id).await?;
        let event_id = knock::knock(&self.federation, &room_id, &user_id, &via, &reason).await?;
        Ok(Response::new(KnockRoomResponse { event_id }))
    }

    async fn invite_user(
        &self,
        request: Request<InviteUserRequest>,
    ) -> Result<Response<InviteUserResponse>, Status> {
        let InviteUserRequest { room_id, sender, user_id, content } = request.into_inner();
        let (room_id, sender) = (room(&room_id)?, self.user("sender", &sender)?);
        let user_id = any_user("user_id", &user_id)?;
        self.federation.blocks.check_room(&room_id)?;
        if self.is_ours(&user_id) {
            return Err(invalid("user_id", "is a user of this server"));
        }
        let event_id = invite::invite(&self.federation, &room_id, &sender, &user_id, &content).await?;
        Ok(Response::new(InviteUserResponse { event_id }))
    }

    async fn exchange_third_party_invite(
        &self,
        request: Request<ExchangeThirdPartyInviteRequest>,
    ) -> Result<Response<ExchangeThirdPartyInviteResponse>, Status> {
        let ExchangeThirdPartyInviteRequest { room_id, sender, user_id, signed } = request.into_inner();
        let (room_id, user_id) = (room(&room_id)?, self.user("user_id", &user_id)?);
        let sender = any_user("sender", &sender)?;
        self.federation.blocks.check_room(&room_id)?;
        if self.is_ours(&sender) {
            return Err(invalid("sender", "is a user of this server"));
        }
        let _turn = self.federation.joins.turn(&user_id).await?;
        third_party::exchange(&self.federation, &room_id, (&sender, &user_id), &signed).await?;
        Ok(Response::new(ExchangeThirdPartyInviteResponse {}))
    }

    async fn backfill(
        &self,
        request: Request<BackfillRequest>,
    ) -> Result<Response<BackfillResponse>, Status> {
        let room_id = room(&request.into_inner().room_id)?;
        let outcome = fetcher::backfill(&self.federation, room_id).await?;
        Ok(Response::new(BackfillResponse { outcome: outcome.into() }))
    }

    async fn query_keys(
        &self,
        request: Request<QueryKeysRequest>,
    ) -> Result<Response<QueryKeysResponse>, Status> {
        keys::query(&self.federation, request.into_inner()).await.map(Response::new)
    }

    async fn claim_keys(
        &self,
        request: Request<ClaimKeysRequest>,
    ) -> Result<Response<ClaimKeysResponse>, Status> {
        keys::claim(&self.federation, request.into_inner()).await.map(Response::new)
    }

    async fn resolve_alias(
        &self,
        request: Request<ResolveAliasRequest>,
    ) -> Result<Response<ResolveAliasResponse>, Status> {
        resolve_alias::answer(&self.federation, request.into_inner()).await.map(Response::new)
    }
}
