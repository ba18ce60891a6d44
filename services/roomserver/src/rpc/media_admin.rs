//! `MediaAdminService`: what operators ask of media.

mod change;
mod list;
mod sweep;

use futures::stream::BoxStream;
use plexus_proto::operator::v1::{
    DeleteMediaRequest, DeleteMediaResponse, GetMediaRequest, GetMediaResponse, GetMediaUsageRequest,
    GetMediaUsageResponse, ListMediaRequest, ListMediaResponse, PurgeMediaRequest, PurgeMediaResponse,
    PurgeUserMediaRequest, PurgeUserMediaResponse, SetQuarantineRequest, SetQuarantineResponse,
    SetUserQuarantineRequest, SetUserQuarantineResponse,
    media_admin_service_server::{MediaAdminService, MediaAdminServiceServer},
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::check::failed;
use crate::{app::App, store::pool};

#[derive(Clone)]
struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> MediaAdminServiceServer<impl MediaAdminService> {
    MediaAdminServiceServer::new(Service { app: app.clone() })
}

impl Service {
    /// A connection for what may look at much.
    async fn conn(&self) -> Result<pool::PooledConnection, Status> {
        pool::get(&self.app.search_pool).await.map_err(|error| failed(&error))
    }
}

#[tonic::async_trait]
impl MediaAdminService for Service {
    #[instrument(name = "rpc.operator.list_media", skip_all)]
    async fn list_media(
        &self,
        request: Request<ListMediaRequest>,
    ) -> Result<Response<ListMediaResponse>, Status> {
        self.list(request.into_inner()).await.map(Response::new)
    }

    #[instrument(name = "rpc.operator.get_media", skip_all)]
    async fn get_media(
        &self,
        request: Request<GetMediaRequest>,
    ) -> Result<Response<GetMediaResponse>, Status> {
        self.get(request.into_inner()).await.map(Response::new)
    }

    #[instrument(name = "rpc.operator.get_media_usage", skip_all)]
    async fn get_media_usage(
        &self,
        request: Request<GetMediaUsageRequest>,
    ) -> Result<Response<GetMediaUsageResponse>, Status> {
        self.usage(request.into_inner()).await.map(Response::new)
    }

    #[instrument(name = "rpc.operator.set_quarantine", skip_all)]
    async fn set_quarantine(
        &self,
        request: Request<SetQuarantineRequest>,
    ) -> Result<Response<SetQuarantineResponse>, Status> {
        self.quarantine(request.into_inner()).await.map(Response::new)
    }

    type SetUserQuarantineStream = BoxStream<'static, Result<SetUserQuarantineResponse, Status>>;

    #[instrument(name = "rpc.operator.set_user_quarantine", skip_all)]
    async fn set_user_quarantine(
        &self,
        request: Request<SetUserQuarantineRequest>,
    ) -> Result<Response<Self::SetUserQuarantineStream>, Status> {
        self.clone().quarantine_user(request.into_inner()).map(Response::new)
    }

    #[instrument(name = "rpc.operator.delete_media", skip_all)]
    async fn delete_media(
        &self,
        request: Request<DeleteMediaRequest>,
    ) -> Result<Response<DeleteMediaResponse>, Status> {
        self.delete(request.into_inner()).await.map(Response::new)
    }

    #[instrument(name = "rpc.operator.purge_user_media", skip_all)]
    async fn purge_user_media(
        &self,
        request: Request<PurgeUserMediaRequest>,
    ) -> Result<Response<PurgeUserMediaResponse>, Status> {
        self.purge_user(request.into_inner()).await.map(Response::new)
    }

    type PurgeMediaStream = BoxStream<'static, Result<PurgeMediaResponse, Status>>;

    #[instrument(name = "rpc.operator.purge_media", skip_all)]
    async fn purge_media(
        &self,
        request: Request<PurgeMediaRequest>,
    ) -> Result<Response<Self::PurgeMediaStream>, Status> {
        self.clone().purge(request.into_inner()).map(Response::new)
    }
}
