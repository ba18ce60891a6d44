//! Long work, page by page: each page is told when it is done, and the next one begins when the caller takes that.

use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use plexus_proto::{
    log::v1::{MediaTotals, SetMediaQuarantine, input_user_event::Command},
    operator::v1::{
        PurgeMediaRequest, PurgeMediaResponse, PurgeScope, SetUserQuarantineRequest,
        SetUserQuarantineResponse,
    },
};
use tonic::Status;
use tracing::info;

use super::{
    super::{
        check::{failed, invalid, unsigned},
        commands::submit_media,
        media::check_server,
        users::user,
    },
    Service,
    change::{AT_ONCE, counted},
};
use crate::{
    store::reads::media::{self, OldRow},
    worker::now_ms,
};

/// Media of a page.
const PAGE: i64 = 500;

/// Quarantines all media of a user.
struct OfUser {
    service: Service,
    request: SetUserQuarantineRequest,
    before_no: i64,
    files: u64,
    is_done: bool,
}

/// Deletes what was not read for long.
struct Old {
    service: Service,
    request: PurgeMediaRequest,
    is_remote: bool,
    /// When the last one that was looked at was read, and its name.
    after: (i64, String, String),
    totals: MediaTotals,
    is_done: bool,
}

impl Service {
    pub(super) fn quarantine_user(
        self,
        request: SetUserQuarantineRequest,
    ) -> Result<BoxStream<'static, Result<SetUserQuarantineResponse, Status>>, Status> {
        user(&request.user_id)?;
        let walk = OfUser { service: self, request, before_no: i64::MAX, files: 0, is_done: false };
        let told = stream::try_unfold(walk, |mut walk| async move {
            if walk.is_done {
                return Ok(None);
            }
            walk.step().await?;
            let told = SetUserQuarantineResponse { files: walk.files, done: walk.is_done };
            Ok(Some((told, walk)))
        });
        Ok(told.boxed())
    }

    pub(super) fn purge(
        self,
        request: PurgeMediaRequest,
    ) -> Result<BoxStream<'static, Result<PurgeMediaResponse, Status>>, Status> {
        let is_remote = match request.scope() {
            PurgeScope::Remote => true,
            PurgeScope::Local => false,
            PurgeScope::Unspecified => return Err(invalid("scope", "must be set")),
        };
        if request.accessed_before_ts <= 0 || request.accessed_before_ts > now_ms() {
            return Err(invalid("accessed_before_ts", "must lie in the past"));
        }
        if !request.server_name.is_empty() {
            check_server(&request.server_name)?;
            if !is_remote {
                return Err(invalid("server_name", "is for media of other servers"));
            }
        }
        let (after, totals) = ((i64::MIN, String::new(), String::new()), MediaTotals::default());
        let walk = Old { service: self, request, is_remote, after, totals, is_done: false };
        let told = stream::try_unfold(walk, |mut walk| async move {
            if walk.is_done {
                return Ok(None);
            }
            walk.step().await?;
            let MediaTotals { files, bytes } = walk.totals;
            Ok(Some((PurgeMediaResponse { files, bytes, done: walk.is_done }, walk)))
        });
        Ok(told.boxed())
    }
}

impl OfUser {
    async fn step(&mut self) -> Result<(), Status> {
        let SetUserQuarantineRequest { user_id, quarantined, by, reason } = &self.request;
        let rows = {
            let conn = self.service.conn().await?;
            media::list_of_user(&conn, user_id, &self.before_no, &now_ms(), &PAGE).await
        };
        let rows = rows.map_err(|error| failed(&error))?;
        match rows.last() {
            Some(last) => self.before_no = last.no,
            None => {
                self.is_done = true;
                info!(user.id = %user_id, quarantined, files = self.files, "an operator has decided on media of a user");
                return Ok(());
            }
        }
        let app = &self.service.app;
        let different = rows.into_iter().filter(|row| (row.quarantined_ts > 0) != *quarantined);
        let done = stream::iter(different).map(|row| {
            let (by, reason) = (by.clone(), reason.clone());
            let command =
                SetMediaQuarantine { media_id: row.media_id, quarantined: *quarantined, by, reason };
            async move {
                counted(submit_media(app, user_id, Command::SetMediaQuarantine(command)).await.map(|_| 1))
            }
        });
        let done: Vec<u64> = done.buffer_unordered(AT_ONCE).try_collect().await?;
        self.files += done.into_iter().sum::<u64>();
        Ok(())
    }
}

impl Old {
    async fn step(&mut self) -> Result<(), Status> {
        let before = self.request.accessed_before_ts;
        let (ts, server_name, media_id) = &self.after;
        let rows = {
            let conn = self.service.conn().await?;
            match self.request.server_name.as_str() {
                "" => {
                    media::list_old(&conn, &self.is_remote, &before, ts, server_name, media_id, &PAGE).await
                }
                of => media::list_old_of_server(&conn, of, &before, ts, media_id, &PAGE).await,
            }
        };
        let rows = rows.map_err(|error| failed(&error))?;
        let Some(last) = rows.last() else {
            self.is_done = true;
            let (files, bytes) = (self.totals.files, self.totals.bytes);
            let (is_remote, dry_run) = (self.is_remote, self.request.dry_run);
            info!(is_remote, before, files, bytes, dry_run, "an operator has deleted old media");
            return Ok(());
        };
        self.after = (last.accessed_ts, last.server_name.clone(), last.media_id.clone());
        // Of cached media it is kept that it is quarantined, so that it may go.
        let wanted = rows.into_iter().filter(|row| self.is_remote || !row.quarantined);
        let (service, is_remote, dry_run) = (&self.service, self.is_remote, self.request.dry_run);
        let done = stream::iter(wanted).map(|row| async move {
            let OldRow { server_name, media_id, user_id, size, .. } = row;
            if dry_run {
                return Ok(MediaTotals { files: 1, bytes: unsigned(size) });
            }
            counted(service.remove(&user_id, is_remote, (&server_name, &media_id), before).await)
        });
        let done: Vec<MediaTotals> = done.buffer_unordered(AT_ONCE).try_collect().await?;
        for totals in done {
            self.totals.files += totals.files;
            self.totals.bytes += totals.bytes;
        }
        Ok(())
    }
}
