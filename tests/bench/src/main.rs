//! `plexus-bench`: a load generator for any Matrix homeserver with open registration and no rate limits.
//!
//! It speaks only the client-server API, so that different servers face the same load. Latencies of paced load count
//! from the moment at which a request was due, so that a server that stalls does not hide it.

mod account;
mod client;
mod closed;
mod paced;
mod report;
mod setup;
mod verify;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use plexus_service::errln;

#[derive(Parser)]
#[command(name = "plexus-bench", about = "Measures a Matrix homeserver")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Closed loop: each sender sends again as soon as it has its answer.
    Send(Closed),
    /// Open loop: sends at a fixed rate, while every member waits in `/sync`.
    Deliver(Paced),
    /// An account in many rooms: what its `/sync` costs.
    Account(account::Account),
    /// Prints the results of several runs side by side, with the ratios to the first.
    Compare {
        /// Files that `--json` wrote.
        files: Vec<PathBuf>,
    },
}

/// What every run needs.
#[derive(Args, Clone)]
struct Target {
    /// Base URL of the homeserver.
    #[arg(long)]
    url: String,
    /// What the results are called.
    #[arg(long, default_value = "server")]
    label: String,
    /// Processes under test: their CPU time is counted, and that of all their children.
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// Writes the results to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Rooms.
    #[arg(long, default_value_t = 10)]
    rooms: usize,
    /// Seconds before the measurement, under the same load.
    #[arg(long, default_value_t = 3)]
    warmup: u64,
    /// Seconds of the measurement.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

impl Target {
    fn warmup(&self) -> Duration {
        Duration::from_secs(self.warmup)
    }
    fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

#[derive(Args, Clone)]
struct Closed {
    #[command(flatten)]
    target: Target,
    /// Members of every room, the same ones in all rooms.
    #[arg(long, default_value_t = 20)]
    members: usize,
    /// Senders; each goes round the rooms.
    #[arg(long, default_value_t = 20)]
    senders: usize,
}

#[derive(Args, Clone)]
struct Paced {
    #[command(flatten)]
    target: Target,
    /// Members of each room, others in every room; all of them wait in `/sync`.
    #[arg(long, default_value_t = 5)]
    members: usize,
    /// Messages a second, over all rooms.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            errln!("plexus-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let (target, results) = match cli.command {
        Command::Send(closed) => {
            ensure!(closed.senders >= 1 && closed.senders <= closed.members, "senders must be members");
            (closed.target.clone(), closed::run(&closed).await?)
        }
        Command::Deliver(paced) => {
            ensure!(paced.rate > 0.0 && paced.members >= 2, "wants a rate, and somebody to deliver to");
            (paced.target.clone(), paced::run(&paced).await?)
        }
        Command::Account(account) => return account::run(&account).await,
        Command::Compare { files } => return report::compare(&files),
    };
    results.print();
    if let Some(path) = &target.json {
        let text = serde_json::to_string_pretty(&results)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    ensure!(results.lost == 0, "{} acknowledged messages were never delivered", results.lost);
    ensure!(results.duplicates == 0, "{} messages were delivered twice", results.duplicates);
    Ok(())
}
