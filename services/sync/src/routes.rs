//! The routes. Layers are put around them by the process, which may serve others beside.

use axum::Router;
use plexus_matrix_http::{Policy, Routes, get, post};

use crate::{SyncService, endpoint, limits};

/// Whoever waits for news costs little; the handler counts what begins anew.
const SYNC: Policy = Policy::read(1);
/// The same, with a body.
const SLIDING_SYNC: Policy = Policy::read(1).body(limits::SLIDING_BODY);
/// Looks through the timelines of all rooms.
const NOTIFICATIONS: Policy = Policy::expensive_read(10);

/// Routes `GET /_matrix/client/{r0,v3}/sync`, sliding sync, and what is answered from the same view.
pub fn router(service: SyncService) -> Router {
    Routes::new(service.edge.clone())
        .route("/_matrix/client/v3/sync", get(SYNC, endpoint::handler))
        .route("/_matrix/client/r0/sync", get(SYNC, endpoint::handler))
        .route(
            "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
            post(SLIDING_SYNC, endpoint::sliding::deployed),
        )
        .route("/_matrix/client/v4/sync", post(SLIDING_SYNC, endpoint::sliding::merged))
        .route("/_matrix/client/v3/notifications", get(NOTIFICATIONS, endpoint::notifications::handler))
        .route("/_matrix/client/r0/notifications", get(NOTIFICATIONS, endpoint::notifications::handler))
        .route("/_matrix/client/v3/events", get(SYNC, endpoint::events::handler))
        .route("/_matrix/client/r0/events", get(SYNC, endpoint::events::handler))
        .with_state(service)
}
