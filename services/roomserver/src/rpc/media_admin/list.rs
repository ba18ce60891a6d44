//! Looking at media.

use plexus_proto::operator::v1::{
    AdminMedia, GetMediaRequest, GetMediaResponse, GetMediaUsageRequest, GetMediaUsageResponse,
    ListMediaRequest, ListMediaResponse, MediaUsage,
};
use tonic::Status;

use super::{
    super::{
        check::{failed, invalid, not_found, unsigned},
        media::{Place, check_name, check_server, next, number_of, page},
        users::user,
    },
    Service,
};
use crate::{
    store::reads::media::{self, MediaRow, SumRow},
    users::BlobHash,
    worker::now_ms,
};

/// Users and servers that usage is told of if the request does not say how many, and most of each.
const USAGES: u32 = 20;
const MOST_USAGES: u32 = 1_000;
/// Most media with the same bytes that is told beside one.
const BESIDE: i64 = 100;

impl Service {
    pub(super) async fn list(&self, request: ListMediaRequest) -> Result<ListMediaResponse, Status> {
        let ListMediaRequest { user_id, server_name, sha256, quarantined, page_token, limit } = request;
        let filters = [!user_id.is_empty(), !server_name.is_empty(), !sha256.is_empty(), quarantined];
        if filters.into_iter().filter(|is_set| *is_set).count() > 1 {
            return Err(invalid("request", "names more than one of user, server, bytes and quarantine"));
        }
        let (limit, now, conn) = (page(limit), now_ms(), self.conn().await?);
        let mut token: fn(&MediaRow) -> String = |row| format!("{}/{}", row.server_name, row.media_id);
        let rows = if !user_id.is_empty() {
            user(&user_id)?;
            token = |row| row.no.to_string();
            media::list_of_user(&conn, &user_id, &number_of(&page_token)?, &now, &limit).await
        } else {
            let Place { server_name: after_server, media_id: after_id } = Place::of(&page_token)?;
            if !sha256.is_empty() {
                if sha256.len() != size_of::<BlobHash>() {
                    return Err(invalid("sha256", "must be 32 bytes"));
                }
                media::list_of_blob(&conn, sha256.as_ref(), &after_server, &after_id, &limit).await
            } else if quarantined {
                media::list_quarantined(&conn, &after_server, &after_id, &limit).await
            } else if server_name.is_empty() {
                media::list(&conn, &after_server, &after_id, &now, &limit).await
            } else {
                check_server(&server_name)?;
                media::list_of_server(&conn, &server_name, &after_id, &now, &limit).await
            }
        };
        let rows = rows.map_err(|error| failed(&error))?;
        let next_page_token = next(&rows, limit, token);
        Ok(ListMediaResponse { media: rows.into_iter().map(show).collect(), next_page_token })
    }

    /// Finds media, unless it has expired by now.
    pub(super) async fn find(&self, server_name: &str, media_id: &str) -> Result<Option<MediaRow>, Status> {
        check_name(server_name, media_id)?;
        let rows = media::find(&*self.conn().await?, server_name, media_id, &now_ms()).await;
        Ok(rows.map_err(|error| failed(&error))?.into_iter().next())
    }

    pub(super) async fn get(&self, request: GetMediaRequest) -> Result<GetMediaResponse, Status> {
        let GetMediaRequest { server_name, media_id } = request;
        let row = self.find(&server_name, &media_id).await?;
        let row = row.ok_or_else(|| not_found("nothing is known of this media"))?;
        let conn = self.conn().await?;
        let thumbnails = media::list_thumbnails(&conn, &server_name, &media_id).await;
        let thumbnails = thumbnails.map_err(|error| failed(&error))?.len();
        let same_bytes = match &row.sha256 {
            None => Vec::new(),
            Some(sha256) => media::list_of_blob(&conn, sha256.as_slice(), "", "", &BESIDE)
                .await
                .map_err(|error| failed(&error))?,
        };
        let others = same_bytes
            .into_iter()
            .filter(|other| (&other.server_name, &other.media_id) != (&server_name, &media_id));
        let same_bytes = others.map(show).collect();
        let thumbnails = u32::try_from(thumbnails).unwrap_or(u32::MAX);
        Ok(GetMediaResponse { media: Some(AdminMedia { thumbnails, ..show(row) }), same_bytes })
    }

    pub(super) async fn usage(&self, request: GetMediaUsageRequest) -> Result<GetMediaUsageResponse, Status> {
        let limit = if request.limit == 0 { USAGES } else { request.limit.min(MOST_USAGES) };
        let (limit, conn, now) = (i64::from(limit), self.conn().await?, now_ms());
        let (local, users, cached) = futures::try_join!(
            media::sum_local(&conn, &now),
            media::list_users(&conn, &limit),
            media::sum_cached(&conn, &limit),
        )
        .map_err(|error| failed(&error))?;
        let mut cached = cached.into_iter().map(usage);
        Ok(GetMediaUsageResponse {
            local: local.into_iter().map(usage).next(),
            users: users.into_iter().map(usage).collect(),
            remote: Some(cached.next().unwrap_or_default()),
            servers: cached.collect(),
        })
    }
}

fn usage(row: SumRow) -> MediaUsage {
    MediaUsage { name: row.name, files: unsigned(row.files), bytes: unsigned(row.bytes) }
}

fn show(row: MediaRow) -> AdminMedia {
    let state = match (&row.sha256, row.remote) {
        (Some(_), _) => "ready",
        (None, true) => "absent",
        (None, false) => "pending",
    };
    AdminMedia {
        server_name: row.server_name,
        media_id: row.media_id,
        user_id: row.user_id,
        state: state.to_owned(),
        sha256: row.sha256.unwrap_or_default().into(),
        size: unsigned(row.size),
        content_type: row.content_type,
        file_name: row.file_name,
        created_ts: row.created_ts,
        accessed_ts: row.accessed_ts,
        expires_ts: row.expires_ts,
        quarantined_ts: row.quarantined_ts,
        quarantined_by: row.quarantined_by,
        quarantine_reason: row.quarantine_reason,
        thumbnails: 0,
        thumbnail_bytes: unsigned(row.thumbnail_bytes),
    }
}
