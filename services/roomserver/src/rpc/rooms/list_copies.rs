//! `RoomQueryService.ListCopies`

use plexus_proto::room::v1::{ListCopiesRequest, ListCopiesResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    LIMIT,
    encode::{self, Reader},
    erasure,
    get_events::histories,
};
use crate::{
    app::App,
    rpc::check::{self, failed},
    store::{pool, reads},
};

#[instrument(name = "rpc.room.list_copies", skip_all)]
pub(super) async fn answer(
    app: &App,
    request: Request<ListCopiesRequest>,
) -> Result<Response<ListCopiesResponse>, Status> {
    let ListCopiesRequest { viewer, event_ids } = request.into_inner();
    check::at_most("event_ids", event_ids.len(), LIMIT)?;
    for event_id in &event_ids {
        check::event_id("event_ids", event_id)?;
    }
    check::user_id("viewer", &viewer)?;
    check::storable("viewer", &viewer)?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let rows = reads::events::list_by_id(&conn, &true, &event_ids).await.map_err(|error| failed(&error))?;
    let histories = histories(app, &conn, &viewer, &rows).await.map_err(|error| failed(&error))?;
    let copies = rows.into_iter().filter_map(|row| {
        let reader = histories.get(&row.room_nid).map(|history| Reader { user_id: &viewer, history });
        erasure::gets_copy(&row, reader).then(|| encode::event(row, reader)).flatten()
    });
    Ok(Response::new(ListCopiesResponse { copies: copies.collect() }))
}
