//! `RoomGraphService.GetForwardExtremities`

use plexus_proto::room::v1::{GetForwardExtremitiesRequest, GetForwardExtremitiesResponse, GraphEvent};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{LIMIT, chunks, room};
use crate::{
    app::App,
    rpc::{
        check::{self, failed, unsigned},
        rooms::{as_of, current_state},
    },
    store::{pool, reads},
};

/// Most forward extremities that a new event is to cite.
const MAX_CITED: usize = 10;

#[instrument(name = "rpc.graph.get_forward_extremities", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<GetForwardExtremitiesRequest>,
) -> Result<Response<GetForwardExtremitiesResponse>, Status> {
    let GetForwardExtremitiesRequest { room_id, keys } = request.into_inner();
    check::at_most("keys", keys.len(), LIMIT)?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = room(app, &conn, &room_id).await?;
    let extremities = reads::graph::list_forward_extremities(&conn, &view.room.room_nid)
        .await
        .map_err(|error| failed(&error))?;
    let keys = keys.iter().map(|key| (key.r#type.as_str(), key.state_key.as_str())).collect::<Vec<_>>();
    let nids = current_state(&view).find(app, &conn, &keys).await.map_err(|error| failed(&error))?;
    drop(conn);
    let nids = nids.into_iter().flatten().collect::<Vec<_>>();
    let state = chunks::read(app, &nids, false).await.map_err(|error| failed(&error))?;
    let room_version = extremities.first().map(|row| row.version.clone()).unwrap_or_default();
    let depth = extremities.first().map_or(0, |row| row.room_depth);
    let cited = extremities.into_iter().take(MAX_CITED).map(|row| GraphEvent {
        event_id: row.event_id,
        depth: unsigned(row.depth),
        ..GraphEvent::default()
    });
    Ok(Response::new(GetForwardExtremitiesResponse {
        room_version,
        forward_extremities: cited.collect(),
        next_depth: unsigned(depth.saturating_add(1).min(plexus_events::MAX_INTEGER)),
        state,
        as_of: Some(as_of(app, &view)),
    }))
}
