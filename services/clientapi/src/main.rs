//! `plexus-clientapi`: the client-server API as a process of its own.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use plexus_clientapi::{App, AppDeps};
use plexus_input::Connect;
use plexus_log::kafka::{self, KafkaConfig};
use plexus_matrix_http::{Authenticator, Edge};
use plexus_service::{Config, Dialer, RoomServers, RpcChannel, http};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long an append to an input log waits for its acknowledgement, before it is tried again.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The federation service, if this server talks with others.
fn federation(config: &Config, dialer: &Dialer) -> anyhow::Result<Option<RpcChannel>> {
    if !config.federation.enabled {
        return Ok(None);
    }
    let channel = dialer.connect_any(&config.federation.endpoints);
    channel.map(Some).context("`endpoints` in [federation] must hold URLs of the federation service")
}

fn main() -> ExitCode {
    plexus_service::run::main("plexus-clientapi", |context| async move {
        let config = &context.config;
        context.serve_admin(&config.clientapi.admin_http).await?;
        let log = kafka::open(KafkaConfig::new(&config.log, APPEND_TIMEOUT)?);
        let log = log.await.context("cannot open the logs")?;
        let rooms = RoomServers::connect(config)?;
        let app = App::new(AppDeps {
            config: Arc::clone(config),
            log: log.clone(),
            users: rooms.any.clone(),
            rooms: rooms.any.clone(),
            federation: federation(config, &rooms.dialer)?,
            connect: Connect::Network { dialer: rooms.dialer.clone() },
            edge: Edge::new(config, Authenticator::leasing(rooms, &context.shutdown)),
        })?;
        let router = plexus_clientapi::router(app);
        http::serve_clients("client", &config.clientapi.listen, &config.http, router, &context.shutdown)
            .await?;
        Ok(async move { log.close().await })
    })
}
