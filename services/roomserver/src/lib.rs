//! The room server: authorizes events and commands, computes room state, keeps all of it in Postgres, writes the output logs.
//!
//! It reads the input logs, applies their records with pure functions (`rooms`, `users`), commits each batch in one
//! transaction, and writes the facts to the output logs. It answers queries over gRPC. It calls no other service, and
//! its worker does no network I/O but Postgres and the logs.

mod app;
mod error_chain;
mod graph;
mod metrics;
mod rooms;
mod rpc;
mod session_leases;
mod store;
mod users;
mod visibility;
mod worker;

use std::sync::Arc;

use plexus_log::Log;
use plexus_service::{Config, Shutdown};

pub use app::{RoomServer, StartError};

/// What a room server is made of.
#[derive(Clone)]
pub struct Deps {
    /// The configuration.
    pub config: Arc<Config>,
    /// The event logs.
    pub log: Log,
    /// Tells it when to stop.
    pub shutdown: Shutdown,
}

/// Starts a room server: waits for Postgres, migrates it, joins the group and begins to work.
pub async fn start(deps: Deps) -> Result<RoomServer, StartError> {
    app::start(deps).await
}
