//! `SessionService`: lets other services hold sessions in memory.

use plexus_proto::{
    common::v1::ErrorReason,
    user::v1::{
        LeaseSessionsRequest, LeaseSessionsResponse,
        session_service_server::{SessionService, SessionServiceServer},
    },
};
use plexus_service::refusal::refusal;
use tonic::{Code, Request, Response, Status};
use tracing::instrument;

use super::check::{failed, invalid};
use crate::{
    app::App,
    session_leases::{Ended, LEASE, LeaseHolderId},
    store::{StoreError, partitions, pool},
};

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> SessionServiceServer<impl SessionService> {
    SessionServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl SessionService for Service {
    #[instrument(name = "rpc.session.lease_sessions", skip_all)]
    async fn lease_sessions(
        &self,
        request: Request<LeaseSessionsRequest>,
    ) -> Result<Response<LeaseSessionsResponse>, Status> {
        let LeaseSessionsRequest { holder_id, dropped, leaving } = request.into_inner();
        let id = LeaseHolderId::try_from(holder_id.as_ref())
            .map_err(|_| invalid("holder_id", "must be 16 bytes"))?;
        if leaving {
            self.app.session_leases.leave(id);
            return Ok(Response::new(LeaseSessionsResponse::default()));
        }
        let Ended { number, users } =
            self.app.session_leases.renew(id, dropped).await.map_err(|_too_many| {
                refusal(
                    Code::ResourceExhausted,
                    ErrorReason::LimitExceeded,
                    "too many services hold sessions",
                )
            })?;
        let partitions = self.owned().await.map_err(|error| failed(&error))?;
        Ok(Response::new(LeaseSessionsResponse {
            number,
            all: users.is_none(),
            user_ids: users.unwrap_or_default(),
            partitions,
            lease_ms: u32::try_from(LEASE.as_millis()).unwrap_or(u32::MAX),
        }))
    }
}

impl Service {
    /// The partitions that are ours by the database: whoever has been replaced without knowing gives no leases.
    async fn owned(&self) -> Result<Vec<u32>, StoreError> {
        let mut conn = pool::get(&self.app.login_pool).await?;
        let rows = partitions::list(&mut conn).await?;
        let owned = rows.into_iter().filter_map(|(row, _)| {
            let number = u32::try_from(row.partition).ok()?;
            let epoch = u64::try_from(row.epoch).ok()?;
            (self.app.verdicts.epoch(number) == Some(epoch)).then_some(number)
        });
        Ok(owned.collect())
    }
}
