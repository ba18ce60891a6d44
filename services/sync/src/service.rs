//! The service: followers of both output logs, the view they keep, and what requests need.

use std::sync::Arc;

use plexus_log::Log;
use plexus_matrix_http::Edge;
use plexus_service::{RpcChannel, Shutdown, config::SyncConfig, ready::Part};

use crate::{
    acks::Acks,
    consumers::{Follower, Live, Rooms, Users},
    endpoint::{Effort, Filters, LazyMembers, sliding::Bounds},
    metrics,
    positions::Positions,
    upstream::Upstream,
    view::View,
};

/// Client sync; cheap to clone.
#[derive(Clone)]
pub struct SyncService {
    pub(crate) positions: Arc<Positions>,
    pub(crate) view: Arc<View>,
    pub(crate) upstream: Upstream,
    pub(crate) filters: Filters,
    pub(crate) lazy_members: LazyMembers,
    pub(crate) effort: Effort,
    pub(crate) acks: Acks,
    pub(crate) bounds: Bounds,
    pub(crate) shutdown: Shutdown,
    pub(crate) edge: Edge,
}

impl SyncService {
    /// Starts following the logs. The service is ready once `ready` says so: when both followers know where they are.
    ///
    /// `rooms` leads to any instance of the room server, and `edge` lets requests in. A log that lacks what was committed fails the process through
    /// `shutdown`.
    #[must_use]
    pub fn start(
        log: Log,
        rooms: RpcChannel,
        edge: Edge,
        config: &SyncConfig,
        ready: Part,
        shutdown: Shutdown,
    ) -> Self {
        metrics::describe();
        let live_log = log.clone();
        let acks = Acks::default();
        shutdown.spawn(acks.clone().run(log.clone(), shutdown.clone()));
        let upstream = Upstream::new(rooms);
        let view = Arc::new(View::new(upstream.clone(), config));
        let positions = Arc::new(Positions::new());
        let both = plexus_service::ready::Readiness::new();
        let feed = Rooms::new(Arc::clone(&view), upstream.clone(), Arc::clone(&positions));
        let follower = Follower::new(log.clone(), feed, both.part("rooms"), shutdown.clone());
        shutdown.spawn(follower.run());
        let feed = Users::new(Arc::clone(&view), upstream.clone(), Arc::clone(&positions));
        let follower = Follower::new(log, feed, both.part("users"), shutdown.clone());
        shutdown.spawn(follower.run());
        let live = Live::new(live_log, Arc::clone(&view), Arc::clone(&positions), shutdown.clone());
        shutdown.spawn(live.run());
        shutdown.spawn({
            let shutdown = shutdown.clone();
            async move {
                let mut known = false;
                ready.set(known);
                loop {
                    tokio::select! {
                        now = both.changed_from(known) => known = now,
                        () = shutdown.requested() => {
                            ready.set(false);
                            return;
                        }
                    }
                    ready.set(known);
                }
            }
        });
        Self {
            positions,
            view,
            upstream,
            filters: Filters::new(),
            lazy_members: LazyMembers::new(),
            effort: Effort::new(),
            acks,
            bounds: Bounds::default(),
            shutdown,
            edge,
        }
    }
}

impl std::fmt::Debug for SyncService {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SyncService").finish_non_exhaustive()
    }
}
