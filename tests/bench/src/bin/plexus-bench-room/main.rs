//! `plexus-bench-room`: what one large room costs the room server.
//!
//! The room server runs in this process, on the in-process log and a real Postgres; events of other servers are built,
//! signed and written to its input logs. `tests/bench/room` starts Postgres and calls this.

mod costs;
mod database;
mod far;
mod join;
mod load;
mod neighbor;
mod stage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use plexus_service::errln;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "plexus-bench-room", about = "Measures what one large room costs the room server")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Loads a room through the input log; measures storage and memory; verifies the room.
    Load(load::Load),
    /// Measures what inputs and reads cost in rooms of several sizes.
    Costs(costs::Costs),
    /// Measures one room while another of the same partition is joined, and a third one has parked events.
    Neighbor(neighbor::Neighbor),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Load(load) => load::run(load).await,
        Command::Costs(costs) => costs::run(costs).await,
        Command::Neighbor(neighbor) => neighbor::run(neighbor).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            errln!("plexus-bench-room: {error:#}");
            ExitCode::FAILURE
        }
    }
}
