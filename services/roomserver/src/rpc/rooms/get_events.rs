//! `RoomQueryService.GetEvents`

use std::collections::{HashMap, HashSet};

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::{GetEventsRequest, GetEventsResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    LIMIT,
    access::{Facts, history_of},
    encode::{self, Reader},
    forked_history,
};
use crate::{
    app::App,
    rooms::flags,
    rpc::check::{self, failed},
    store::{StoreError, pool, reads, reads::events::EventRow},
    visibility::MemberHistory,
};

#[instrument(name = "rpc.room.get_events", skip_all)]
pub(super) async fn answer(
    app: &App,
    request: Request<GetEventsRequest>,
) -> Result<Response<GetEventsResponse>, Status> {
    let GetEventsRequest { event_ids, viewer, room_id } = request.into_inner();
    check::at_most("event_ids", event_ids.len(), LIMIT)?;
    for event_id in &event_ids {
        check::event_id("event_ids", event_id)?;
    }
    if !viewer.is_empty() {
        check::user_id("viewer", &viewer)?;
        check::storable("viewer", &viewer)?;
    }
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let mut rows =
        reads::events::list_by_id(&conn, &true, &event_ids).await.map_err(|error| failed(&error))?;
    rows.retain(|row| room_id.is_empty() || row.room_id == room_id);
    let histories = if viewer.is_empty() {
        rows.retain(|row| row.flags & flags::REJECTED == 0);
        HashMap::new()
    } else {
        let histories = histories(app, &conn, &viewer, &rows).await.map_err(|error| failed(&error))?;
        rows.retain(|row| {
            histories.get(&row.room_nid).is_some_and(|history| facts(row).visible_to(&viewer, history))
        });
        histories
    };
    let mut rows = rows.into_iter().map(|row| (row.event_id.clone(), row)).collect::<HashMap<_, _>>();
    let events = event_ids.iter().filter_map(|event_id| rows.remove(event_id)).filter_map(|row| {
        let reader = histories.get(&row.room_nid).map(|history| Reader { user_id: &viewer, history });
        encode::event(row, reader)
    });
    Ok(Response::new(GetEventsResponse { events: events.collect() }))
}

/// The viewer's membership over time in the rooms of the events.
pub(super) async fn histories(
    app: &App,
    conn: &AsyncPgConnection,
    viewer: &str,
    rows: &[EventRow],
) -> Result<HashMap<i64, MemberHistory>, StoreError> {
    let rooms = rows.iter().map(|row| row.room_nid).collect::<HashSet<_>>().into_iter().collect::<Vec<_>>();
    if rooms.is_empty() {
        return Ok(HashMap::new());
    }
    let (changes, forgotten) = futures::try_join!(
        reads::members::list_changes_in(conn, viewer, &rooms),
        reads::members::list_forgotten(conn, viewer, &rooms),
    )?;
    // Somebody who has forgotten a room counts as one who never was in it.
    let mut histories = changes
        .chunk_by(|a, b| a.room_nid == b.room_nid)
        .filter_map(|changes| changes.first().map(|first| (first.room_nid, history_of(changes))))
        .filter(|(room, _)| !forgotten.contains(&(*room,)))
        .collect::<HashMap<_, _>>();
    for room in rooms {
        histories.entry(room).or_default();
    }
    let nids = rows.iter().map(|row| row.event_nid).collect::<Vec<_>>();
    forked_history::add_memberships_at(app, conn, &mut histories, viewer, &nids).await?;
    Ok(histories)
}

/// Tells which events of a room a user may see, and their membership at each.
pub(in crate::rpc) async fn visible_to_user(
    app: &App,
    conn: &AsyncPgConnection,
    room_id: &str,
    event_ids: &[String],
    user_id: &str,
) -> Result<HashMap<String, (bool, String)>, StoreError> {
    let mut rows = reads::events::list_by_id(conn, &false, event_ids).await?;
    rows.retain(|row| row.room_id == room_id && row.flags & flags::REJECTED == 0);
    let histories = histories(app, conn, user_id, &rows).await?;
    let seen = rows.into_iter().filter_map(|row| {
        let history = histories.get(&row.room_nid)?;
        let visible = facts(&row).visible_to(user_id, history);
        let membership = history.at(row.seq.unwrap_or(0)).as_str().to_owned();
        Some((row.event_id, (visible, membership)))
    });
    Ok(seen.collect())
}

fn facts(row: &EventRow) -> Facts<'_> {
    Facts {
        seq: row.seq,
        event_type: &row.event_type,
        state_key: row.state_key.as_deref(),
        flags: row.flags,
        visibility: row.visibility,
    }
}
