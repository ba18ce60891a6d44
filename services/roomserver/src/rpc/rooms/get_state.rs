//! `RoomQueryService.GetState`

use std::collections::HashMap;

use plexus_proto::room::v1::{GetStateRequest, GetStateResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{LIMIT, access::view, encode, point};
use crate::{
    app::App,
    rpc::check::{self, failed},
    store::{pool, reads},
};

#[instrument(name = "rpc.room.get_state", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<GetStateRequest>,
) -> Result<Response<GetStateResponse>, Status> {
    let GetStateRequest { room_id, viewer, keys, at } = request.into_inner();
    check::at_most("keys", keys.len(), LIMIT)?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = view(app, &conn, &room_id, &viewer).await?;
    let state = point::resolve(app, &conn, &view, at).await?;
    let keys = keys.iter().map(|key| (key.r#type.as_str(), key.state_key.as_str())).collect::<Vec<_>>();
    let nids = state.find(app, &conn, &keys).await.map_err(|error| failed(&error))?;
    let nids = nids.into_iter().flatten().collect::<Vec<_>>();
    let rows = reads::events::list(&conn, &true, &nids).await.map_err(|error| failed(&error))?;
    let mut rows = rows.into_iter().map(|row| (row.event_nid, row)).collect::<HashMap<_, _>>();
    let events =
        nids.iter().filter_map(|nid| rows.remove(nid)).filter_map(|row| encode::event(row, view.reader()));
    Ok(Response::new(GetStateResponse { events: events.collect(), as_of: Some(encode::as_of(app, &view)) }))
}
