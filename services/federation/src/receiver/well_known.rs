//! `GET /.well-known/matrix/server`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver)

use axum::extract::State;
use plexus_matrix_http::{JsonObject, MatrixError};
use serde_json::json;

use crate::Federation;

pub(crate) async fn handler(State(federation): State<Federation>) -> Result<JsonObject, MatrixError> {
    let server = &federation.config.federation.well_known;
    if server.is_empty() {
        return Err(MatrixError::not_found("This server is not delegated"));
    }
    JsonObject::of(&json!({ "m.server": server }))
}
