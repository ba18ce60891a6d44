//! `RoomHistoryService.ListThreads`

use std::collections::HashMap;

use plexus_proto::room::v1::{ListThreadsRequest, ListThreadsResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    LIMIT,
    access::{Facts, view},
    encode,
};
use crate::{
    app::App,
    rpc::check::{failed, invalid},
    store::{pool, reads, reads::relations::RootRow},
};

/// Threads looked at in one step.
const STEP: usize = 200;
/// Steps after which a page ends with what there is.
const STEPS: usize = 10;
/// Bytes after which a page ends.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

#[instrument(name = "rpc.room.list_threads", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(in crate::rpc) async fn answer(
    app: &App,
    request: Request<ListThreadsRequest>,
) -> Result<Response<ListThreadsResponse>, Status> {
    let ListThreadsRequest { room_id, viewer, participated, from, limit } = request.into_inner();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if !(1..=LIMIT).contains(&limit) {
        return Err(invalid("limit", format!("must be between 1 and {LIMIT}")));
    }
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = view(app, &conn, &room_id, &viewer).await?;
    let mut up_to = from.unwrap_or(i64::MAX);
    let mut chosen = Vec::new();
    let mut next = None;
    for step in 1..=STEPS {
        let count = STEP.max(limit + 1);
        let rows = reads::relations::scan_threads(
            &conn,
            &view.room.room_nid,
            &up_to,
            &!participated,
            &viewer,
            &viewer,
            &i64::try_from(count).unwrap_or(i64::MAX),
        )
        .await
        .map_err(|error| failed(&error))?;
        let Some(last) = rows.last().map(|row| row.latest_seq) else { break };
        let exhausted = rows.len() < count;
        chosen.extend(rows.into_iter().filter(|row| view.may_see(&facts(row))));
        if let Some(over) = chosen.get(limit) {
            next = Some(over.latest_seq);
            break;
        }
        if exhausted {
            break;
        }
        up_to = last.saturating_sub(1);
        if step == STEPS {
            next = Some(up_to);
        }
    }
    chosen.truncate(limit);

    let nids = chosen.iter().map(|row| row.event_nid).collect::<Vec<_>>();
    let rows = reads::events::list(&conn, &true, &nids).await.map_err(|error| failed(&error))?;
    let mut rows = rows.into_iter().map(|row| (row.event_nid, row)).collect::<HashMap<_, _>>();
    let mut roots = Vec::with_capacity(chosen.len());
    let mut bytes = 0;
    for root in chosen {
        if bytes >= PAGE_BYTES {
            next = Some(root.latest_seq);
            break;
        }
        if let Some(row) = rows.remove(&root.event_nid) {
            let Some(event) = encode::event(row, view.reader()) else { continue };
            bytes += encode::size(&event);
            roots.push(event);
        }
    }
    Ok(Response::new(ListThreadsResponse { roots, next }))
}

fn facts(row: &RootRow) -> Facts<'_> {
    Facts {
        seq: row.seq,
        event_type: &row.event_type,
        state_key: row.state_key.as_deref(),
        flags: row.flags,
        visibility: row.visibility,
    }
}
