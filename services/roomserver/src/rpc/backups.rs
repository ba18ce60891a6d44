//! `BackupService`: reads backups of room keys.

use futures::{StreamExt as _, stream, stream::BoxStream};
use plexus_proto::{
    log::v1::{BackupKey, BackupState},
    user::v1::{
        GetBackupVersionRequest, GetBackupVersionResponse, StreamBackupKeysRequest, StreamBackupKeysResponse,
        backup_service_server::{BackupService, BackupServiceServer},
    },
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::check::{self, failed, not_found, position, unsigned};
use crate::{
    app::App,
    store::{
        StoreError, pool,
        reads::backups::{self, KeyRow, VersionRow},
    },
};

/// Most keys of a chunk, and bytes of keys after which one ends. No connection is held while one is on its way.
const CHUNK: (i64, i64) = (1_000, 512 * 1024);

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> BackupServiceServer<impl BackupService> {
    BackupServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl BackupService for Service {
    #[instrument(name = "rpc.backup.get_backup_version", skip_all, fields(user.id = %request.get_ref().user_id))]
    async fn get_backup_version(
        &self,
        request: Request<GetBackupVersionRequest>,
    ) -> Result<Response<GetBackupVersionResponse>, Status> {
        let GetBackupVersionRequest { user_id, version } = request.into_inner();
        let row = self.find(&user_id, version).await?;
        let (version, etag, count) = (unsigned(row.version), unsigned(row.etag), unsigned(row.count));
        Ok(Response::new(GetBackupVersionResponse {
            state: Some(BackupState { version, etag, count }),
            algorithm: row.algorithm,
            auth_data: row.auth_data.into(),
        }))
    }

    type StreamBackupKeysStream = BoxStream<'static, Result<StreamBackupKeysResponse, Status>>;

    #[instrument(name = "rpc.backup.stream_backup_keys", skip_all, fields(user.id = %request.get_ref().user_id))]
    async fn stream_backup_keys(
        &self,
        request: Request<StreamBackupKeysRequest>,
    ) -> Result<Response<Self::StreamBackupKeysStream>, Status> {
        let request = request.into_inner();
        check::storable("room_id", &request.room_id)?;
        check::storable("session_id", &request.session_id)?;
        if request.version == 0 {
            return Err(no_version());
        }
        self.find(&request.user_id, request.version).await?;
        let walk = Walk { app: self.app.clone(), request, after: Some(<(String, String)>::default()) };
        let chunks = stream::try_unfold(walk, |mut walk| async move {
            let keys = walk.next().await.map_err(|error| failed(&error))?;
            Ok((!keys.is_empty()).then_some((StreamBackupKeysResponse { keys }, walk)))
        });
        Ok(Response::new(chunks.boxed()))
    }
}

impl Service {
    async fn find(&self, user_id: &str, version: u64) -> Result<VersionRow, Status> {
        check::user_id("user_id", user_id)?;
        check::storable("user_id", user_id)?;
        let conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let rows = match version {
            0 => backups::find_current(&conn, user_id).await,
            _ => backups::find_version(&conn, user_id, &position(version)).await,
        };
        rows.map_err(|error| failed(&error))?.into_iter().next().ok_or_else(no_version)
    }
}

fn no_version() -> Status {
    not_found("there is no such backup")
}

/// Keys that are still to be read.
struct Walk {
    app: App,
    request: StreamBackupKeysRequest,
    /// Room and session of the last key that was read; `None` if there is no more.
    after: Option<(String, String)>,
}

impl Walk {
    async fn next(&mut self) -> Result<Vec<BackupKey>, StoreError> {
        let Some((room, session)) = self.after.take() else { return Ok(Vec::new()) };
        let StreamBackupKeysRequest { user_id, version, room_id, session_id } = &self.request;
        let (version, (limit, bytes)) = (position(*version), CHUNK);
        let conn = pool::get(&self.app.pool).await?;
        let rows = if room_id.is_empty() {
            backups::list_keys(&conn, user_id, &version, &room, &session, &limit, &bytes).await?
        } else if session_id.is_empty() {
            backups::list_keys_of_room(&conn, user_id, &version, room_id, &session, &limit, &bytes).await?
        } else {
            backups::find_key(&conn, user_id, &version, room_id, session_id).await?
        };
        drop(conn);
        if session_id.is_empty() {
            self.after = rows.last().map(|row| (row.room_id.clone(), row.session_id.clone()));
        }
        Ok(rows.into_iter().map(show).collect())
    }
}

fn show(row: KeyRow) -> BackupKey {
    BackupKey {
        room_id: row.room_id,
        session_id: row.session_id,
        first_message_index: unsigned(row.first_message_index),
        forwarded_count: unsigned(row.forwarded_count),
        is_verified: row.is_verified,
        session_data: row.session_data.into(),
    }
}
