//! `MediaQueryService`: reads the rows of media.

mod encode;
mod place;

use plexus_events::mxc::is_media_id;
use plexus_proto::media::v1::{
    EvictableMedia, FindMediaRequest, FindMediaResponse, FindUnnamedBlobsRequest, FindUnnamedBlobsResponse,
    GetCacheUsageRequest, GetCacheUsageResponse, GetUserUsageRequest, GetUserUsageResponse,
    ListEvictableRequest, ListEvictableResponse, ListUserMediaRequest, ListUserMediaResponse, ServerUsage,
    media_query_service_server::{MediaQueryService, MediaQueryServiceServer},
};
use ruma::ServerName;
use tonic::{Request, Response, Status};
use tracing::instrument;

pub(super) use self::place::{Place, next, number_of, page};
use super::{
    check::{at_most, failed, invalid, unsigned},
    users::user,
};
use crate::{
    app::App,
    store::{pool, reads::media},
    users::BlobHash,
    worker::now_ms,
};

/// Most blobs, and most servers, that a request may ask about.
const MOST_BLOBS: usize = 1_000;
const MOST_SERVERS: u32 = 1_000;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> MediaQueryServiceServer<impl MediaQueryService> {
    MediaQueryServiceServer::new(Service { app: app.clone() })
}

impl Service {
    async fn conn(&self) -> Result<pool::PooledConnection, Status> {
        pool::get(&self.app.pool).await.map_err(|error| failed(&error))
    }
}

#[tonic::async_trait]
impl MediaQueryService for Service {
    #[instrument(name = "rpc.media.find_media", skip_all)]
    async fn find_media(
        &self,
        request: Request<FindMediaRequest>,
    ) -> Result<Response<FindMediaResponse>, Status> {
        let FindMediaRequest { server_name, media_id } = request.into_inner();
        check_name(&server_name, &media_id)?;
        let (conn, now) = (self.conn().await?, now_ms());
        let (rows, thumbnails) = futures::try_join!(
            media::find(&conn, &server_name, &media_id, &now),
            media::list_thumbnails(&conn, &server_name, &media_id),
        )
        .map_err(|error| failed(&error))?;
        let found = rows.into_iter().next().map(|row| encode::media(row, thumbnails));
        Ok(Response::new(FindMediaResponse { media: found }))
    }

    #[instrument(name = "rpc.media.list_user_media", skip_all)]
    async fn list_user_media(
        &self,
        request: Request<ListUserMediaRequest>,
    ) -> Result<Response<ListUserMediaResponse>, Status> {
        let ListUserMediaRequest { user_id, page_token, limit } = request.into_inner();
        user(&user_id)?;
        let before = number_of(&page_token)?;
        let limit = page(limit);
        let conn = self.conn().await?;
        let rows = media::list_of_user(&conn, &user_id, &before, &now_ms(), &limit).await;
        let rows = rows.map_err(|error| failed(&error))?;
        let next_page_token = next(&rows, limit, |row| row.no.to_string());
        let media = rows.into_iter().map(|row| encode::media(row, Vec::new())).collect();
        Ok(Response::new(ListUserMediaResponse { media, next_page_token }))
    }

    #[instrument(name = "rpc.media.get_user_usage", skip_all)]
    async fn get_user_usage(
        &self,
        request: Request<GetUserUsageRequest>,
    ) -> Result<Response<GetUserUsageResponse>, Status> {
        let GetUserUsageRequest { user_id } = request.into_inner();
        user(&user_id)?;
        let rows = media::find_usage(&*self.conn().await?, &now_ms(), &user_id).await;
        let usage = rows.map_err(|error| failed(&error))?.into_iter().next();
        let usage = usage.map(|row| GetUserUsageResponse {
            files: unsigned(row.files),
            bytes: unsigned(row.bytes),
            pending: u32::try_from(row.pending).unwrap_or(u32::MAX),
            day_bytes: unsigned(row.day_bytes),
            day_ts: row.day_ts,
        });
        Ok(Response::new(usage.unwrap_or_default()))
    }

    #[instrument(name = "rpc.media.get_cache_usage", skip_all)]
    async fn get_cache_usage(
        &self,
        request: Request<GetCacheUsageRequest>,
    ) -> Result<Response<GetCacheUsageResponse>, Status> {
        let GetCacheUsageRequest { servers } = request.into_inner();
        let servers = if servers == 0 { 100 } else { servers.min(MOST_SERVERS) };
        let conn = pool::get(&self.app.search_pool).await.map_err(|error| failed(&error))?;
        let rows = media::sum_cached(&conn, &servers.into()).await.map_err(|error| failed(&error))?;
        let mut rows = rows.into_iter();
        let (files, bytes) = rows.next().map_or((0, 0), |all| (unsigned(all.files), unsigned(all.bytes)));
        let servers = rows.map(|row| ServerUsage {
            server_name: row.name,
            files: unsigned(row.files),
            bytes: unsigned(row.bytes),
        });
        Ok(Response::new(GetCacheUsageResponse { files, bytes, servers: servers.collect() }))
    }

    #[instrument(name = "rpc.media.list_evictable", skip_all)]
    async fn list_evictable(
        &self,
        request: Request<ListEvictableRequest>,
    ) -> Result<Response<ListEvictableResponse>, Status> {
        let ListEvictableRequest { server_name, accessed_before_ts, limit } = request.into_inner();
        let before = if accessed_before_ts == 0 { i64::MAX } else { accessed_before_ts };
        let (limit, conn) = (page(limit), self.conn().await?);
        let rows = if server_name.is_empty() {
            media::list_old(&conn, &true, &before, &i64::MIN, "", "", &limit).await
        } else {
            check_server(&server_name)?;
            media::list_old_of_server(&conn, &server_name, &before, &i64::MIN, "", &limit).await
        };
        let media = rows.map_err(|error| failed(&error))?.into_iter().map(|row| EvictableMedia {
            bytes: unsigned(row.size.saturating_add(row.thumbnail_bytes)),
            server_name: row.server_name,
            media_id: row.media_id,
            accessed_ts: row.accessed_ts,
        });
        Ok(Response::new(ListEvictableResponse { media: media.collect() }))
    }

    #[instrument(name = "rpc.media.find_unnamed_blobs", skip_all)]
    async fn find_unnamed_blobs(
        &self,
        request: Request<FindUnnamedBlobsRequest>,
    ) -> Result<Response<FindUnnamedBlobsResponse>, Status> {
        let FindUnnamedBlobsRequest { sha256 } = request.into_inner();
        at_most("sha256", sha256.len(), MOST_BLOBS)?;
        if sha256.iter().any(|hash| hash.len() != size_of::<BlobHash>()) {
            return Err(invalid("sha256", "must be 32 bytes"));
        }
        let hashes: Vec<Vec<u8>> = sha256.iter().map(|hash| hash.to_vec()).collect();
        let rows = media::find_unnamed(&*self.conn().await?, &hashes).await;
        let sha256 = rows.map_err(|error| failed(&error))?.into_iter().map(|(hash,)| hash.into()).collect();
        Ok(Response::new(FindUnnamedBlobsResponse { sha256 }))
    }
}

/// Checks a server name.
pub(super) fn check_server(server_name: &str) -> Result<(), Status> {
    super::check::name("server_name", server_name)?;
    <&ServerName>::try_from(server_name).map(|_| ()).map_err(|error| invalid("server_name", error))
}

/// Checks what names media.
pub(super) fn check_name(server_name: &str, media_id: &str) -> Result<(), Status> {
    check_server(server_name)?;
    if is_media_id(media_id) { Ok(()) } else { Err(invalid("media_id", "is not a media ID")) }
}
