//! The client-server API, all of it but sync and media: authenticates, validates, writes to the input logs, awaits the
//! verdict and answers; reads by gRPC.
//!
//! It keeps nothing that must last. What it knows for a while (sessions of user-interactive authentication, nonces,
//! rate limits) is bounded and may be lost.

mod absent;
mod account;
mod admin;
mod alias;
mod app;
mod backup;
mod clock;
mod config;
mod context;
mod device;
mod directory;
mod discovery;
mod filter;
mod keys;
mod knock;
mod membership;
mod message;
mod nonces;
mod passwords;
mod peeking;
mod profile;
mod push;
mod read_marker;
mod receipt;
mod redact;
mod reporting;
mod room;
mod rooms;
mod routes;
mod secrets;
mod session;
mod space;
mod state;
mod tag;
mod to_device;
mod typing;
mod uia;
mod user_directory;
mod usernames;

pub use app::{App, AppDeps, AppError};
pub use plexus_input::Connect;
pub use routes::{router, routes};
