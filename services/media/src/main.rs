//! `plexus-media`: media as a process of its own.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use plexus_input::Connect;
use plexus_log::kafka::{self, KafkaConfig};
use plexus_matrix_http::{Authenticator, Edge};
use plexus_media::{Deps, Media};
use plexus_service::{RoomServers, grpc, http, token};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long an append to an input log waits for its acknowledgement, before it is tried again.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    plexus_service::run::main("plexus-media", |context| async move {
        let config = &context.config;
        context.serve_admin(&config.media.admin_http).await?;
        let log = kafka::open(KafkaConfig::new(&config.log, APPEND_TIMEOUT)?);
        let log = log.await.context("cannot open the logs")?;
        log.create_topics().await.context("cannot create the topics")?;
        let rooms = RoomServers::connect(config)?;
        let media = Media::new(Deps {
            config: Arc::clone(config),
            log: log.clone(),
            rooms: rooms.any.clone(),
            connect: Connect::Network { dialer: rooms.dialer.clone() },
            edge: Edge::new(config, Authenticator::leasing(rooms, &context.shutdown)),
        })?;
        let token = token::find_or_make("rpc", &config.rpc)?;
        let (readiness, shutdown) = (&context.readiness, &context.shutdown);
        let services = plexus_proto::MEDIA_SERVICES;
        let (listener, routes) = (&config.media.rpc_listen, media.rpc_routes());
        grpc::serve("media-rpc", listener, routes, services, &token, readiness, shutdown).await?;
        media.start(shutdown);
        let router = plexus_matrix_http::apply_layers(plexus_media::router(media));
        http::serve_clients("client", &config.media.listen, &config.http, router, shutdown).await?;
        Ok(async move { log.close().await })
    })
}
