//! `GET /_matrix/federation/v1/version`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1version)

use axum::response::IntoResponse as _;
use axum::response::Response;
use plexus_matrix_http::{JsonObject, MatrixError};
use plexus_service::telemetry::VERSION;
use serde_json::json;

pub(crate) async fn handler() -> Result<Response, MatrixError> {
    let answer = json!({ "server": { "name": "Plexus", "version": VERSION } });
    Ok(JsonObject::of(&answer)?.into_response())
}
