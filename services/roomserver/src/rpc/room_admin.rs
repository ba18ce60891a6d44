//! `RoomAdminService`: changes and verifies rooms for operators.

mod change;

use std::time::Instant;

use diesel_async::AsyncPgConnection;
use plexus_proto::operator::v1::{
    BackwardExtremity, Extremity, ListExtremitiesRequest, ListExtremitiesResponse, PurgeRoomRequest,
    PurgeRoomResponse, ReprocessRequest, ReprocessResponse, StateDifference, VerifyRoomRequest,
    VerifyRoomResponse,
    room_admin_service_server::{RoomAdminService, RoomAdminServiceServer},
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::check::{failed, room_id, room_unknown, unsigned};
use crate::{
    app::App,
    graph::Reader,
    store::{
        pool,
        reads::vertices::{self, GraphRoomRow},
    },
};

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> RoomAdminServiceServer<impl RoomAdminService> {
    RoomAdminServiceServer::new(Service { app: app.clone() })
}

/// Finds a room that this server knows.
async fn find_room(conn: &AsyncPgConnection, room_id: &str) -> Result<GraphRoomRow, Status> {
    let rooms = vertices::find_room(conn, room_id).await.map_err(|error| failed(&error))?;
    rooms.into_iter().next().ok_or_else(room_unknown)
}

#[tonic::async_trait]
impl RoomAdminService for Service {
    #[instrument(name = "rpc.operator.verify_room", skip_all)]
    async fn verify_room(
        &self,
        request: Request<VerifyRoomRequest>,
    ) -> Result<Response<VerifyRoomResponse>, Status> {
        let request = request.into_inner();
        room_id("room_id", &request.room_id)?;
        let started = Instant::now();
        let conn = pool::get(&self.app.search_pool).await.map_err(|error| failed(&error))?;
        let room = find_room(&conn, &request.room_id).await?;
        let mut reader = Reader::new(&conn, &self.app.nodes, room).map_err(|error| failed(&error))?;
        let report = reader.verify().await.map_err(|error| failed(&error))?;
        let differences = report.differences.into_iter();
        Ok(Response::new(VerifyRoomResponse {
            agrees: report.differing == 0 && report.current_state_agrees,
            events: report.events,
            resolutions: report.resolutions,
            taken_as_stored: report.taken_as_stored,
            outliers: report.outliers,
            differing: report.differing,
            differences: differences
                .map(|found| StateDifference {
                    event_id: found.event_id,
                    members: found.members,
                    other: found.other,
                    damage: found.damage,
                })
                .collect(),
            current_state_agrees: report.current_state_agrees,
            elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))
    }

    #[instrument(name = "rpc.operator.reprocess", skip_all)]
    async fn reprocess(
        &self,
        request: Request<ReprocessRequest>,
    ) -> Result<Response<ReprocessResponse>, Status> {
        change::reprocess(&self.app, request.into_inner()).await.map(Response::new)
    }

    #[instrument(name = "rpc.operator.purge_room", skip_all)]
    async fn purge_room(
        &self,
        request: Request<PurgeRoomRequest>,
    ) -> Result<Response<PurgeRoomResponse>, Status> {
        change::purge(&self.app, request.into_inner()).await.map(Response::new)
    }

    #[instrument(name = "rpc.operator.list_extremities", skip_all)]
    async fn list_extremities(
        &self,
        request: Request<ListExtremitiesRequest>,
    ) -> Result<Response<ListExtremitiesResponse>, Status> {
        let request = request.into_inner();
        room_id("room_id", &request.room_id)?;
        let conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let room = find_room(&conn, &request.room_id).await?;
        let forward =
            vertices::list_vertices(&conn, &room.latest_nids).await.map_err(|error| failed(&error))?;
        let backward =
            vertices::list_backward(&conn, &room.room_nid).await.map_err(|error| failed(&error))?;
        Ok(Response::new(ListExtremitiesResponse {
            forward: forward
                .into_iter()
                .map(|row| Extremity {
                    event_id: row.event_id,
                    depth: unsigned(row.depth),
                    sender: row.sender,
                    r#type: row.event_type,
                })
                .collect(),
            backward: backward
                .into_iter()
                .map(|row| BackwardExtremity { event_id: row.event_id, cited_by: row.cited_by })
                .collect(),
        }))
    }
}
