//! `plexus-federation`: talking with other homeservers as a process of its own.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use plexus_federation::{Deps, Federation};
use plexus_input::Connect;
use plexus_log::kafka::{self, KafkaConfig};
use plexus_matrix_http::{Authenticator, Edge};
use plexus_service::{RoomServers, grpc, token};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long an append to a log waits for its acknowledgement, before it is tried again.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    plexus_service::run::main("plexus-federation", |context| async move {
        let config = &context.config;
        ensure!(config.federation.enabled, "`enabled` in [federation] is false");
        let log = kafka::open(KafkaConfig::new(&config.log, APPEND_TIMEOUT)?);
        let log = log.await.context("cannot open the logs")?;
        log.create_topics().await.context("cannot create the topics")?;
        let rooms = RoomServers::connect(config)?;
        context.serve_admin(&config.federation.admin_http).await?;
        let media = rooms.dialer.connect_any(&config.media.endpoints);
        let media = media.context("`endpoints` in [media] must hold URLs of the media service")?;
        let federation = Federation::new(Deps {
            media,
            config: Arc::clone(config),
            log: log.clone(),
            rooms: rooms.any.clone(),
            connect: Connect::Network { dialer: rooms.dialer.clone() },
            edge: Edge::new(config, Authenticator::new(rooms.any)),
        })?;
        let (listener, routes) = (&config.federation.rpc_listen, federation.rpc_routes());
        let token = token::find_or_make("rpc", &config.rpc)?;
        let services = plexus_proto::FEDERATION_SERVICES;
        let (readiness, shutdown) = (&context.readiness, &context.shutdown);
        grpc::serve("federation-rpc", listener, routes, services, &token, readiness, shutdown).await?;
        federation.serve(&context.shutdown).await?;
        Ok(async move { log.close().await })
    })
}
