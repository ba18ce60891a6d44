//! The command line that all services share.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

use crate::telemetry;

/// What was asked for.
pub(super) struct Cli {
    pub(super) config: PathBuf,
    pub(super) check_config: bool,
}

/// Parses the command line; prints help or what is wrong with it, and exits.
pub(super) fn parse(service: &'static str) -> Cli {
    let matches = command(service).get_matches();
    Cli {
        config: matches.get_one::<PathBuf>("config").cloned().unwrap_or_else(|| PathBuf::from("plexus.toml")),
        check_config: matches.get_flag("check-config"),
    }
}

fn command(service: &'static str) -> Command {
    Command::new(service)
        .version(telemetry::VERSION)
        .about("Part of Plexus, a Matrix homeserver")
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .default_value("plexus.toml")
                .value_parser(value_parser!(PathBuf))
                .help("Configuration file (TOML); PLEXUS_<TABLE>__<KEY> in the environment overrides it"),
        )
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .action(ArgAction::SetTrue)
                .help("Check the configuration and exit"),
        )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command("plexus-test").debug_assert();
    }
}
