//! The listener for operators' machines: health and metrics over HTTP.

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};

use crate::{ready::Readiness, telemetry::Telemetry};

/// `/health/live`, `/health/ready` and `/metrics`.
pub fn router(readiness: Readiness, telemetry: Telemetry) -> Router {
    Router::new()
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready).with_state(readiness))
        .route("/metrics", get(metrics).with_state(telemetry))
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let missing = readiness.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", missing.join(", ")))
}

async fn metrics(State(telemetry): State<Telemetry>) -> impl IntoResponse {
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], telemetry.render())
}
