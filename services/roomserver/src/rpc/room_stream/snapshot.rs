//! `RoomStreamService.StreamRoomSnapshot`
//!
//! The room's row, its state and its timeline are settled by one statement: a trie never changes, and events are only
//! added behind the point it tells. The events are then read chunk by chunk. One that is redacted meanwhile comes
//! redacted; the reader is told of it once more by the log.

use std::collections::VecDeque;

use futures::{StreamExt as _, stream, stream::BoxStream};
use plexus_proto::{
    common::v1::AsOf,
    log::v1::{HistoryVisibility, Receipt},
    room::v1::{
        RoomEvent, RoomInfo, RoomReceipt, StreamRoomSnapshotRequest, StreamRoomSnapshotResponse,
        TimelineEvent,
    },
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{CHUNK_BYTES, PAGE, event, size};
use crate::{
    app::App,
    rpc::check::{self, failed, room_unknown, unsigned},
    store::{
        StoreError, pool,
        reads::{
            self,
            events::HIDDEN,
            snapshot::{ReceiptRow, RoomRow},
        },
    },
};

/// Most events of a timeline.
const TIMELINE: u32 = 1000;
/// Receipts read at once.
const RECEIPTS: i64 = 1_000;

#[instrument(name = "rpc.room.stream_room_snapshot", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<StreamRoomSnapshotRequest>,
) -> Result<Response<BoxStream<'static, Result<StreamRoomSnapshotResponse, Status>>>, Status> {
    let StreamRoomSnapshotRequest { room_id, timeline_limit } = request.into_inner();
    check::room_id("room_id", &room_id)?;
    check::storable("room_id", &room_id)?;
    if timeline_limit > TIMELINE {
        return Err(check::invalid("timeline_limit", format!("more than {TIMELINE}")));
    }
    let snapshot = begin(app, &room_id, timeline_limit).await.map_err(|error| failed(&error))?;
    let snapshot = snapshot.ok_or_else(room_unknown)?;
    Ok(Response::new(stream::try_unfold(snapshot, Snapshot::next).boxed()))
}

struct Snapshot {
    app: App,
    /// For the first chunk.
    head: Option<(RoomInfo, AsOf)>,
    /// Events of the state still to be sent.
    state: VecDeque<i64>,
    state_read: VecDeque<RoomEvent>,
    /// Events of the timeline still to be sent, oldest first.
    timeline: VecDeque<i64>,
    timeline_read: VecDeque<(RoomEvent, HistoryVisibility)>,
    more_before: bool,
    room_nid: i64,
    receipts: Receipts,
    /// Whether the last chunk was sent.
    ended: bool,
}

async fn begin(app: &App, room_id: &str, timeline_limit: u32) -> Result<Option<Snapshot>, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let Some(room) =
        reads::snapshot::find_room(&conn, &app.config.server.name, room_id).await?.into_iter().next()
    else {
        return Ok(None);
    };
    let room_nid = room.room_nid;
    let mut state = reads::state::list(&app.nodes, &conn, room.room_nid, room.members_root).await?;
    state.extend(reads::state::list(&app.nodes, &conn, room.room_nid, room.other_root).await?);
    state.sort_unstable();
    let limit = i64::from(timeline_limit);
    // One more than wanted tells whether there are more.
    let scan_limit = limit + 1;
    let rows = reads::timeline::scan_backward(&conn, &room.room_nid, &0, &room.head_seq, &scan_limit).await?;
    let more_before = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    let timeline = rows
        .into_iter()
        .take(usize::try_from(limit).unwrap_or(usize::MAX))
        .filter(|row| row.flags & HIDDEN == 0)
        .map(|row| row.event_nid)
        .rev();
    let timeline = timeline.collect();
    Ok(Some(Snapshot {
        app: app.clone(),
        head: Some(head(app, room)),
        state: state.into(),
        state_read: VecDeque::new(),
        timeline,
        timeline_read: VecDeque::new(),
        more_before,
        room_nid,
        receipts: Receipts::After(String::new(), String::new(), String::new()),
        ended: false,
    }))
}

fn head(app: &App, room: RoomRow) -> (RoomInfo, AsOf) {
    let partition = u32::try_from(room.partition).unwrap_or(0);
    let as_of =
        AsOf { partition, seq: unsigned(room.head_seq), epoch: app.verdicts.epoch(partition).unwrap_or(0) };
    let info = RoomInfo {
        room_id: room.room_id,
        room_version: room.version,
        joined_members: unsigned(room.joined_members.into()),
        invited_members: unsigned(room.invited_members.into()),
        published: room.published,
        latest_event_ids: room.latest_event_ids,
        depth: unsigned(room.depth),
        partition,
        last_seq: unsigned(room.last_seq),
        resident: room.resident,
        ..RoomInfo::default()
    };
    (info, as_of)
}

fn receipt(row: ReceiptRow) -> RoomReceipt {
    let receipt = Receipt {
        user_id: row.user_id,
        r#type: row.receipt_type,
        event_id: row.event_id,
        thread_id: row.thread_id,
        event_seq: unsigned(row.event_seq),
        ts: row.ts,
    };
    RoomReceipt { receipt: Some(receipt), seq: unsigned(row.seq) }
}

impl Snapshot {
    async fn next(mut self) -> Result<Option<(StreamRoomSnapshotResponse, Self)>, Status> {
        if self.ended {
            return Ok(None);
        }
        let mut chunk = StreamRoomSnapshotResponse::default();
        if let Some((info, as_of)) = self.head.take() {
            chunk.info = Some(info);
            chunk.as_of = Some(as_of);
        }
        let mut bytes = 0;
        while bytes < CHUNK_BYTES {
            let state = self.next_state(&mut chunk).await.map_err(|error| failed(&error))?;
            let event = match state {
                Some(_) => state,
                None => self.next_event(&mut chunk).await.map_err(|error| failed(&error))?,
            };
            let read = match event {
                Some(_) => event,
                None => self.read_receipts(&mut chunk).await.map_err(|error| failed(&error))?,
            };
            let Some(read) = read else {
                self.ended = true;
                chunk.more_before = self.more_before;
                break;
            };
            bytes += read;
        }
        Ok(Some((chunk, self)))
    }

    /// Reads a page of receipts; `None` if there are no more. Those that move meanwhile come as they are now, and once more
    /// by the log.
    async fn read_receipts(
        &mut self,
        chunk: &mut StreamRoomSnapshotResponse,
    ) -> Result<Option<usize>, StoreError> {
        let Receipts::After(user, kind, thread) = &self.receipts else { return Ok(None) };
        let conn = pool::get(&self.app.pool).await?;
        let rows =
            reads::snapshot::list_receipts(&conn, &self.room_nid, user, kind, thread, &RECEIPTS).await?;
        let is_last = i64::try_from(rows.len()).unwrap_or(i64::MAX) < RECEIPTS;
        self.receipts = match rows.last() {
            Some(last) if !is_last => {
                Receipts::After(last.user_id.clone(), last.receipt_type.clone(), last.thread_id.clone())
            }
            Some(_) | None => Receipts::Sent,
        };
        let receipts: Vec<_> = rows.into_iter().map(receipt).collect();
        let bytes = receipts.iter().map(prost::Message::encoded_len).sum();
        chunk.receipts.extend(receipts);
        Ok(Some(bytes))
    }

    /// Adds the next event of the state; `None` if there are no more.
    async fn next_state(
        &mut self,
        chunk: &mut StreamRoomSnapshotResponse,
    ) -> Result<Option<usize>, StoreError> {
        if self.state_read.is_empty() && !self.state.is_empty() {
            let nids = take(&mut self.state);
            let conn = pool::get(&self.app.pool).await?;
            let mut rows = reads::events::list(&conn, &false, &nids).await?;
            rows.sort_unstable_by_key(|row| row.event_nid);
            self.state_read.extend(rows.into_iter().map(event));
        }
        let Some(event) = self.state_read.pop_front() else { return Ok(None) };
        let bytes = size(&event);
        chunk.state.push(event);
        Ok(Some(bytes))
    }

    /// Adds the next event of the timeline; `None` if there are no more.
    async fn next_event(
        &mut self,
        chunk: &mut StreamRoomSnapshotResponse,
    ) -> Result<Option<usize>, StoreError> {
        if self.timeline_read.is_empty() && !self.timeline.is_empty() {
            let nids = take(&mut self.timeline);
            let conn = pool::get(&self.app.pool).await?;
            let mut rows = reads::events::list(&conn, &true, &nids).await?;
            rows.sort_unstable_by_key(|row| row.seq);
            self.timeline_read.extend(rows.into_iter().map(|row| {
                let visibility = match row.visibility {
                    1 => HistoryVisibility::Joined,
                    2 => HistoryVisibility::Invited,
                    4 => HistoryVisibility::WorldReadable,
                    _ => HistoryVisibility::Shared,
                };
                (event(row), visibility)
            }));
        }
        let Some((event, visibility)) = self.timeline_read.pop_front() else { return Ok(None) };
        let bytes = size(&event);
        chunk.timeline.push(TimelineEvent { event: Some(event), visibility: visibility.into() });
        Ok(Some(bytes))
    }
}

/// How far receipts were sent.
enum Receipts {
    /// Up to this user, type and thread.
    After(String, String, String),
    /// All.
    Sent,
}

/// Takes a page.
fn take(nids: &mut VecDeque<i64>) -> Vec<i64> {
    nids.drain(..nids.len().min(PAGE)).collect()
}
