//! `GET /.well-known/matrix/server`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver)
//!
//! Other servers ask for it where the name of the server leads, which is where clients connect.

use axum::extract::State;
use plexus_matrix_http::{JsonObject, MatrixError};
use serde_json::json;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.discover_server", skip_all)]
pub(crate) async fn handler(State(app): State<App>) -> Result<JsonObject, MatrixError> {
    let config = &app.config.federation;
    if !config.enabled || config.well_known.is_empty() {
        return Err(MatrixError::not_found("This server does not say where other servers find it"));
    }
    JsonObject::of(&json!({ "m.server": config.well_known }))
}
