//! Tests of what a Matrix homeserver does, told by the specification and spoken over HTTP alone.
//!
//! No crate of a service is used here, so that the same tests run against any homeserver. [`harness`] runs them,
//! [`wire`] makes requests and keeps what was said, [`actor`] has the users; the rest are tests, in files that follow
//! the specification's sections.

#[macro_use]
mod print;
#[macro_use]
mod wire;
#[macro_use]
mod harness;
mod actor;
mod attacks;
mod client_server;
mod command;
mod mutants;
mod server;
mod server_server;
mod specification;
mod wait;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::main()
}
