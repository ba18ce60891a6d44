//! The routes. Layers are put around them by the process, which may serve others beside.

use axum::{Router, routing::get};

use crate::{SyncService, endpoint};

/// Routes `GET /_matrix/client/{r0,v3}/sync` and what is answered from the same view.
pub fn router(service: SyncService) -> Router {
    Router::new()
        .route("/_matrix/client/v3/sync", get(endpoint::handler))
        .route("/_matrix/client/r0/sync", get(endpoint::handler))
        .route("/_matrix/client/v3/notifications", get(endpoint::notifications::handler))
        .route("/_matrix/client/r0/notifications", get(endpoint::notifications::handler))
        .route("/_matrix/client/v3/events", get(endpoint::events::handler))
        .route("/_matrix/client/r0/events", get(endpoint::events::handler))
        .with_state(service)
}
