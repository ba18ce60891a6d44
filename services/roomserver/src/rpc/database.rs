//! `DatabaseService`: tells the generation of the database.

use plexus_proto::operator::v1::{
    GetGenerationRequest, GetGenerationResponse, RaiseGenerationRequest, RaiseGenerationResponse,
    database_service_server::{DatabaseService, DatabaseServiceServer},
};
use tonic::{Request, Response, Status};
use tracing::{instrument, warn};

use super::check::{failed, unsigned};
use crate::{
    app::App,
    store::{generation, pool},
};

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> DatabaseServiceServer<impl DatabaseService> {
    DatabaseServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl DatabaseService for Service {
    #[instrument(name = "rpc.operator.get_generation", skip_all)]
    async fn get_generation(
        &self,
        _request: Request<GetGenerationRequest>,
    ) -> Result<Response<GetGenerationResponse>, Status> {
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let generation = generation::get(&mut conn).await.map_err(|error| failed(&error))?;
        Ok(Response::new(GetGenerationResponse { generation: unsigned(generation) }))
    }

    #[instrument(name = "rpc.operator.raise_generation", skip_all)]
    async fn raise_generation(
        &self,
        _request: Request<RaiseGenerationRequest>,
    ) -> Result<Response<RaiseGenerationResponse>, Status> {
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let generation = generation::raise(&mut conn).await.map_err(|error| failed(&error))?;
        warn!(generation, "the generation of the database was raised: clients are told everything anew");
        Ok(Response::new(RaiseGenerationResponse { generation: unsigned(generation) }))
    }
}
