//! `CredentialService`: reads password hashes, for the service that verifies them.

use plexus_proto::user::v1::{
    GetPasswordHashRequest, GetPasswordHashResponse,
    credential_service_server::{CredentialService, CredentialServiceServer},
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    check::failed,
    users::{one, user},
};
use crate::{
    app::App,
    store::{pool, reads},
};

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> CredentialServiceServer<impl CredentialService> {
    CredentialServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl CredentialService for Service {
    #[instrument(name = "rpc.user.get_password_hash", skip_all, fields(user.id = %request.get_ref().user_id))]
    async fn get_password_hash(
        &self,
        request: Request<GetPasswordHashRequest>,
    ) -> Result<Response<GetPasswordHashResponse>, Status> {
        let GetPasswordHashRequest { user_id } = request.into_inner();
        user(&user_id)?;
        let conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let rows = reads::users::find_password_hash(&conn, &user_id).await;
        let (password_hash, deactivated) = one(rows, "there is no such account")?;
        Ok(Response::new(GetPasswordHashResponse {
            password_hash: password_hash.unwrap_or_default(),
            deactivated,
        }))
    }
}
