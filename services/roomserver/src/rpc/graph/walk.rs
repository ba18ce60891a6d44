//! `RoomGraphService.GetMissingEvents` and `GetBackfill`: walks back along previous events.

use plexus_events::{RoomRules, canonical, redact};
use plexus_proto::room::v1::{
    GetBackfillRequest, GetBackfillResponse, GetMissingEventsRequest, GetMissingEventsResponse, GraphEvent,
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{LIMIT, chunks, room, server_visibility};
use crate::{
    app::App,
    rooms::flags,
    rpc::{
        check::{self, failed, position},
        rooms::View,
    },
    store::{StoreError, pool, pool::PooledConnection, reads, reads::graph::NodeRow},
};

/// Most events of an answer, and most events to begin with.
const MAX_EVENTS: u32 = 100;
/// How many events are looked at for each that is wanted: some may not be shown.
const SLACK: i64 = 2;

#[instrument(name = "rpc.graph.get_missing_events", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn missing_events(
    app: &App,
    request: Request<GetMissingEventsRequest>,
) -> Result<Response<GetMissingEventsResponse>, Status> {
    let GetMissingEventsRequest { room_id, earliest, latest, limit, min_depth, server } =
        request.into_inner();
    check::at_most("earliest", earliest.len(), LIMIT)?;
    let from = start(app, &room_id, &latest, limit, &server).await?;
    let stop_at = find(&from.conn, &earliest, &from.view).await?;
    let stop_at: Vec<i64> = stop_at.iter().map(|row| row.event_nid).collect();
    let begin: Vec<i64> = from.events.iter().map(|row| row.event_nid).collect();
    let rows = reads::graph::walk_back(
        &from.conn,
        &stop_at,
        &position(min_depth),
        &begin,
        &(i64::from(limit) * SLACK + i64::try_from(begin.len()).unwrap_or(0)),
    )
    .await
    .map_err(|error| failed(&error))?;
    let rows = rows.into_iter().filter(|row| !begin.contains(&row.event_nid) && is_good(row));
    let rows: Vec<NodeRow> = rows.take(usize::try_from(limit).unwrap_or(0)).collect();
    let mut events = from.show(app, rows, &server).await?;
    events.reverse();
    Ok(Response::new(GetMissingEventsResponse { events }))
}

#[instrument(name = "rpc.graph.get_backfill", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn backfill(
    app: &App,
    request: Request<GetBackfillRequest>,
) -> Result<Response<GetBackfillResponse>, Status> {
    let GetBackfillRequest { room_id, from, limit, server } = request.into_inner();
    let from = start(app, &room_id, &from, limit, &server).await?;
    let begin: Vec<i64> = from.events.iter().map(|row| row.event_nid).collect();
    let rows = reads::graph::walk_back(&from.conn, &[], &0, &begin, &(i64::from(limit) * SLACK))
        .await
        .map_err(|error| failed(&error))?;
    let rows = rows.into_iter().filter(is_good).take(usize::try_from(limit).unwrap_or(0)).collect();
    let events = from.show(app, rows, &server).await?;
    Ok(Response::new(GetBackfillResponse { events }))
}

/// Where a walk begins.
struct Start {
    conn: PooledConnection,
    view: View,
    events: Vec<NodeRow>,
}

async fn start(
    app: &App,
    room_id: &str,
    event_ids: &[String],
    limit: u32,
    server: &str,
) -> Result<Start, Status> {
    if !(1..=MAX_EVENTS).contains(&limit) {
        return Err(check::invalid("limit", "not between 1 and 100"));
    }
    check::at_most("events to begin with", event_ids.len(), MAX_EVENTS as usize)?;
    check::name("server", server)?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = room(app, &conn, room_id).await?;
    let events = find(&conn, event_ids, &view).await?;
    Ok(Start { conn, view, events })
}

async fn find(conn: &PooledConnection, event_ids: &[String], view: &View) -> Result<Vec<NodeRow>, Status> {
    for event_id in event_ids {
        check::event_id("event IDs", event_id)?;
    }
    let mut rows =
        reads::graph::find(conn, event_ids, &view.room.room_nid).await.map_err(|error| failed(&error))?;
    rows.retain(|row| row.flags & flags::OUTLIER == 0);
    Ok(rows)
}

/// Whether an event is one that other servers are told.
fn is_good(row: &NodeRow) -> bool {
    row.flags & (flags::REJECTED | flags::SOFT_FAILED | flags::OUTLIER) == 0
}

impl Start {
    /// Reads events; what the server may not see is redacted.
    async fn show(&self, app: &App, rows: Vec<NodeRow>, server: &str) -> Result<Vec<GraphEvent>, Status> {
        let nids: Vec<i64> = rows.iter().map(|row| row.event_nid).collect();
        let mut events = chunks::read(app, &nids, false).await.map_err(|error| failed(&error))?;
        if server.is_empty() {
            return Ok(events);
        }
        let seen = server_visibility::of_server(app, &self.conn, self.view.room.room_nid, &rows, server)
            .await
            .map_err(|error| failed(&error))?;
        let front = reads::graph::list_forward_extremities(&self.conn, &self.view.room.room_nid)
            .await
            .map_err(|error| failed(&error))?;
        let rules = front.first().and_then(|row| RoomRules::of(&row.version).ok());
        let Some(rules) = rules else { return Ok(Vec::new()) };
        for (event, visible) in events.iter_mut().zip(seen) {
            if !visible {
                event.json =
                    pruned(&event.json, rules).map_err(|what| failed(&StoreError::Corrupt { what }))?.into();
                event.redacted_for_server = true;
            }
        }
        Ok(events)
    }
}

/// The event as somebody sees it who may not see its content.
fn pruned(json: &[u8], rules: &RoomRules) -> Result<Vec<u8>, String> {
    let mut event = canonical::parse_object(json).map_err(|error| error.to_string())?;
    redact::prune(&mut event, rules).map_err(|error| error.to_string())?;
    Ok(canonical::object_to_vec(&event))
}
