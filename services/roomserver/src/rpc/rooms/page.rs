//! Pages through a timeline: scans without the JSON, and reads that of visible events that match.

use std::collections::HashMap;

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::RoomEvent;

use super::{
    access::{Facts, View},
    encode, erasure,
    filter::Filter,
};
use crate::{
    app::App,
    store::{
        StoreError, reads,
        reads::{events::HIDDEN, timeline::ScanRow},
    },
};

/// How many events are looked at for each one asked for, before the page ends with what there is.
const SCANNED_PER_EVENT: usize = 10;
/// Events looked at in any case.
const SCANNED_AT_LEAST: usize = 200;
/// Bytes after which a page ends: receivers take 4 MiB.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Most events whose JSON is read at once, and how many are read before it is known how large they are.
const BODIES: usize = 250;
const FIRST_BODIES: usize = 50;

/// Events with `after < seq <= up_to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) after: i64,
    pub(super) up_to: i64,
    pub(super) backward: bool,
}

/// Where events are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    /// The timeline of the room.
    Timeline,
    /// Those events of it that relate to an event.
    Related(&'a Related),
}

/// Which relations are wanted.
#[derive(Debug)]
pub(super) struct Related {
    /// The event that others relate to.
    pub(super) event_id: String,
    /// Relation type, a pattern of `LIKE`.
    pub(super) rel_type: String,
    /// Event type, a pattern of `LIKE`.
    pub(super) event_type: String,
    /// Over how many relations.
    pub(super) depth: i32,
}

impl Source<'_> {
    async fn scan(
        self,
        conn: &AsyncPgConnection,
        room_nid: i64,
        span: Span,
        limit: usize,
    ) -> Result<Vec<ScanRow>, StoreError> {
        use reads::{relations, timeline};
        let Span { after, up_to, backward } = span;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        match (self, backward) {
            (Self::Timeline, true) => timeline::scan_backward(conn, &room_nid, &after, &up_to, &limit).await,
            (Self::Timeline, false) => timeline::scan_forward(conn, &room_nid, &after, &up_to, &limit).await,
            (Self::Related(Related { event_id, rel_type, event_type, depth }), _) => {
                match (depth, backward) {
                    (1, true) => {
                        let (room, to) = (&room_nid, event_id);
                        relations::scan_backward(conn, room, to, rel_type, event_type, &after, &up_to, &limit)
                            .await
                    }
                    (1, false) => {
                        let (room, to) = (&room_nid, event_id);
                        relations::scan_forward(conn, room, to, rel_type, event_type, &after, &up_to, &limit)
                            .await
                    }
                    (depth, true) => {
                        let (room, to) = (&room_nid, event_id);
                        relations::scan_deep_backward(
                            conn, room, to, rel_type, event_type, depth, &after, &up_to, &limit,
                        )
                        .await
                    }
                    (depth, false) => {
                        let (room, to) = (&room_nid, event_id);
                        relations::scan_deep_forward(
                            conn, room, to, rel_type, event_type, depth, &after, &up_to, &limit,
                        )
                        .await
                    }
                }
            }
        }
    }
}

impl Span {
    /// The position just past an event.
    fn past(&self, seq: i64) -> i64 {
        if self.backward { seq.saturating_sub(1) } else { seq }
    }

    /// What is left of it from a position on.
    fn from(self, position: i64) -> Self {
        if self.backward { Self { up_to: position, ..self } } else { Self { after: position, ..self } }
    }
}

/// A page.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Events, in the direction of reading.
    pub(super) events: Vec<RoomEvent>,
    bytes: usize,
    /// Where to go on.
    pub(super) next: Option<i64>,
}

impl Page {
    /// How many events to read next: no more than will fit, if they are as large as those before them.
    fn bodies(&self) -> usize {
        match self.bytes.checked_div(self.events.len()) {
            Some(size) => PAGE_BYTES.saturating_sub(self.bytes).div_ceil(size.max(1)).clamp(1, BODIES),
            None => FIRST_BODIES,
        }
    }

    fn is_full(&self, limit: usize) -> bool {
        self.events.len() >= limit || self.bytes >= PAGE_BYTES
    }
}

/// Reads a page: scans without the JSON, then reads what is wanted and visible.
pub(super) async fn read(
    app: &App,
    conn: &AsyncPgConnection,
    view: &mut View,
    source: Source<'_>,
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
        let rows = source.scan(conn, view.room.room_nid, span, count).await?;
        let exhausted = rows.len() < count;
        let Some(last) = rows.last().map(|row| row.seq) else { return Ok(page) };
        budget -= rows.len();
        view.add_memberships_at(app, conn, &rows.iter().map(|row| row.event_nid).collect::<Vec<_>>()).await?;
        let chosen = rows.into_iter().filter(|row| {
            row.flags & HIDDEN == 0
                && filter.wants(&row.event_type, row.state_key.is_some(), &row.sender)
                && view.may_see(&facts(row))
        });
        let mut chosen = chosen.collect::<Vec<_>>();
        filter.retain_related(conn, &mut chosen).await?;
        if let Some(next) = fill(conn, view, (source, filter), span, limit, &mut page, &chosen).await? {
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
    (source, filter): (Source<'_>, &Filter),
    span: Span,
    limit: usize,
    page: &mut Page,
    mut chosen: &[ScanRow],
) -> Result<Option<i64>, StoreError> {
    let relating = matches!(source, Source::Related(_));
    let mut at = None;
    while !chosen.is_empty() {
        if page.is_full(limit) {
            return Ok(at);
        }
        let count = chosen.len().min(limit - page.events.len()).min(page.bodies());
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
            // What is served redacted relates to nothing.
            if relating && erasure::gets_copy(&row, view.reader()) {
                continue;
            }
            let event = encode::event(row, view.reader());
            if let Some(event) = event.filter(|event| filter.wants_content(&event.json)) {
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
