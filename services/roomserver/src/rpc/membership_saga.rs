//! `MembershipSagaService`: joins and leaves that other servers decide.

use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        ClaimDueMembershipSagasRequest, ClaimDueMembershipSagasResponse, ClaimMembershipSagaRequest,
        ClaimMembershipSagaResponse, MembershipSaga, ReleaseMembershipSagaRequest,
        ReleaseMembershipSagaResponse,
        membership_saga::Kind,
        membership_saga_service_server::{MembershipSagaService, MembershipSagaServiceServer},
    },
};
use plexus_service::refusal::refusal;
use tonic::{Code, Request, Response, Status};
use tracing::instrument;

use super::check::{at_most, failed, invalid, name, position, room_id, storable, user_id};
use crate::{
    app::App,
    store::{
        membership_sagas::{self, Claimed, Hold, Saga},
        pool,
    },
};

/// Longest lease.
const MAX_LEASE_MS: u32 = 60 * 60 * 1000;
/// Most servers of a saga.
const MAX_SERVERS: usize = 20;
/// Most bytes of an event, and of what went wrong.
const MAX_EVENT: usize = 64 * 1024;
const MAX_ERROR: usize = 1000;
/// Most sagas that are claimed at once.
const MAX_DUE: u32 = 100;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> MembershipSagaServiceServer<impl MembershipSagaService> {
    MembershipSagaServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl MembershipSagaService for Service {
    #[instrument(name = "rpc.membership_saga.claim", skip_all)]
    async fn claim_membership_saga(
        &self,
        request: Request<ClaimMembershipSagaRequest>,
    ) -> Result<Response<ClaimMembershipSagaResponse>, Status> {
        let ClaimMembershipSagaRequest { room_id, user_id, holder, lease_ms, put } = request.into_inner();
        let hold = hold(&room_id, &user_id, &holder, lease_ms)?;
        let saga = put.map(|saga| row(saga, &room_id, &user_id)).transpose()?;
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let claimed = match &saga {
            Some(saga) => membership_sagas::put(&mut conn, hold, saga).await,
            None => membership_sagas::claim(&mut conn, hold).await,
        };
        match claimed.map_err(|error| failed(&error))? {
            Claimed::Held(saga) => {
                Ok(Response::new(ClaimMembershipSagaResponse { saga: Some(message(*saga)) }))
            }
            Claimed::Nothing => Ok(Response::new(ClaimMembershipSagaResponse::default())),
            Claimed::Taken => Err(taken()),
        }
    }

    #[instrument(name = "rpc.membership_saga.release", skip_all)]
    async fn release_membership_saga(
        &self,
        request: Request<ReleaseMembershipSagaRequest>,
    ) -> Result<Response<ReleaseMembershipSagaResponse>, Status> {
        let request = request.into_inner();
        let hold = hold(&request.room_id, &request.user_id, &request.holder, 1)?;
        storable("error", &request.error)?;
        let error: String = request.error.chars().take(MAX_ERROR / 4).collect();
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let released = if request.done {
            membership_sagas::delete(&mut conn, hold).await
        } else {
            let after = position(request.retry_after_ms).min(365 * 24 * 60 * 60 * 1000);
            membership_sagas::postpone(&mut conn, hold, after, &error).await
        };
        if released.map_err(|error| failed(&error))? {
            Ok(Response::new(ReleaseMembershipSagaResponse {}))
        } else {
            Err(taken())
        }
    }

    #[instrument(name = "rpc.membership_saga.claim_due", skip_all)]
    async fn claim_due_membership_sagas(
        &self,
        request: Request<ClaimDueMembershipSagasRequest>,
    ) -> Result<Response<ClaimDueMembershipSagasResponse>, Status> {
        let ClaimDueMembershipSagasRequest { holder, lease_ms, limit } = request.into_inner();
        check_holder(&holder, lease_ms)?;
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let limit = i64::from(limit.clamp(1, MAX_DUE));
        let sagas = membership_sagas::claim_due(&mut conn, &holder, lease_ms.into(), limit).await;
        let sagas = sagas.map_err(|error| failed(&error))?.into_iter().map(message);
        Ok(Response::new(ClaimDueMembershipSagasResponse { sagas: sagas.collect() }))
    }
}

fn taken() -> Status {
    refusal(Code::FailedPrecondition, ErrorReason::BadState, "another process holds the saga")
}

fn hold<'a>(room: &'a str, user: &'a str, holder: &'a [u8], lease_ms: u32) -> Result<Hold<'a>, Status> {
    room_id("room_id", room)?;
    name("room_id", room)?;
    user_id("user_id", user)?;
    name("user_id", user)?;
    check_holder(holder, lease_ms)?;
    Ok(Hold { room_id: room, user_id: user, holder, lease_ms: lease_ms.into() })
}

fn check_holder(holder: &[u8], lease_ms: u32) -> Result<(), Status> {
    if holder.len() != 16 {
        return Err(invalid("holder", "must be 16 bytes"));
    }
    if lease_ms == 0 || lease_ms > MAX_LEASE_MS {
        return Err(invalid("lease_ms", "must be more than 0 and at most an hour"));
    }
    Ok(())
}

fn row(saga: MembershipSaga, room: &str, user: &str) -> Result<Saga, Status> {
    let kind = match saga.kind() {
        Kind::Unspecified => return Err(invalid("kind", "is not set")),
        Kind::Join => 1,
        Kind::Leave => 2,
    };
    at_most("servers", saga.servers.len(), MAX_SERVERS)?;
    for server in &saga.servers {
        name("servers", server)?;
    }
    name("room_version", &saga.room_version)?;
    at_most("event", saga.event.len(), MAX_EVENT)?;
    Ok(Saga {
        room_id: room.to_owned(),
        user_id: user.to_owned(),
        kind,
        room_version: saga.room_version,
        servers: saga.servers,
        event: saga.event.to_vec(),
        attempts: 1,
        created_ts: saga.created_ts,
        error: String::new(),
    })
}

pub(super) fn message(saga: Saga) -> MembershipSaga {
    let kind = if saga.kind == 1 { Kind::Join } else { Kind::Leave };
    MembershipSaga {
        room_id: saga.room_id,
        user_id: saga.user_id,
        kind: kind.into(),
        room_version: saga.room_version,
        servers: saga.servers,
        event: saga.event.into(),
        attempts: u32::try_from(saga.attempts).unwrap_or(0),
        created_ts: saga.created_ts,
        error: saga.error,
    }
}
