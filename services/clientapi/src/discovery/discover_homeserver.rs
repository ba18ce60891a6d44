//! `GET /.well-known/matrix/client`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient)

use axum::extract::State;
use plexus_matrix_http::{Matrix, MatrixError};
use ruma::api::client::discovery::discover_homeserver::{HomeserverInfo, Response};
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.discover_homeserver", skip_all)]
pub(crate) async fn handler(State(app): State<App>) -> Result<Matrix<Response>, MatrixError> {
    let base_url = &app.config.server.public_base_url;
    if base_url.is_empty() {
        return Err(MatrixError::not_found("This server does not announce a base URL"));
    }
    Ok(Matrix(Response::new(HomeserverInfo::new(base_url.clone()))))
}
