//! Log lines and metrics of a process.

use std::{io::IsTerminal as _, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    config::{LogFormat, TelemetryConfig},
    metrics,
    run::Shutdown,
};

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit of this build: `PLEXUS_COMMIT` of the build's environment, or what git told a release build.
pub const COMMIT: &str = env!("PLEXUS_BUILT_FROM");

/// Libraries that tell at `info` what belongs at `debug`: several times for each event, or Postgres's notices.
const QUIET: &str = "ruma_state_res=warn,tokio_postgres=warn";

/// How often histograms fold in what was recorded; without it they grow until somebody reads the metrics.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds of all histograms of durations, in seconds.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Upper bounds of all histograms of counts, such as records in a batch.
const COUNTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The directives make no sense.
    #[error("`level` in [telemetry] is not a level or a list of directives: {level}")]
    Level {
        /// What the configuration says.
        level: String,
        /// Why not.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else logs or records metrics in this process already.
    #[error("telemetry was started twice in one process: {message}")]
    Twice {
        /// What it said.
        message: String,
    },
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Telemetry {
    prometheus: PrometheusHandle,
}

impl Telemetry {
    /// The metrics in Prometheus's text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.prometheus.render()
    }

    /// Starts the regular upkeep of the metrics.
    pub fn start_upkeep(&self, shutdown: &Shutdown) {
        let (prometheus, stopping) = (self.prometheus.clone(), shutdown.clone());
        shutdown.spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                tokio::select! {
                    () = stopping.requested() => return,
                    _ = ticks.tick() => prometheus.run_upkeep(),
                }
            }
        });
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

/// Starts logging and metrics; once in a process.
pub fn init(config: &TelemetryConfig, service: &'static str) -> Result<Telemetry, TelemetryError> {
    // The configuration's own directives come later, and so win.
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.level))
        .map_err(|source| TelemetryError::Level { level: config.level.clone(), source })?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    match config.format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(|error| TelemetryError::Twice { message: error.to_string() })?;
    log_panics();

    let prometheus = recorder().map_err(|error| TelemetryError::Twice { message: error.to_string() })?;
    metrics::describe();
    ::metrics::gauge!(metrics::BUILD_INFO, "service" => service, "version" => VERSION, "commit" => COMMIT)
        .set(1.0);
    Ok(Telemetry { prometheus })
}

fn recorder() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    use metrics_exporter_prometheus::Matcher;
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), &COUNTS)?
        .install_recorder()
}

/// A panic is a bug in whatever task it ends; it must be seen even if nobody awaits the task.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let message =
            text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        ::metrics::counter!(metrics::PANICS).increment(1);
        tracing::error!(location, message, "a task panicked");
    }));
}
