//! Taking media from view, and deleting it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use plexus_proto::operator::v1::{
    DeleteMediaRequest, PurgeMediaRequest, PurgeScope, PurgeUserMediaRequest, SetQuarantineRequest,
    SetUserQuarantineRequest, media_admin_service_client::MediaAdminServiceClient,
};
use plexus_service::{Config, RpcChannel, errln, outln};

use super::{confirmed, parts, size};
use crate::accounts::user_id;

#[derive(clap::Args)]
pub(crate) struct Quarantine {
    /// `mxc://server/id`.
    #[arg(required_unless_present = "user", conflicts_with = "user")]
    uri: Option<String>,
    /// All media that this user uploaded instead: a user ID, or its name alone.
    #[arg(long)]
    user: Option<String>,
    /// All other media with the same bytes, too.
    #[arg(long, conflicts_with = "user")]
    same_bytes: bool,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    reason: String,
    /// Name for the record of whoever says so; default: `$USER`.
    #[arg(long, env = "USER", default_value = "")]
    by: String,
}

#[derive(clap::Args)]
pub(crate) struct Purge {
    /// Cached media of other servers, which they are asked for again when somebody wants it.
    #[arg(long, required_unless_present = "local")]
    remote: bool,
    /// Media of this server, of which there may be no other copy.
    #[arg(long, conflicts_with_all = ["remote", "server"])]
    local: bool,
    /// Only of this server.
    #[arg(long)]
    server: Option<String>,
    /// Only what was not read for so many days.
    #[arg(long, value_name = "DAYS")]
    older_than: u32,
    /// Only tells what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// Media of this server cannot be had again: says that it is meant.
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn quarantine(
    operator: RpcChannel,
    config: &Config,
    quarantine: Quarantine,
    quarantined: bool,
) -> anyhow::Result<()> {
    let mut client = MediaAdminServiceClient::new(operator);
    let Quarantine { uri, user, same_bytes, reason, by } = quarantine;
    if let Some(user) = user {
        let request = SetUserQuarantineRequest { user_id: user_id(config, user), quarantined, by, reason };
        let told = client.set_user_quarantine(request).await.context("nothing has changed")?;
        let mut told = told.into_inner();
        while let Some(progress) = told.message().await.context("not everything has changed")? {
            if progress.done {
                outln!("{}", decided(progress.files, quarantined));
                return Ok(());
            }
            errln!("{} so far", progress.files);
        }
        bail!("it broke off: say it again");
    }
    let (server_name, media_id) = parts(&uri.unwrap_or_default())?;
    let request = SetQuarantineRequest { server_name, media_id, quarantined, same_bytes, by, reason };
    let answer = client.set_quarantine(request).await.context("nothing has changed, or not everything")?;
    outln!("{}", decided(answer.into_inner().files.into(), quarantined));
    Ok(())
}

fn decided(files: u64, quarantined: bool) -> String {
    if quarantined { format!("{files} media quarantined") } else { format!("{files} media given back") }
}

pub(crate) async fn delete(operator: RpcChannel, uri: &str) -> anyhow::Result<()> {
    let (server_name, media_id) = parts(uri)?;
    let request = DeleteMediaRequest { server_name, media_id };
    let answer = MediaAdminServiceClient::new(operator).delete_media(request).await;
    outln!("deleted, {}", size(answer.context("nothing is deleted")?.into_inner().bytes));
    Ok(())
}

pub(crate) async fn purge_user(operator: RpcChannel, user_id: String) -> anyhow::Result<()> {
    let request = PurgeUserMediaRequest { user_id };
    let answer = MediaAdminServiceClient::new(operator).purge_user_media(request).await;
    let answer = answer.context("nothing is deleted")?.into_inner();
    outln!("{} media deleted, {}", answer.files, size(answer.bytes));
    Ok(())
}

pub(crate) async fn purge(operator: RpcChannel, purge: Purge) -> anyhow::Result<()> {
    let Purge { remote: _, local, server, older_than, dry_run, yes } = purge;
    if local && !dry_run {
        confirmed(yes, &format!("media of this server that was not read for {older_than} days"))?;
    }
    let age = Duration::from_secs(u64::from(older_than) * 24 * 60 * 60);
    let before = SystemTime::now().checked_sub(age).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let before = before.context("that is too long ago")?.as_millis();
    let scope = if local { PurgeScope::Local } else { PurgeScope::Remote };
    let request = PurgeMediaRequest {
        scope: scope.into(),
        accessed_before_ts: i64::try_from(before).context("that is not a time")?,
        server_name: server.unwrap_or_default(),
        dry_run,
    };
    let told = MediaAdminServiceClient::new(operator).purge_media(request).await;
    let mut told = told.context("nothing is deleted")?.into_inner();
    let what = if dry_run { "would be deleted" } else { "deleted" };
    while let Some(progress) = told.message().await.context("it broke off: say it again")? {
        let line = format!("{} media {what}, {}", progress.files, size(progress.bytes));
        if progress.done {
            outln!("{line}");
            return Ok(());
        }
        errln!("{line} so far");
    }
    bail!("it broke off: say it again")
}
