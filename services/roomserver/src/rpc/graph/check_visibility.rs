//! `RoomGraphService.CheckVisibility`

use std::collections::HashMap;

use plexus_proto::room::v1::{
    CheckVisibilityRequest, CheckVisibilityResponse, EventVisibility, check_visibility_request::Reader,
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{LIMIT, room, server_visibility};
use crate::{
    app::App,
    rooms::flags,
    rpc::{
        check::{self, failed, invalid},
        rooms::visible_to_user,
    },
    store::{pool, reads},
};

#[instrument(name = "rpc.graph.check_visibility", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<CheckVisibilityRequest>,
) -> Result<Response<CheckVisibilityResponse>, Status> {
    let CheckVisibilityRequest { room_id, event_ids, reader } = request.into_inner();
    check::at_most("event_ids", event_ids.len(), LIMIT)?;
    for event_id in &event_ids {
        check::event_id("event_ids", event_id)?;
    }
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = room(app, &conn, &room_id).await?;
    let found = match reader {
        None => return Err(invalid("reader", "is not set")),
        Some(Reader::UserId(user_id)) => {
            check::user_id("user_id", &user_id)?;
            check::storable("user_id", &user_id)?;
            let seen = visible_to_user(app, &conn, &room_id, &event_ids, &user_id).await;
            seen.map_err(|error| failed(&error))?
        }
        Some(Reader::Server(server)) => {
            check::name("server", &server)?;
            let mut rows = reads::graph::find(&conn, &event_ids, &view.room.room_nid)
                .await
                .map_err(|error| failed(&error))?;
            rows.retain(|row| row.flags & (flags::REJECTED | flags::OUTLIER) == 0);
            let seen = server_visibility::of_server(app, &conn, view.room.room_nid, &rows, &server)
                .await
                .map_err(|error| failed(&error))?;
            let seen = rows.into_iter().zip(seen);
            seen.map(|(row, visible)| (row.event_id, (visible, String::new()))).collect::<HashMap<_, _>>()
        }
    };
    let events = event_ids.into_iter().filter_map(|event_id| {
        let (visible, membership) = found.get(&event_id)?.clone();
        Some(EventVisibility { event_id, visible, membership })
    });
    Ok(Response::new(CheckVisibilityResponse { events: events.collect() }))
}
