//! `RoomGraphService.FindEvents`

use plexus_proto::room::v1::{FindEventsRequest, FindEventsResponse, KnownEvent};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{LIMIT, room};
use crate::{
    app::App,
    rooms::flags,
    rpc::check::{self, failed},
    store::{pool, reads},
};

#[instrument(name = "rpc.graph.find_events", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<FindEventsRequest>,
) -> Result<Response<FindEventsResponse>, Status> {
    let FindEventsRequest { room_id, event_ids } = request.into_inner();
    check::at_most("event_ids", event_ids.len(), LIMIT)?;
    for event_id in &event_ids {
        check::event_id("event_ids", event_id)?;
    }
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = room(app, &conn, &room_id).await?;
    let rows = reads::graph::find_known(&conn, &event_ids, &view.room.room_nid)
        .await
        .map_err(|error| failed(&error))?;
    let events = rows.into_iter().map(|(event_id, r#type, state_key, bits)| KnownEvent {
        event_id,
        r#type,
        state_key,
        placed: bits & flags::OUTLIER == 0,
    });
    Ok(Response::new(FindEventsResponse { events: events.collect() }))
}
