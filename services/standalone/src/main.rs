//! `plexus-standalone`: every service in one process.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    plexus_service::run::main("plexus-standalone", plexus_standalone::start)
}
