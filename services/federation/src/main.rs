//! `plexus-federation`: talking with other homeservers as a process of its own.

use std::process::ExitCode;

use anyhow::ensure;
use plexus_federation::{Deps, Federation};
use plexus_matrix_http::{Authenticator, Edge};
use plexus_service::RoomServers;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    plexus_service::run::main("plexus-federation", |context| async move {
        let config = &context.config;
        ensure!(config.federation.enabled, "`enabled` in [federation] is false");
        let rooms = RoomServers::connect(config)?;
        context.serve_admin(&config.federation.admin_http).await?;
        let federation = Federation::new(Deps {
            config: config.clone(),
            rooms: rooms.any.clone(),
            edge: Edge::new(config, Authenticator::new(rooms.any)),
        })?;
        federation.serve(&context.shutdown).await?;
        Ok(std::future::ready(()))
    })
}
