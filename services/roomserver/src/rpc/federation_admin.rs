//! `FederationAdminService` and `BlockService`: with whom this server has nothing to do, and what is on its way to others.

use plexus_proto::{
    operator::v1::{
        BlockRequest, BlockResponse, ListMembershipSagasRequest, ListMembershipSagasResponse, UnblockRequest,
        UnblockResponse,
        federation_admin_service_server::{FederationAdminService, FederationAdminServiceServer},
    },
    room::v1::{
        Block, BlockKind, ListBlocksRequest, ListBlocksResponse,
        block_service_server::{BlockService, BlockServiceServer},
    },
};
use ruma::{RoomId, ServerName, UserId};
use tonic::{Request, Response, Status};
use tracing::{info, instrument};

use super::{
    check::{failed, invalid, not_found, storable},
    membership_saga,
};
use crate::{
    app::App,
    store::{federation_blocks, membership_sagas, pool},
    worker::now_ms,
};

/// Blocks of a page.
const MAX_BLOCKS: u32 = 1_000;
/// Sagas listed if the request does not say how many, and at most.
const LISTED: u32 = 100;
const MAX_LISTED: u32 = 1_000;
/// Most bytes of a reason.
const MAX_REASON: usize = 1_000;

struct Service {
    app: App,
}

/// Makes the service for operators.
pub(super) fn service(app: &App) -> FederationAdminServiceServer<impl FederationAdminService> {
    FederationAdminServiceServer::new(Service { app: app.clone() })
}

/// Makes the service for other services.
pub(super) fn blocks(app: &App) -> BlockServiceServer<impl BlockService> {
    BlockServiceServer::new(Service { app: app.clone() })
}

impl Service {
    async fn list(&self, request: ListBlocksRequest) -> Result<Response<ListBlocksResponse>, Status> {
        let ListBlocksRequest { after, limit } = request;
        let after = after.unwrap_or_default();
        storable("after", &after.name)?;
        let limit = if limit == 0 { MAX_BLOCKS } else { limit.min(MAX_BLOCKS) };
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let place = (i16::try_from(after.kind).unwrap_or(i16::MAX), after.name.as_str());
        let rows = federation_blocks::list(&mut conn, place, i64::from(limit)).await;
        let blocks = rows.map_err(|error| failed(&error))?.into_iter().map(|row| Block {
            kind: row.kind.into(),
            name: row.name,
            reason: row.reason,
            created_ts: row.created_ts,
        });
        Ok(Response::new(ListBlocksResponse { blocks: blocks.collect() }))
    }

    /// The key of what is to be blocked. Nobody blocks users of this server, or the server itself, in this way.
    fn key(&self, kind: BlockKind, name: &str) -> Result<i16, Status> {
        storable("name", name)?;
        let own_name = self.app.config.server.name.as_str();
        let is_right = match kind {
            BlockKind::Unspecified => return Err(invalid("kind", "is not set")),
            BlockKind::Server => <&ServerName>::try_from(name).is_ok() && name != own_name,
            BlockKind::User => <&UserId>::try_from(name).is_ok_and(|user| user.server_name() != own_name),
            BlockKind::Room => <&RoomId>::try_from(name).is_ok(),
        };
        if !is_right {
            return Err(invalid("name", "is not the name of another server, a user of one, or a room"));
        }
        Ok(i16::try_from(i32::from(kind)).unwrap_or(0))
    }
}

#[tonic::async_trait]
impl BlockService for Service {
    async fn list_blocks(
        &self,
        request: Request<ListBlocksRequest>,
    ) -> Result<Response<ListBlocksResponse>, Status> {
        self.list(request.into_inner()).await
    }
}

#[tonic::async_trait]
impl FederationAdminService for Service {
    #[instrument(name = "rpc.operator.block", skip_all)]
    async fn block(&self, request: Request<BlockRequest>) -> Result<Response<BlockResponse>, Status> {
        let request = request.into_inner();
        let kind = self.key(request.kind(), &request.name)?;
        storable("reason", &request.reason)?;
        if request.reason.len() > MAX_REASON {
            return Err(invalid("reason", format!("exceeds {MAX_REASON} bytes")));
        }
        let BlockRequest { name, reason, .. } = request;
        let block = federation_blocks::Block { kind, name, reason, created_ts: now_ms() };
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        federation_blocks::put(&mut conn, &block).await.map_err(|error| failed(&error))?;
        info!(name = block.name, "an operator has blocked something");
        Ok(Response::new(BlockResponse {}))
    }

    #[instrument(name = "rpc.operator.unblock", skip_all)]
    async fn unblock(&self, request: Request<UnblockRequest>) -> Result<Response<UnblockResponse>, Status> {
        let request = request.into_inner();
        let kind = self.key(request.kind(), &request.name)?;
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let found = federation_blocks::delete(&mut conn, (kind, &request.name)).await;
        if !found.map_err(|error| failed(&error))? {
            return Err(not_found("it is not blocked"));
        }
        info!(name = request.name, "an operator has lifted a block");
        Ok(Response::new(UnblockResponse {}))
    }

    #[instrument(name = "rpc.operator.list_blocks", skip_all)]
    async fn list_blocks(
        &self,
        request: Request<ListBlocksRequest>,
    ) -> Result<Response<ListBlocksResponse>, Status> {
        self.list(request.into_inner()).await
    }

    #[instrument(name = "rpc.operator.list_membership_sagas", skip_all)]
    async fn list_membership_sagas(
        &self,
        request: Request<ListMembershipSagasRequest>,
    ) -> Result<Response<ListMembershipSagasResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => LISTED,
            limit => limit.min(MAX_LISTED),
        };
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let rows = membership_sagas::list(&mut conn, i64::from(limit)).await;
        let sagas = rows.map_err(|error| failed(&error))?.into_iter().map(membership_saga::message);
        Ok(Response::new(ListMembershipSagasResponse { sagas: sagas.collect() }))
    }
}
