//! `RoomDirectoryService`: aliases.

use plexus_proto::room::v1::{
    ListAliasesRequest, ListAliasesResponse, ResolveAliasRequest, ResolveAliasResponse,
    room_directory_service_server::{RoomDirectoryService, RoomDirectoryServiceServer},
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    check::{self, failed, forbidden, not_found},
    rooms,
};
use crate::{
    app::App,
    store::{pool, reads},
};

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> RoomDirectoryServiceServer<impl RoomDirectoryService> {
    RoomDirectoryServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl RoomDirectoryService for Service {
    #[instrument(name = "rpc.directory.resolve_alias", skip_all)]
    async fn resolve_alias(
        &self,
        request: Request<ResolveAliasRequest>,
    ) -> Result<Response<ResolveAliasResponse>, Status> {
        let ResolveAliasRequest { alias } = request.into_inner();
        check::alias("alias", &alias)?;
        check::storable("alias", &alias)?;
        let conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let rows = reads::aliases::find(&conn, &alias).await.map_err(|error| failed(&error))?;
        let row = rows.into_iter().next().ok_or_else(|| not_found("there is no such alias"))?;
        Ok(Response::new(ResolveAliasResponse { room_id: row.room_id, creator: row.creator }))
    }

    #[instrument(name = "rpc.directory.list_aliases", skip_all, fields(room.id = %request.get_ref().room_id))]
    async fn list_aliases(
        &self,
        request: Request<ListAliasesRequest>,
    ) -> Result<Response<ListAliasesResponse>, Status> {
        let ListAliasesRequest { room_id, viewer } = request.into_inner();
        let conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let view = rooms::view(&self.app, &conn, &room_id, &viewer).await?;
        // Who has left may read what was; the aliases are those of now.
        if view.viewer.is_some_and(|viewer| !viewer.access.sees_now()) {
            return Err(forbidden("you are not a member of the room"));
        }
        let rows = reads::aliases::list(&conn, &room_id).await.map_err(|error| failed(&error))?;
        Ok(Response::new(ListAliasesResponse { aliases: rows.into_iter().map(|(alias,)| alias).collect() }))
    }
}
