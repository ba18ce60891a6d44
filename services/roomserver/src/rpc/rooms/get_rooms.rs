//! `RoomQueryService.GetRooms`

use plexus_proto::room::v1::{GetRoomsRequest, GetRoomsResponse, RoomInfo};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::LIMIT;
use crate::{
    app::App,
    rpc::check::{self, failed, unsigned},
    store::{pool, reads, reads::rooms::InfoRow},
};

#[instrument(name = "rpc.room.get_rooms", skip_all)]
pub(super) async fn answer(
    app: &App,
    request: Request<GetRoomsRequest>,
) -> Result<Response<GetRoomsResponse>, Status> {
    let GetRoomsRequest { room_ids } = request.into_inner();
    check::at_most("room_ids", room_ids.len(), LIMIT)?;
    for room_id in &room_ids {
        check::room_id("room_ids", room_id)?;
        check::storable("room_ids", room_id)?;
    }
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let rows = reads::rooms::list_infos(&conn, &app.config.server.name, &room_ids)
        .await
        .map_err(|error| failed(&error))?;
    Ok(Response::new(GetRoomsResponse { rooms: rows.into_iter().map(info).collect() }))
}

/// A room as described to services.
pub(super) fn info(row: InfoRow) -> RoomInfo {
    RoomInfo {
        room_id: row.room_id,
        room_version: row.version,
        joined_members: unsigned(row.joined_members.into()),
        invited_members: unsigned(row.invited_members.into()),
        published: row.published,
        latest_event_ids: row.latest_event_ids,
        depth: unsigned(row.depth),
        partition: u32::try_from(row.partition).unwrap_or(0),
        last_seq: unsigned(row.last_seq),
        last_event_ts: row.last_event_ts,
        bump_ts: row.bump_ts,
        encrypted: row.encrypted,
        room_type: row.room_type,
        resident: row.resident,
    }
}
