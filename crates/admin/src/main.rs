//! `plexus-admin`: what an operator does from a shell.
//!
//! It holds no rights of its own: accounts are made with the shared secret of the configuration, over the client API,
//! and the rest is asked of the room server's operator listener.

mod database;
mod partitions;
mod rooms;
mod user;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use plexus_service::{Config, RpcChannel, token};

#[derive(Parser)]
#[command(name = "plexus-admin", version, about = "Operates a Plexus homeserver")]
struct Cli {
    /// Configuration file of the server.
    #[arg(long, value_name = "FILE", default_value = "plexus.toml", global = true)]
    config: PathBuf,
    /// Room server to ask, `http://host:port` of its operator listener; default: as the configuration says.
    #[arg(long, value_name = "URL", global = true)]
    operator: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Accounts.
    #[command(subcommand)]
    User(UserCommand),
    /// Lists the partitions of the input logs: who owns them and how far they are.
    Partitions,
    /// Records that could not be processed.
    #[command(subcommand)]
    DeadLetters(DeadLetterCommand),
    /// The database as a whole.
    #[command(subcommand)]
    Database(DatabaseCommand),
    /// Rooms.
    #[command(subcommand)]
    Room(RoomCommand),
    /// Tells why an event was accepted or refused, and how the state before it came about.
    Explain {
        /// Event ID.
        event_id: String,
    },
}

#[derive(Subcommand)]
enum RoomCommand {
    /// Computes the state at every event anew and compares it with what is stored.
    Verify {
        /// Room ID.
        room_id: String,
    },
    /// Lists forward extremities, and events that are missing.
    Extremities {
        /// Room ID.
        room_id: String,
    },
    /// Asks again for what parked events lack; judges again an event that was given up or soft-failed.
    Reprocess {
        /// Room ID, for all of its parked events; or an event ID.
        id: String,
    },
    /// Deletes a room and everything of it.
    Purge {
        /// Room ID.
        room_id: String,
        /// Users of this server who are joined leave first.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Subcommand)]
enum DatabaseCommand {
    /// Tells which life of the database this is.
    Generation,
    /// Begins another life of the database: after a restore from a backup, before clients are served. Sync services that
    /// ran before the restore have to be restarted. Each client is told everything anew.
    RaiseGeneration,
}

#[derive(Subcommand)]
enum UserCommand {
    /// Makes an account.
    Create(user::Create),
}

#[derive(Subcommand)]
enum DeadLetterCommand {
    /// Lists them, newest first.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Writes one to its input log again and removes it from the list.
    Replay {
        /// Its number in the list.
        id: i64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plexus-admin: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let config = Config::load(&cli.config)?;
    let operator = || operator(&config, cli.operator.as_deref());
    match cli.command {
        Command::User(UserCommand::Create(create)) => user::create(&config, create).await,
        Command::Partitions => partitions::list(operator()?).await,
        Command::DeadLetters(DeadLetterCommand::List { limit }) => {
            partitions::list_dead_letters(operator()?, limit).await
        }
        Command::DeadLetters(DeadLetterCommand::Replay { id }) => partitions::replay(operator()?, id).await,
        Command::Database(DatabaseCommand::Generation) => database::generation(operator()?).await,
        Command::Database(DatabaseCommand::RaiseGeneration) => database::raise_generation(operator()?).await,
        Command::Room(RoomCommand::Verify { room_id }) => rooms::verify(operator()?, room_id).await,
        Command::Room(RoomCommand::Extremities { room_id }) => rooms::extremities(operator()?, room_id).await,
        Command::Room(RoomCommand::Reprocess { id }) => rooms::reprocess(operator()?, id).await,
        Command::Room(RoomCommand::Purge { room_id, force }) => {
            rooms::purge(operator()?, room_id, force).await
        }
        Command::Explain { event_id } => rooms::explain(operator()?, event_id).await,
    }
}

fn operator(config: &Config, url: Option<&str>) -> anyhow::Result<RpcChannel> {
    let configured = format!("http://{}", reachable(config.roomserver.operator_listen.address));
    let channel = RpcChannel::connect(url.unwrap_or(&configured))?;
    Ok(channel.with_token(&token::find("operator", &config.operator)?))
}

/// Where to reach a listener on this machine: one on all addresses is reached on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}
