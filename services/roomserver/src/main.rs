//! `plexus-roomserver`: the room server as a process of its own.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use plexus_log::kafka::{self, KafkaConfig};
use plexus_service::{grpc, token};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long an append to an output log waits for its acknowledgement.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    plexus_service::run::main("plexus-roomserver", |context| async move {
        let config = &context.config;
        let at_work = context.readiness.part("room server");
        context.serve_admin(&config.roomserver.admin_http).await?;
        let log = kafka::open(KafkaConfig::new(&config.log, APPEND_TIMEOUT)?);
        let log = log.await.context("cannot open the logs")?;
        let server = plexus_roomserver::start(plexus_roomserver::Deps {
            config: Arc::clone(config),
            log: log.clone(),
            shutdown: context.shutdown.clone(),
        });
        let server = server.await?;
        let listeners = [
            (
                "rpc",
                &config.roomserver.listen,
                server.routes(),
                plexus_proto::ROOM_SERVER_SERVICES,
                token::find_or_make("rpc", &config.rpc)?,
            ),
            (
                "operator",
                &config.roomserver.operator_listen,
                server.operator_routes(),
                plexus_proto::OPERATOR_SERVICES,
                token::find_or_make("operator", &config.operator)?,
            ),
        ];
        for (name, listener, routes, services, token) in listeners {
            grpc::serve(name, listener, routes, services, &token, &context.readiness, &context.shutdown)
                .await?;
        }
        at_work.follow(&context.shutdown, move || {
            let server = server.clone();
            async move { server.ready().await }
        });
        Ok(async move { log.close().await })
    })
}
