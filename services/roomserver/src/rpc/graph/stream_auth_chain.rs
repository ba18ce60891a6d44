//! `RoomGraphService.StreamAuthChain`

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream, stream::BoxStream};
use plexus_proto::room::v1::{StreamAuthChainRequest, StreamAuthChainResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{LIMIT, chunks::Chunks, room};
use crate::{
    app::App,
    rpc::check::{self, failed, not_found},
    store::{pool, reads},
};

#[instrument(name = "rpc.graph.stream_auth_chain", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<StreamAuthChainRequest>,
) -> Result<Response<BoxStream<'static, Result<StreamAuthChainResponse, Status>>>, Status> {
    let StreamAuthChainRequest { room_id, event_ids, include_given, ids_only } = request.into_inner();
    check::at_most("event_ids", event_ids.len(), LIMIT)?;
    for event_id in &event_ids {
        check::event_id("event_ids", event_id)?;
    }
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = room(app, &conn, &room_id).await?;
    let given =
        reads::graph::find(&conn, &event_ids, &view.room.room_nid).await.map_err(|error| failed(&error))?;
    if given.len() != event_ids.iter().collect::<BTreeSet<_>>().len() {
        return Err(not_found("the room has no such event"));
    }
    let given: Vec<i64> = given.into_iter().map(|row| row.event_nid).collect();
    let chain = reads::graph::list_auth_chain(&conn, &given).await.map_err(|error| failed(&error))?;
    drop(conn);
    let mut events: BTreeSet<i64> = chain.into_iter().map(|(nid,)| nid).collect();
    if include_given {
        events.extend(given);
    }
    let work = (app.clone(), Chunks::new(events.into_iter().collect(), ids_only));
    let chunks = stream::try_unfold(work, |(app, mut chunks)| async move {
        let events = chunks.next(&app).await.map_err(|error| failed(&error))?;
        Ok((!events.is_empty()).then_some((StreamAuthChainResponse { events }, (app, chunks))))
    });
    Ok(Response::new(chunks.boxed()))
}
