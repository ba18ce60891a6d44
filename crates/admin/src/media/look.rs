//! Looking at media.

use anyhow::Context as _;
use plexus_proto::operator::v1::{
    AdminMedia, GetMediaRequest, GetMediaUsageRequest, ListMediaRequest, MediaUsage,
    media_admin_service_client::MediaAdminServiceClient,
};
use plexus_service::{Config, RpcChannel, outln};

use super::{parts, size};
use crate::{accounts::user_id, moment};

/// Media of one answer.
const PAGE: u32 = 500;

#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct List {
    /// Only of this user: a user ID, or its name alone.
    #[arg(long)]
    user: Option<String>,
    /// Only of this server.
    #[arg(long)]
    server: Option<String>,
    /// Only with these bytes: their SHA-256 in hexadecimal digits.
    #[arg(long)]
    sha256: Option<String>,
    /// Only what is quarantined.
    #[arg(long)]
    quarantined: bool,
}

pub(crate) async fn list(operator: RpcChannel, config: &Config, list: List) -> anyhow::Result<()> {
    let mut client = MediaAdminServiceClient::new(operator);
    let sha256 = list.sha256.map(hex::decode).transpose().context("--sha256 is not hexadecimal")?;
    let mut request = ListMediaRequest {
        user_id: list.user.map(|user| user_id(config, user)).unwrap_or_default(),
        server_name: list.server.unwrap_or_default(),
        sha256: sha256.unwrap_or_default().into(),
        quarantined: list.quarantined,
        page_token: String::new(),
        limit: PAGE,
    };
    loop {
        let page = client.list_media(request.clone()).await.context("cannot list media")?.into_inner();
        for media in &page.media {
            outln!("{}", line(media));
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

fn line(media: &AdminMedia) -> String {
    let uploader = if media.user_id.is_empty() { String::new() } else { format!(" by {}", media.user_id) };
    let what = match media.state.as_str() {
        "ready" => format!("{}, {:?}", size(media.size), media.content_type),
        state => state.to_owned(),
    };
    let mark = if media.quarantined_ts > 0 { " quarantined" } else { "" };
    let since = moment(media.created_ts);
    format!("mxc://{}/{} {what}{uploader} since {since}{mark}", media.server_name, media.media_id)
}

pub(crate) async fn show(operator: RpcChannel, uri: &str) -> anyhow::Result<()> {
    let (server_name, media_id) = parts(uri)?;
    let request = GetMediaRequest { server_name, media_id };
    let answer = MediaAdminServiceClient::new(operator).get_media(request).await.context("no media")?;
    let answer = answer.into_inner();
    let media = answer.media.context("the answer has no media")?;
    outln!("{}", line(&media));
    if !media.file_name.is_empty() {
        outln!("file name   {:?}", media.file_name);
    }
    if !media.sha256.is_empty() {
        outln!("sha256      {}", hex::encode(&media.sha256));
        outln!("last read   {}", moment(media.accessed_ts));
        outln!("thumbnails  {}, {}", media.thumbnails, size(media.thumbnail_bytes));
    }
    if media.expires_ts > 0 {
        outln!("goes        {}", moment(media.expires_ts));
    }
    if media.quarantined_ts > 0 {
        let (by, reason) = (&media.quarantined_by, &media.quarantine_reason);
        outln!("quarantined {} by {by:?}: {reason}", moment(media.quarantined_ts));
    }
    for other in &answer.same_bytes {
        outln!("same bytes  {}", line(other));
    }
    Ok(())
}

pub(crate) async fn usage(operator: RpcChannel, limit: u32) -> anyhow::Result<()> {
    let answer = MediaAdminServiceClient::new(operator).get_media_usage(GetMediaUsageRequest { limit }).await;
    let answer = answer.context("cannot tell how much is stored")?.into_inner();
    let line = |name: &str, usage: &MediaUsage| outln!("{:>12} {:>9} {name}", size(usage.bytes), usage.files);
    line("of this server", &answer.local.unwrap_or_default());
    for usage in &answer.users {
        line(&usage.name, usage);
    }
    line("cached of other servers", &answer.remote.unwrap_or_default());
    for usage in &answer.servers {
        line(&usage.name, usage);
    }
    Ok(())
}
