//! `plexus-sync`: client sync as a process of its own.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use plexus_log::kafka::KafkaConfig;
use plexus_matrix_http::{Authenticator, Edge};
use plexus_service::RoomServers;
use plexus_sync::SyncService;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    plexus_service::run::main("plexus-sync", |context| async move {
        let config = &context.config;
        let log = plexus_log::kafka::open(KafkaConfig::new(&config.log, APPEND_TIMEOUT)?);
        let log = log.await.context("cannot open the logs")?;
        log.create_topics().await.context("cannot create the topics")?;
        let rooms = RoomServers::connect(config)?;
        context.serve_admin(&config.sync.admin_http).await?;
        let sync = SyncService::start(
            log.clone(),
            rooms.any.clone(),
            Edge::new(config, Authenticator::leasing(rooms, &context.shutdown)),
            &config.sync,
            context.readiness.part("sync"),
            context.shutdown.clone(),
        );
        let router = plexus_matrix_http::apply_layers(plexus_sync::router(sync));
        let (http, shutdown) = (&config.http, &context.shutdown);
        plexus_service::http::serve_clients("client", &config.sync.listen, http, router, shutdown).await?;
        Ok(async move {
            if tokio::time::timeout(Duration::from_secs(5), log.close()).await.is_err() {
                tracing::warn!("log did not close in time");
            }
        })
    })
}

/// This service appends nothing.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);
