//! `plexus-admin`: what an operator does from a shell.
//!
//! It holds no rights of its own: accounts are made with the shared secret of the configuration, over the client API,
//! and the rest is asked of the room server's operator listener, with the token that the configuration leads to.

mod accounts;
mod blocks;
mod database;
mod destinations;
mod federation;
mod find;
mod inspect;
mod media;
mod partitions;
mod rooms;
mod user;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use plexus_service::{Config, Dialer, RpcChannel, errln};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

#[derive(Parser)]
#[command(name = "plexus-admin", version, about = "Operates a Plexus homeserver")]
struct Cli {
    /// Configuration file of the server. Default: plexus.toml in this folder, or that of the server that runs on this
    /// machine, or the one in the folders of the quickstart and of packages.
    #[arg(long, value_name = "FILE", env = "PLEXUS_CONFIG", global = true)]
    config: Option<PathBuf>,
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
    /// Media: uploads of users, and what is cached of other servers.
    #[command(subcommand)]
    Media(media::MediaCommand),
    /// Other servers.
    #[command(subcommand)]
    Federation(federation::FederationCommand),
    /// Prints an event.
    Event {
        /// Event ID.
        event_id: String,
    },
    /// Tells why an event was accepted or refused, and how the state before it came about.
    Explain {
        /// Event ID.
        event_id: String,
    },
}

#[derive(Subcommand)]
enum RoomCommand {
    /// Prints the state, now or at an event.
    State(inspect::State),
    /// Prints the timeline, page by page.
    Timeline(inspect::Timeline),
    /// Lists the members, now or at an event.
    Members(inspect::Members),
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
    /// Lists accounts.
    List,
    /// Prints an account and its rooms.
    Show {
        /// User ID, or its name alone.
        user: String,
    },
    /// Lists the sessions of an account.
    Sessions {
        /// User ID, or its name alone.
        user: String,
    },
    /// Gives an account a new password, and ends its sessions.
    ResetPassword(accounts::ResetPassword),
    /// Deactivates an account for good, and makes it leave its rooms.
    Deactivate(accounts::Deactivate),
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
            errln!("plexus-admin: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let file = cli.config.map_or_else(find::configuration, Ok)?;
    let config = Config::load(&file)?;
    let operator = || operator(&config, cli.operator.as_deref());
    match cli.command {
        Command::User(UserCommand::Create(create)) => user::create(&config, create).await,
        Command::User(UserCommand::List) => accounts::list(operator()?).await,
        Command::User(UserCommand::Show { user }) => accounts::show(operator()?, &config, user).await,
        Command::User(UserCommand::Sessions { user }) => accounts::sessions(operator()?, &config, user).await,
        Command::User(UserCommand::ResetPassword(reset)) => {
            accounts::reset(operator()?, &config, reset).await
        }
        Command::User(UserCommand::Deactivate(deactivate)) => {
            accounts::deactivate(operator()?, &config, deactivate).await
        }
        Command::Federation(command) => federation::run(&config, operator, command).await,
        Command::Media(command) => media::run(&config, operator()?, command).await,
        Command::Partitions => partitions::list(operator()?).await,
        Command::DeadLetters(DeadLetterCommand::List { limit }) => {
            partitions::list_dead_letters(operator()?, limit).await
        }
        Command::DeadLetters(DeadLetterCommand::Replay { id }) => partitions::replay(operator()?, id).await,
        Command::Database(DatabaseCommand::Generation) => database::generation(operator()?).await,
        Command::Database(DatabaseCommand::RaiseGeneration) => database::raise_generation(operator()?).await,
        Command::Room(RoomCommand::State(state)) => inspect::state(operator()?, state).await,
        Command::Room(RoomCommand::Timeline(timeline)) => inspect::timeline(operator()?, timeline).await,
        Command::Room(RoomCommand::Members(members)) => inspect::members(operator()?, members).await,
        Command::Event { event_id } => inspect::event(operator()?, event_id).await,
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
    let listener = &config.roomserver.operator_listen;
    let scheme = if listener.tls_certificate.is_some() { "https" } else { "http" };
    let configured = format!("{scheme}://{}", reachable(listener.address));
    Ok(Dialer::new("operator", &config.operator)?.connect(url.unwrap_or(&configured))?)
}

/// A time as people read it.
fn moment(ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp(ms / 1000)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| ms.to_string())
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
