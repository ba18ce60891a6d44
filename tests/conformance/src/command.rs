//! The command line.

mod attack;
mod coverage;
mod measure;
mod mutants;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tests of what a Matrix homeserver does, over HTTP alone.
#[derive(Debug, Parser)]
#[command(name = "plexus-conformance", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs tests against a server that is there already.
    Run(run::Options),
    /// Changes one thing at a time in what a server answers, and shows which tests notice.
    Mutants(mutants::Options),
    /// Sends what nobody who means well would send, and sees whether the server stands it.
    Attack(attack::Options),
    /// Measures what others notice while a server is attacked.
    Measure(measure::Options),
    /// Prints what a server serves of the specification, and how many tests touch it.
    Coverage(coverage::Options),
    /// Prints the names of tests.
    List(run::Filter),
}

pub(crate) fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Mutants(options) => mutants::run(&options),
        Command::Attack(options) => attack::run(&options),
        Command::Measure(options) => measure::run(&options),
        Command::Coverage(options) => coverage::run(&options),
        Command::List(filter) => {
            for test in filter.tests() {
                outln!("{}", test.name);
            }
            Ok(true)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            errln!("{error:#}");
            ExitCode::from(2)
        }
    }
}
