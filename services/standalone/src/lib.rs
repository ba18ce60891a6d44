//! Every service in one process: wiring, and nothing else.
//!
//! The same code as in the mesh, with the log and the calls between services inside the process: only operators reach
//! the room server's gRPC. With brokers it is one of several, and then serves the other services, too.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use plexus_clientapi::{App, AppDeps};
use plexus_federation::Federation;
use plexus_input::Connect;
use plexus_log::{
    Log,
    kafka::{self, KafkaConfig},
    memory::{self, MemoryConfig},
};
use plexus_matrix_http::{Authenticator, Edge};
use plexus_media::Media;
use plexus_roomserver::RoomServer;
use plexus_service::{
    Config, Dialer, RpcChannel, Shutdown, config::LogConfig, grpc, http::serve_clients, run::Context, token,
};
use plexus_sync::SyncService;

/// How long an append waits for its acknowledgement.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the room server may take to stop, once nobody asks it any more.
const FINISH: Duration = Duration::from_secs(15);

/// Starts everything; returns when clients are answered, with what is to be done once their requests are drained.
pub async fn start(context: Context) -> anyhow::Result<impl Future<Output = ()>> {
    let config = &context.config;
    context.serve_admin(&config.standalone.admin_http).await?;
    let log = open_log(&config.log).await.context("cannot open the logs")?;
    // Two steps of stopping: requests under way still need the room server.
    let back = Shutdown::new();
    stop_together(&context.shutdown, &back);
    let rooms = start_rooms(&context, &log, &back).await?;
    let channel = RpcChannel::in_process(rooms.routes());
    let edge = Edge::new(config, Authenticator::new(channel.clone()));
    let sync = SyncService::start(
        log.clone(),
        channel.clone(),
        edge.clone(),
        &config.sync,
        context.readiness.part("sync"),
        context.shutdown.clone(),
    );
    let media = Media::new(plexus_media::Deps {
        config: Arc::clone(config),
        log: log.clone(),
        rooms: channel.clone(),
        connect: connect(config)?,
        edge: edge.clone(),
    })?;
    media.start(&context.shutdown);
    let federation = if config.federation.enabled {
        let deps = plexus_federation::Deps {
            config: Arc::clone(config),
            log: log.clone(),
            rooms: channel.clone(),
            connect: connect(config)?,
            edge: edge.clone(),
            media: RpcChannel::in_process(media.rpc_routes()),
        };
        Some(Federation::new(deps)?)
    } else {
        None
    };
    let app = App::new(AppDeps {
        config: Arc::clone(config),
        log: log.clone(),
        edge,
        rooms: channel.clone(),
        users: channel,
        federation: federation.as_ref().map(|federation| RpcChannel::in_process(federation.rpc_routes())),
        connect: connect(config)?,
    })?;
    let routes = Router::new()
        .merge(plexus_clientapi::routes(app))
        .merge(plexus_sync::router(sync))
        .merge(plexus_media::router(media));
    // Versions and keys are told at the clients' listener, too: some reverse proxies send everything there.
    let routes = match &federation {
        Some(federation) => routes.merge(federation.open_routes()),
        None => routes,
    };
    let router = plexus_matrix_http::apply_layers(routes);

    // Whoever gets an answer from the listener finds everything at work.
    while context.readiness.missing().iter().any(|part| *part != plexus_service::run::START) {
        anyhow::ensure!(!context.shutdown.is_requested(), "stopped before everything was ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (http, shutdown) = (&config.http, &context.shutdown);
    serve_clients("client", &config.standalone.listen, http, router, shutdown).await?;
    if let Some(federation) = federation {
        federation.serve(shutdown).await?;
    }
    Ok(async move {
        if !back.finish(FINISH).await {
            tracing::warn!("the room server did not stop in time");
        }
        log.close().await;
    })
}

async fn open_log(config: &LogConfig) -> anyhow::Result<Log> {
    if config.brokers.is_empty() {
        let log = memory::open(MemoryConfig { append_timeout: APPEND_TIMEOUT, ..MemoryConfig::default() });
        return Ok(log);
    }
    Ok(kafka::open(KafkaConfig::new(config, APPEND_TIMEOUT)?).await?)
}

/// With the log in this process, its room server owns everything. With brokers there may be others.
fn connect(config: &Config) -> anyhow::Result<Connect> {
    if config.log.brokers.is_empty() {
        return Ok(Connect::InProcess);
    }
    token::find_or_make("rpc", &config.rpc)?;
    Ok(Connect::Network { dialer: Dialer::new("rpc", &config.rpc)? })
}

async fn start_rooms(context: &Context, log: &Log, back: &Shutdown) -> anyhow::Result<RoomServer> {
    let config = &context.config;
    let deps =
        plexus_roomserver::Deps { config: Arc::clone(config), log: log.clone(), shutdown: back.clone() };
    let server = plexus_roomserver::start(deps).await?;
    let mut listeners = vec![(
        "operator",
        &config.roomserver.operator_listen,
        server.operator_routes(),
        plexus_proto::OPERATOR_SERVICES,
        token::find_or_make("operator", &config.operator)?,
    )];
    if !config.log.brokers.is_empty() {
        let token = token::find_or_make("rpc", &config.rpc)?;
        let services = plexus_proto::ROOM_SERVER_SERVICES;
        listeners.push(("rpc", &config.roomserver.listen, server.routes(), services, token));
    }
    for (name, listener, routes, services, token) in listeners {
        grpc::serve(name, listener, routes, services, &token, &context.readiness, &context.shutdown).await?;
    }
    let probed = server.clone();
    context.readiness.part("room server").follow(&context.shutdown, move || {
        let server = probed.clone();
        async move { server.ready().await }
    });
    Ok(server)
}

/// A failure of the room server stops the process.
fn stop_together(front: &Shutdown, back: &Shutdown) {
    let (first, second) = (front.clone(), back.clone());
    front.spawn(async move {
        tokio::select! {
            () = first.requested() => {}
            () = second.requested() => {
                first.fail(second.failure().unwrap_or("the room server stopped by itself"));
            }
        }
    });
}
