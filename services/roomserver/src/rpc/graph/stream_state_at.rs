//! `RoomGraphService.StreamStateAt`

use futures::{StreamExt as _, stream, stream::BoxStream};
use plexus_proto::room::v1::{StatePoint, StreamStateAtRequest, StreamStateAtResponse, state_point::Point};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{chunks::Chunks, room};
use crate::{
    app::App,
    rpc::{check::failed, rooms::state_at},
    store::{pool, reads},
};

#[instrument(name = "rpc.graph.stream_state_at", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<StreamStateAtRequest>,
) -> Result<Response<BoxStream<'static, Result<StreamStateAtResponse, Status>>>, Status> {
    let StreamStateAtRequest { room_id, event_id, after, ids_only } = request.into_inner();
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = room(app, &conn, &room_id).await?;
    let point = if after { Point::AfterEventId(event_id) } else { Point::BeforeEventId(event_id) };
    let state = state_at(app, &conn, &view, Some(StatePoint { point: Some(point) })).await?;
    let state = state.list(app, &conn, true, true).await.map_err(|error| failed(&error))?;
    let chain = reads::graph::list_auth_chain(&conn, &state).await.map_err(|error| failed(&error))?;
    drop(conn);
    let chain = chain.into_iter().map(|(nid,)| nid).collect();
    let work = (app.clone(), Chunks::new(state, ids_only), Chunks::new(chain, ids_only));
    let chunks = stream::try_unfold(work, |(app, mut state, mut chain)| async move {
        let mut chunk = StreamStateAtResponse {
            state: state.next(&app).await.map_err(|error| failed(&error))?,
            auth_chain: Vec::new(),
        };
        if chunk.state.is_empty() {
            chunk.auth_chain = chain.next(&app).await.map_err(|error| failed(&error))?;
        }
        let ended = chunk.state.is_empty() && chunk.auth_chain.is_empty();
        Ok((!ended).then_some((chunk, (app, state, chain))))
    });
    Ok(Response::new(chunks.boxed()))
}
