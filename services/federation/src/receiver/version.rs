//! `GET /_matrix/federation/v1/version`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1version)

use plexus_matrix_http::{JsonObject, MatrixError};
use plexus_service::telemetry::VERSION;
use serde_json::json;

pub(crate) async fn handler() -> Result<JsonObject, MatrixError> {
    JsonObject::of(&json!({ "server": { "name": "Plexus", "version": VERSION } }))
}
