//! Running until told to stop.

mod cli;
mod shutdown;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

pub use shutdown::Shutdown;

use crate::{
    admin,
    config::{Config, Listener},
    http,
    ready::Readiness,
    telemetry::{self, Telemetry},
};

/// Name of the part of readiness that stands for the start itself; `start` functions that wait for the others skip it.
pub const START: &str = "start";

/// How long tasks may take to end.
const FINISH: Duration = Duration::from_secs(20);
/// How long what comes after the tasks may take.
const CLOSE: Duration = Duration::from_secs(20);

/// What a service starts with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The configuration.
    pub config: Arc<Config>,
    /// Tells tasks to stop; `main` requests it on SIGTERM and SIGINT.
    pub shutdown: Shutdown,
    /// What the process waits for before it is ready.
    pub readiness: Readiness,
    /// Metrics.
    pub telemetry: Telemetry,
}

impl Context {
    /// Serves health and metrics.
    pub async fn serve_admin(&self, listener: &Listener) -> Result<(), http::ServeError> {
        let router = admin::router(self.readiness.clone(), self.telemetry.clone());
        http::serve("admin", listener, router, &self.shutdown).await?;
        Ok(())
    }
}

/// The `main` of every service: reads the command line and the configuration, starts telemetry and the runtime, calls
/// `start`, and runs until SIGTERM, SIGINT or a fatal failure.
///
/// `start` returns once everything is started, with what is to be done after all tasks of [`Context::shutdown`] have
/// ended: `std::future::ready(())` if that is nothing.
pub fn main<F, S, C>(service: &'static str, start: F) -> ExitCode
where
    F: FnOnce(Context) -> S,
    S: Future<Output = anyhow::Result<C>>,
    C: Future<Output = ()>,
{
    let cli = cli::parse(service);
    match prepare(service, &cli) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some((runtime, config, telemetry))) => {
            let code = runtime.block_on(run(service, config, telemetry, start));
            // Whatever blocks by now must not keep the process.
            runtime.shutdown_timeout(Duration::from_secs(1));
            code
        }
        Err(error) => {
            crate::errln!("{service}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

type Prepared = (tokio::runtime::Runtime, Arc<Config>, Telemetry);

fn prepare(service: &'static str, cli: &cli::Cli) -> anyhow::Result<Option<Prepared>> {
    let config = Arc::new(Config::load(&cli.config)?);
    if cli.check_config {
        crate::outln!("{} holds", cli.config.display());
        return Ok(None);
    }
    let telemetry = telemetry::init(&config.telemetry, service)?;
    http::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name(service)
        .build()
        .context("cannot start the runtime")?;
    Ok(Some((runtime, config, telemetry)))
}

async fn run<F, S, C>(service: &'static str, config: Arc<Config>, telemetry: Telemetry, start: F) -> ExitCode
where
    F: FnOnce(Context) -> S,
    S: Future<Output = anyhow::Result<C>>,
    C: Future<Output = ()>,
{
    let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
    telemetry.start_upkeep(&shutdown);
    // Until `start` has returned nothing is ready, whatever its parts say by then.
    let started = readiness.part(START);
    let context = Context { config, shutdown: shutdown.clone(), readiness: readiness.clone(), telemetry };
    let starting = async {
        let close = start(context).await?;
        started.set(true);
        anyhow::Ok(close)
    };
    let close = tokio::select! {
        close = starting => close,
        stop = told_to_stop() => {
            info!(stop, "stopping before the start was complete");
            shutdown.finish(FINISH).await;
            return ExitCode::SUCCESS;
        }
    };
    let close = match close {
        Ok(close) => close,
        Err(failure) => {
            error!(service, "cannot start: {failure:#}");
            shutdown.finish(FINISH).await;
            return ExitCode::FAILURE;
        }
    };
    let announce = async {
        readiness.ready().await;
        info!(service, version = telemetry::VERSION, "ready");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        stop = told_to_stop() => info!(stop, "stopping"),
        () = shutdown.requested() => {}
        () = announce => {}
    }
    started.set(false);
    drain(&shutdown, close).await;
    match shutdown.failure() {
        Some(failure) => {
            error!(service, failure, "stopped by a failure");
            ExitCode::FAILURE
        }
        None => {
            info!(service, "stopped");
            ExitCode::SUCCESS
        }
    }
}

async fn drain(shutdown: &Shutdown, close: impl Future<Output = ()>) {
    let orderly = async {
        if !shutdown.finish(FINISH).await {
            warn!("some tasks did not end in time");
        }
        if tokio::time::timeout(CLOSE, close).await.is_err() {
            warn!("closing took too long");
        }
    };
    tokio::select! {
        () = orderly => {}
        stop = told_to_stop() => warn!(stop, "told to stop twice, stopping at once"),
    }
}

/// Completes with the name of the signal. Without signal handlers there is no orderly end; that is not worth dying for.
async fn told_to_stop() -> &'static str {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        warn!("cannot listen for signals");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
