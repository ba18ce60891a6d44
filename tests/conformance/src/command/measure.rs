//! `plexus-conformance measure`

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;
use clap::{Args, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::run::runtime;
use crate::{
    attacks::{Counts, Pressure, honest, pressure, sink},
    server::Target,
};

/// Measures what others notice of an attack. Everybody has an address of their own on loopback, so the server has to count
/// loopback like others (`limit_loopback` in `[http]`).
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Base URL of the client API, `http://ADDRESS:PORT`.
    #[arg(long)]
    url: String,
    /// The server's name.
    #[arg(long)]
    server_name: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Connections that say nothing, streams that do not end, readers who do not read.
    Connections {
        #[command(flatten)]
        how: How,
        /// Base URL of a listener of gRPC, to open streams there, too.
        #[arg(long)]
        grpc: Option<String>,
        /// Silent connections.
        #[arg(long, default_value_t = 10_000, value_name = "N")]
        silent: usize,
        /// Unfinished streams.
        #[arg(long, default_value_t = 3_000, value_name = "N")]
        streams: usize,
        /// Readers who do not read.
        #[arg(long, default_value_t = 100, value_name = "N")]
        readers: usize,
    },
    /// One account that does all the harm it can.
    Account {
        #[command(flatten)]
        how: How,
        /// Process of the server, to look at its memory.
        #[arg(long)]
        pid: Option<u32>,
        /// A command that prints how many bytes are on disk.
        #[arg(long)]
        disk: Option<String>,
    },
    /// Makes the account of a heavy client. The server must have its limits off.
    PrepareClient {
        /// Rooms of the account.
        #[arg(long, default_value_t = 1_000, value_name = "N")]
        rooms: usize,
        /// Where to write the account to.
        #[arg(long)]
        account: PathBuf,
    },
    /// Takes connections for a control, until its input ends: a process has not files enough for both ends of all.
    #[command(hide = true)]
    Sink,
    /// A heavy client that means well is never told to wait.
    Client {
        /// The account that `prepare-client` wrote.
        #[arg(long)]
        account: PathBuf,
    },
}

/// How attacks are measured.
#[derive(Debug, Args)]
struct How {
    /// How often attack and control take turns.
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// How long a turn takes, in seconds.
    #[arg(long, default_value_t = 30, value_name = "N")]
    seconds: u64,
    /// What the attacks follow from.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How many times as long as in the control others may wait.
    #[arg(long, default_value_t = 2.0, value_name = "RATIO")]
    most: f64,
}

/// Memory that a server may take under attack.
const MEMORY: u64 = 1_000_000_000;
/// How much its disk may grow in a day.
const GROWTH: f64 = 1e9;

/// Measures; whether it holds.
pub(crate) fn run(options: &Options) -> Result<bool> {
    raise_limit();
    let target = Arc::new(Target::new(&options.url, &options.server_name)?);
    let plan = |how: &How| Pressure {
        rounds: how.rounds,
        turn: Duration::from_secs(how.seconds),
        seed: how.seed,
        grpc: None,
        counts: Counts { silent: 0, streams: 0, readers: 0 },
        pid: None,
        disk: None,
        most_ratio: how.most,
        most_memory: MEMORY,
        most_growth: GROWTH,
    };
    runtime()?.block_on(async {
        match &options.what {
            What::Connections { how, grpc, silent, streams, readers } => {
                let counts = Counts { silent: *silent, streams: *streams, readers: *readers };
                let plan = Pressure { grpc: grpc.clone(), counts, ..plan(how) };
                pressure::by_connections(&target, &plan).await
            }
            What::Account { how, pid, disk } => {
                let plan = Pressure { pid: *pid, disk: disk.clone(), ..plan(how) };
                pressure::by_account(&target, &plan).await
            }
            What::PrepareClient { rooms, account } => {
                honest::prepare(&target, *rooms, account).await?;
                Ok(true)
            }
            What::Sink => sink::serve().await.map(|()| true),
            What::Client { account } => honest::measure(&target, account).await,
        }
    })
}

/// Open files that are enough: each connection is one, and another where it ends in a sink.
const FILES: u64 = 65_536;

/// Raises the limit of open files: as root as far as is needed, else as far as it goes.
fn raise_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let enough = maximum.map(|maximum| maximum.max(FILES));
    let raise = |maximum| setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if let Err(error) = raise(enough).or_else(|_| raise(maximum)) {
        errln!("cannot raise the limit of open files: {error}");
    }
}
