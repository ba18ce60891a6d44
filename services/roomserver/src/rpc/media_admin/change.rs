//! Taking media from view, and deleting it.

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        DeleteMedia, EvictMedia, MediaTotals, PurgeUserMedia, SetMediaQuarantine, input_user_event::Command,
    },
    operator::v1::{
        DeleteMediaRequest, DeleteMediaResponse, PurgeUserMediaRequest, PurgeUserMediaResponse,
        SetQuarantineRequest, SetQuarantineResponse,
    },
};
use plexus_service::refusal::reason_of;
use prost::Message as _;
use tonic::Status;
use tracing::info;

use super::{
    super::{
        check::{failed, not_found},
        commands::submit_media,
        users::{one, user},
    },
    Service,
};
use crate::store::{
    pool,
    reads::{
        accounts,
        media::{self, MediaRow},
    },
};

/// Most media that is quarantined with one because it has the same bytes.
const SAME_BYTES: usize = 1_000;
/// Rows that are looked at at a time.
const PAGE: i64 = 1_000;
/// Commands under way at a time.
pub(super) const AT_ONCE: usize = 32;

/// The key of commands on media, as its row tells.
pub(super) fn key_of(user_id: &str, server_name: &str, media_id: &str) -> String {
    if user_id.is_empty() { format!("mxc://{server_name}/{media_id}") } else { user_id.to_owned() }
}

impl Service {
    pub(super) async fn quarantine(
        &self,
        request: SetQuarantineRequest,
    ) -> Result<SetQuarantineResponse, Status> {
        let SetQuarantineRequest { server_name, media_id, quarantined, same_bytes, by, reason } = request;
        let row = self.find(&server_name, &media_id).await?;
        let sha256 = row.as_ref().and_then(|row| row.sha256.clone()).filter(|_| same_bytes);
        let user_id = row.map(|row| row.user_id).unwrap_or_default();
        let decide = |key: String, media_id: String| {
            let (by, reason) = (by.clone(), reason.clone());
            let command = SetMediaQuarantine { media_id, quarantined, by, reason };
            async move { submit_media(&self.app, &key, Command::SetMediaQuarantine(command)).await }
        };
        // Media of other servers need not be known.
        decide(key_of(&user_id, &server_name, &media_id), media_id.clone()).await?;
        let mut files = 1;
        if let Some(sha256) = sha256 {
            let others = self.list_undecided(&sha256, quarantined).await?;
            let others = stream::iter(others).map(|row| {
                let decided = decide(key_of(&row.user_id, &row.server_name, &row.media_id), row.media_id);
                decided.map(|done| counted(done.map(|_| 1)))
            });
            let others: Vec<u32> = others.buffer_unordered(AT_ONCE).try_collect().await?;
            files += others.into_iter().sum::<u32>();
        }
        info!(media = %format_args!("{server_name}/{media_id}"), quarantined, files, "an operator has decided on media");
        Ok(SetQuarantineResponse { files })
    }

    /// Media of a blob that is not quarantined as it is to be.
    async fn list_undecided(&self, sha256: &[u8], quarantined: bool) -> Result<Vec<MediaRow>, Status> {
        let mut undecided = Vec::new();
        let mut after = (String::new(), String::new());
        loop {
            let conn = self.conn().await?;
            let rows = media::list_of_blob(&conn, sha256, &after.0, &after.1, &PAGE).await;
            drop(conn);
            let rows = rows.map_err(|error| failed(&error))?;
            let Some(last) = rows.last() else { return Ok(undecided) };
            after = (last.server_name.clone(), last.media_id.clone());
            undecided.extend(rows.into_iter().filter(|row| (row.quarantined_ts > 0) != quarantined));
            if undecided.len() >= SAME_BYTES {
                undecided.truncate(SAME_BYTES);
                return Ok(undecided);
            }
        }
    }

    pub(super) async fn delete(&self, request: DeleteMediaRequest) -> Result<DeleteMediaResponse, Status> {
        let DeleteMediaRequest { server_name, media_id } = request;
        let row = self.find(&server_name, &media_id).await?;
        let row = row.filter(|row| row.sha256.is_some() || !row.remote);
        let row = row.ok_or_else(|| not_found("there is no such media"))?;
        let totals = self.remove(&row.user_id, row.remote, (&server_name, &media_id), 0).await?;
        info!(media = %format_args!("{server_name}/{media_id}"), bytes = totals.bytes, "an operator has deleted media");
        Ok(DeleteMediaResponse { bytes: totals.bytes })
    }

    /// Deletes media of this server, or forgets what is cached of another; only if it was last read before a time, unless
    /// that is 0.
    pub(super) async fn remove(
        &self,
        user_id: &str,
        is_remote: bool,
        (server_name, media_id): (&str, &str),
        accessed_before_ts: i64,
    ) -> Result<MediaTotals, Status> {
        let key = key_of(user_id, server_name, media_id);
        let command = if is_remote {
            Command::EvictMedia(EvictMedia { accessed_before_ts })
        } else {
            let media_id = media_id.to_owned();
            Command::DeleteMedia(DeleteMedia { media_id, by_operator: true, accessed_before_ts })
        };
        totals(submit_media(&self.app, &key, command).await?.payload.as_ref())
    }

    pub(super) async fn purge_user(
        &self,
        request: PurgeUserMediaRequest,
    ) -> Result<PurgeUserMediaResponse, Status> {
        let PurgeUserMediaRequest { user_id } = request;
        user(&user_id)?;
        let conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        one(accounts::find(&conn, &user_id).await, "there is no such account")?;
        drop(conn);
        let accepted = submit_media(&self.app, &user_id, Command::PurgeUserMedia(PurgeUserMedia {})).await?;
        let MediaTotals { files, bytes } = totals(accepted.payload.as_ref())?;
        info!(user.id = %user_id, files, bytes, "an operator has deleted all media of a user");
        Ok(PurgeUserMediaResponse { files, bytes })
    }
}

/// What has gone meanwhile counts for nothing.
pub(super) fn counted<T: Default>(done: Result<T, Status>) -> Result<T, Status> {
    match done {
        Err(refused) if reason_of(&refused) == Some(ErrorReason::NotFound) => Ok(T::default()),
        done => done,
    }
}

fn totals(payload: &[u8]) -> Result<MediaTotals, Status> {
    MediaTotals::decode(payload)
        .map_err(|error| Status::internal(format!("a verdict makes no sense: {error}")))
}
