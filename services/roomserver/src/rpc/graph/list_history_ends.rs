//! `RoomGraphService.ListHistoryEnds`

use plexus_proto::room::v1::{HistoryEnd, ListHistoryEndsRequest, ListHistoryEndsResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::room;
use crate::{
    app::App,
    rpc::check::{failed, unsigned},
    store::{pool, reads::vertices},
};

#[instrument(name = "rpc.graph.list_history_ends", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<ListHistoryEndsRequest>,
) -> Result<Response<ListHistoryEndsResponse>, Status> {
    let ListHistoryEndsRequest { room_id } = request.into_inner();
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = room(app, &conn, &room_id).await?;
    let room_nid = &view.room.room_nid;
    let oldest = vertices::find_oldest(&conn, room_nid).await.map_err(|error| failed(&error))?;
    let oldest = oldest.first().map_or(0, |(seq,)| *seq);
    let rows = vertices::list_history_ends(&conn, room_nid, &oldest).await.map_err(|error| failed(&error))?;
    let ends = rows.into_iter().map(|row| HistoryEnd {
        event_id: row.event_id,
        cited_by: row.cited_by,
        depth: unsigned(row.depth),
    });
    Ok(Response::new(ListHistoryEndsResponse { oldest_position: oldest, ends: ends.collect() }))
}
