//! `plexus-admin media …`: what users have uploaded and what is cached of other servers, through the operator listener.

mod change;
mod look;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use plexus_service::{Config, RpcChannel};

use crate::accounts::user_id;

#[derive(Subcommand)]
pub(crate) enum MediaCommand {
    /// Lists media: all, or that of a user (newest first), of a server, with the same bytes, or quarantined.
    List(look::List),
    /// Prints what is known of media, and what has the same bytes.
    Show {
        /// `mxc://server/id`.
        uri: String,
    },
    /// Tells how much is stored, and of whom most.
    Usage {
        /// So many users and servers.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Takes media from everybody's view. Media of other servers need not be cached, and is never fetched again.
    Quarantine(change::Quarantine),
    /// Gives media back to view.
    Unquarantine(change::Quarantine),
    /// Deletes media; of another server, what is cached.
    Delete {
        /// `mxc://server/id`.
        uri: String,
        /// It cannot be undone: says that it is meant.
        #[arg(long)]
        yes: bool,
    },
    /// Deletes all media of a user.
    PurgeUser {
        /// User ID, or its name alone.
        user: String,
        /// It cannot be undone: says that it is meant.
        #[arg(long)]
        yes: bool,
    },
    /// Deletes media that was not read for long.
    Purge(change::Purge),
}

/// Runs a command.
pub(crate) async fn run(config: &Config, operator: RpcChannel, command: MediaCommand) -> anyhow::Result<()> {
    match command {
        MediaCommand::List(list) => look::list(operator, config, list).await,
        MediaCommand::Show { uri } => look::show(operator, &uri).await,
        MediaCommand::Usage { limit } => look::usage(operator, limit).await,
        MediaCommand::Quarantine(quarantine) => change::quarantine(operator, config, quarantine, true).await,
        MediaCommand::Unquarantine(quarantine) => {
            change::quarantine(operator, config, quarantine, false).await
        }
        MediaCommand::Delete { uri, yes } => {
            confirmed(yes, &uri)?;
            change::delete(operator, &uri).await
        }
        MediaCommand::PurgeUser { user, yes } => {
            let user_id = user_id(config, user);
            confirmed(yes, &format!("all media of {user_id}"))?;
            change::purge_user(operator, user_id).await
        }
        MediaCommand::Purge(purge) => change::purge(operator, purge).await,
    }
}

fn confirmed(yes: bool, what: &str) -> anyhow::Result<()> {
    if !yes {
        bail!("{what} would be deleted for good: say --yes if that is meant");
    }
    Ok(())
}

/// Server name and media ID of an `mxc://` URI.
fn parts(uri: &str) -> anyhow::Result<(String, String)> {
    let (server_name, media_id) = uri
        .strip_prefix("mxc://")
        .and_then(|rest| rest.split_once('/'))
        .with_context(|| format!("{uri} is not of the form mxc://server/id"))?;
    Ok((server_name.to_owned(), media_id.to_owned()))
}

/// A number of bytes as people read it.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes >> shift > 0);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(shift, name)| format!("{}.{} {name}", bytes >> shift, ((bytes % (1 << shift)) * 10) >> shift),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_largest_unit() {
        let told = [0, 1023, 1024, 1536, (1 << 20) - 1, 5 << 20, 3 << 30].map(size);
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "5.0 MiB", "3.0 GiB"]);
    }

    #[test]
    fn media_is_named_by_its_uri() {
        assert_eq!(parts("mxc://a.b:1/x_-").unwrap(), ("a.b:1".to_owned(), "x_-".to_owned()));
        for wrong in ["", "a.b/x", "mxc://a.b", "https://a.b/x"] {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
    }
}
