//! `RoomQueryService.ListTimeline`

use std::collections::HashMap;

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::{Direction, ListTimelineRequest, ListTimelineResponse, RoomEvent};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    LIMIT,
    access::{Facts, Standing, View, view},
    encode,
    filter::Filter,
};
use crate::{
    app::App,
    rpc::{
        check::{failed, invalid, position, unsigned},
        freshness,
    },
    store::{
        StoreError, pool, reads,
        reads::{events::HIDDEN, timeline::ScanRow},
    },
};

/// How many events are looked at for each one asked for, before the page ends with what there is.
const SCANNED_PER_EVENT: usize = 10;
/// Events looked at in any case.
const SCANNED_AT_LEAST: usize = 200;
/// Bytes after which a page ends: receivers take 4 MiB.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Most events whose JSON is read at once.
const BODIES: usize = 250;

#[instrument(name = "rpc.room.list_timeline", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<ListTimelineRequest>,
) -> Result<Response<ListTimelineResponse>, Status> {
    freshness::wait(app, &request, |request| request.at_least).await?;
    let ListTimelineRequest { room_id, viewer, direction, from, to, limit, filter, at_least: _ } =
        request.into_inner();
    let backward = match Direction::try_from(direction) {
        Ok(Direction::Backward) => true,
        Ok(Direction::Forward) => false,
        Ok(Direction::Unspecified) | Err(_) => {
            return Err(invalid("direction", "must be backward or forward"));
        }
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if !(1..=LIMIT).contains(&limit) {
        return Err(invalid("limit", format!("must be between 1 and {LIMIT}")));
    }
    let filter = Filter::new(filter)?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = view(app, &conn, &room_id, &viewer).await?;
    // A viewer who has left sees nothing that came later, unless everybody does.
    let end = view.viewer.as_ref().and_then(|viewer| match viewer.standing {
        Standing::Departed { seq, open: false } => Some(seq),
        Standing::Departed { open: true, .. } | Standing::Member | Standing::Passerby => None,
    });
    let (from, to) = (from.map(position), to.map(position));
    let start = match (from, backward) {
        (Some(from), _) => from,
        (None, false) => 0,
        (None, true) => match view.viewer.as_ref().map(|viewer| viewer.standing) {
            Some(Standing::Departed { seq, .. }) => seq,
            Some(Standing::Member | Standing::Passerby) | None => view.room.last_seq,
        },
    };
    let span = if backward {
        Span { after: to.unwrap_or(0), up_to: end.map_or(start, |end| end.min(start)), backward }
    } else {
        let to = to.unwrap_or(i64::MAX);
        Span { after: start, up_to: end.map_or(to, |end| end.min(to)), backward }
    };
    let page = read(&conn, &view, &filter, span, limit).await.map_err(|error| failed(&error))?;
    Ok(Response::new(ListTimelineResponse {
        events: page.events,
        next: page.next.map(unsigned),
        start: unsigned(start),
    }))
}

/// Events with `after < seq <= up_to`.
#[derive(Debug, Clone, Copy)]
struct Span {
    after: i64,
    up_to: i64,
    backward: bool,
}

impl Span {
    async fn scan(
        &self,
        conn: &AsyncPgConnection,
        room_nid: i64,
        limit: usize,
    ) -> Result<Vec<ScanRow>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        if self.backward {
            reads::timeline::scan_backward(conn, &room_nid, &self.after, &self.up_to, &limit).await
        } else {
            reads::timeline::scan_forward(conn, &room_nid, &self.after, &self.up_to, &limit).await
        }
    }

    /// The position just past an event.
    fn past(&self, seq: i64) -> i64 {
        if self.backward { seq.saturating_sub(1) } else { seq }
    }

    /// What is left of it from a position on.
    fn from(self, position: i64) -> Self {
        if self.backward { Self { up_to: position, ..self } } else { Self { after: position, ..self } }
    }
}

#[derive(Debug, Default)]
struct Page {
    events: Vec<RoomEvent>,
    bytes: usize,
    /// Where to go on.
    next: Option<i64>,
}

impl Page {
    fn is_full(&self, limit: usize) -> bool {
        self.events.len() >= limit || self.bytes >= PAGE_BYTES
    }
}

/// Reads a page: scans without the JSON, then reads what is wanted and visible.
async fn read(
    conn: &AsyncPgConnection,
    view: &View,
    filter: &Filter,
    mut span: Span,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let mut budget = limit.saturating_mul(SCANNED_PER_EVENT).max(SCANNED_AT_LEAST);
    while span.after < span.up_to {
        let wanted = limit - page.events.len();
        // One more than wanted tells whether there is more.
        let count = if filter.is_wide() { wanted + 1 } else { SCANNED_AT_LEAST.max(wanted + 1) }.min(budget);
        let rows = span.scan(conn, view.room.room_nid, count).await?;
        let exhausted = rows.len() < count;
        let Some(last) = rows.last().map(|row| row.seq) else { return Ok(page) };
        budget -= rows.len();
        let chosen = rows.into_iter().filter(|row| {
            row.flags & HIDDEN == 0 && filter.wants(&row.event_type, &row.sender) && view.may_see(&facts(row))
        });
        if let Some(next) =
            fill(conn, view, filter, span, limit, &mut page, &chosen.collect::<Vec<_>>()).await?
        {
            page.next = Some(next);
            return Ok(page);
        }
        if exhausted {
            return Ok(page);
        }
        if budget == 0 || page.is_full(limit) {
            page.next = Some(span.past(last));
            return Ok(page);
        }
        span = span.from(span.past(last));
    }
    Ok(page)
}

/// Adds events to the page until it is full; then returns where to go on, if some were left.
async fn fill(
    conn: &AsyncPgConnection,
    view: &View,
    filter: &Filter,
    span: Span,
    limit: usize,
    page: &mut Page,
    mut chosen: &[ScanRow],
) -> Result<Option<i64>, StoreError> {
    let mut at = None;
    while !chosen.is_empty() {
        if page.is_full(limit) {
            return Ok(at);
        }
        let count = chosen.len().min(limit - page.events.len()).min(BODIES);
        let (now, later) = chosen.split_at(count);
        chosen = later;
        let nids = now.iter().map(|row| row.event_nid).collect::<Vec<_>>();
        let rows = reads::events::list(conn, &true, &nids).await?;
        let mut rows = rows.into_iter().map(|row| (row.event_nid, row)).collect::<HashMap<_, _>>();
        for scanned in now {
            if page.is_full(limit) {
                return Ok(at);
            }
            at = Some(span.past(scanned.seq));
            let Some(row) = rows.remove(&scanned.event_nid) else { continue };
            if filter.wants_content(&row.json) {
                let event = encode::event(row, view.reader());
                page.bytes += encode::size(&event);
                page.events.push(event);
            }
        }
    }
    Ok(None)
}

fn facts(row: &ScanRow) -> Facts<'_> {
    Facts {
        seq: Some(row.seq),
        event_type: &row.event_type,
        state_key: row.state_key.as_deref(),
        flags: row.flags,
        visibility: row.visibility,
    }
}
