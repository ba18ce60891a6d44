//! `plexus-conformance attack`

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;

use super::run::{Against, runtime};
use crate::{
    attacks::{self, Findings, Plan},
    server::Target,
};

/// Most findings that are printed.
const SHOWN: usize = 20;

/// Against what, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    against: Against,
    /// How many requests.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    requests: u64,
    /// What the requests follow from: the same seed makes the same.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Only operations whose name contains this.
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Only the request with this number, as a finding names it.
    #[arg(long, value_name = "N")]
    number: Option<u64>,
    /// How many silent connections of each of six kinds to hold open.
    #[arg(long, default_value_t = 50, value_name = "N")]
    silent: usize,
    /// Within how many seconds the server has to close them.
    #[arg(long, value_name = "SECONDS")]
    silent_for: Option<u64>,
    /// Log of the server: a panic in it is a finding.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Attacks a server that is there already; whether it stood it.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let target = Arc::new(Target::new(&options.against.url, &options.against.server_name)?);
    let plan = Plan {
        requests: options.requests,
        seed: options.seed,
        at_once: options.against.at_once,
        only: options.only.clone(),
        number: options.number,
        silent: options.silent,
        silent_for: options.silent_for.map(Duration::from_secs),
    };
    outln!("{} requests from seed {}", plan.requests, plan.seed);
    let mut findings = runtime()?.block_on(attacks::run(&target, plan))?;
    if let Some(log) = &options.log {
        let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        let panics = text.lines().filter(|line| line.contains("panicked at"));
        findings.wrong.extend(panics.map(|line| format!("the server's log says: {line}")));
    }
    Ok(summary(&findings))
}

fn summary(findings: &Findings) -> bool {
    for wrong in findings.wrong.iter().take(SHOWN) {
        outln!("--- {wrong}");
    }
    let answers: usize = findings.answers.values().sum();
    outln!("{answers} requests, {} findings", findings.wrong.len());
    findings.wrong.is_empty()
}
