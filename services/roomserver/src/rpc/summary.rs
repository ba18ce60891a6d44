//! `RoomSummaryService`: rooms as seen from outside, the directory, users.

mod directory;
mod facts;
mod list_mutual_rooms;
mod search_users;
mod space;

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::{
    GetSummariesRequest, GetSummariesResponse, ListMutualRoomsRequest, ListMutualRoomsResponse,
    ListPublicRoomsRequest, ListPublicRoomsResponse, SearchUsersRequest, SearchUsersResponse,
    WalkSpaceRequest, WalkSpaceResponse,
    room_summary_service_server::{RoomSummaryService, RoomSummaryServiceServer},
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use self::facts::{Room, Viewer, mark_accessible};
use super::check::{self, failed};
use crate::{
    app::App,
    store::{StoreError, pool, reads},
};

/// Most rooms that one request may name.
const ROOMS: usize = 1000;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> RoomSummaryServiceServer<impl RoomSummaryService> {
    RoomSummaryServiceServer::new(Service { app: app.clone() })
}

impl Service {
    async fn conn(&self) -> Result<pool::PooledConnection, Status> {
        pool::get(&self.app.pool).await.map_err(|error| failed(&error))
    }

    /// A connection for what may have to look at much.
    async fn search_conn(&self) -> Result<pool::PooledConnection, Status> {
        pool::get(&self.app.search_pool).await.map_err(|error| failed(&error))
    }
}

#[tonic::async_trait]
impl RoomSummaryService for Service {
    #[instrument(name = "rpc.summary.get_summaries", skip_all)]
    async fn get_summaries(
        &self,
        request: Request<GetSummariesRequest>,
    ) -> Result<Response<GetSummariesResponse>, Status> {
        let GetSummariesRequest { room_ids, viewer } = request.into_inner();
        check::at_most("room_ids", room_ids.len(), ROOMS)?;
        for room_id in &room_ids {
            check::room_id("room_ids", room_id)?;
            check::storable("room_ids", room_id)?;
        }
        if !viewer.is_empty() {
            user("viewer", &viewer)?;
        }
        let conn = self.conn().await?;
        let rooms =
            describe(&conn, Viewer::User(&viewer), &room_ids).await.map_err(|error| failed(&error))?;
        let seen = rooms.into_iter().filter(|room| room.accessible);
        Ok(Response::new(GetSummariesResponse { rooms: seen.map(|room| room.summary).collect() }))
    }

    #[instrument(name = "rpc.summary.walk_space", skip_all, fields(room.id = %request.get_ref().room_id))]
    async fn walk_space(
        &self,
        request: Request<WalkSpaceRequest>,
    ) -> Result<Response<WalkSpaceResponse>, Status> {
        space::answer(&*self.search_conn().await?, request.into_inner()).await.map(Response::new)
    }

    #[instrument(name = "rpc.summary.list_public_rooms", skip_all)]
    async fn list_public_rooms(
        &self,
        request: Request<ListPublicRoomsRequest>,
    ) -> Result<Response<ListPublicRoomsResponse>, Status> {
        let request = request.into_inner();
        let searches = !request.search_term.is_empty() || request.has_room_types;
        let conn = if searches { self.search_conn().await? } else { self.conn().await? };
        directory::answer(&conn, request).await.map(Response::new)
    }

    #[instrument(name = "rpc.summary.search_users", skip_all)]
    async fn search_users(
        &self,
        request: Request<SearchUsersRequest>,
    ) -> Result<Response<SearchUsersResponse>, Status> {
        search_users::answer(&*self.search_conn().await?, &self.app.config.server.name, request.into_inner())
            .await
            .map(Response::new)
    }

    #[instrument(name = "rpc.summary.list_mutual_rooms", skip_all)]
    async fn list_mutual_rooms(
        &self,
        request: Request<ListMutualRoomsRequest>,
    ) -> Result<Response<ListMutualRoomsResponse>, Status> {
        list_mutual_rooms::answer(&*self.conn().await?, request.into_inner()).await.map(Response::new)
    }
}

/// Describes rooms, and tells of each whether the viewer may know of it.
async fn describe(
    conn: &AsyncPgConnection,
    viewer: Viewer<'_>,
    room_ids: &[String],
) -> Result<Vec<Room>, StoreError> {
    let user = match viewer {
        Viewer::User(user) => user,
        Viewer::Server(_) => "",
    };
    let rows = reads::facts::list_rooms(conn, user, room_ids).await?;
    let mut rooms = facts::read(conn, rows).await?;
    mark_accessible(conn, viewer, &mut rooms).await?;
    Ok(rooms)
}

/// Checks a user ID by which something is looked up.
fn user(field: &str, user_id: &str) -> Result<(), Status> {
    check::user_id(field, user_id)?;
    check::storable(field, user_id)
}
