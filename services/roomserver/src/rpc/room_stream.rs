//! `RoomStreamService`: serves readers of `OutputRoomEvent` beside the log itself.

mod delta;
mod heads;
mod range;
mod snapshot;

use futures::stream::BoxStream;
use plexus_proto::room::v1::{
    GetHeadsRequest, GetHeadsResponse, RoomEvent, StreamRangeRequest, StreamRangeResponse,
    StreamRoomSnapshotRequest, StreamRoomSnapshotResponse, StreamStateDeltaRequest, StreamStateDeltaResponse,
    room_stream_service_server::{RoomStreamService, RoomStreamServiceServer},
};
use tonic::{Request, Response, Status};

pub(super) use delta::compare;

use super::check::unsigned;
use crate::{app::App, store::reads::events::EventRow};

/// Bytes after which a chunk is sent: receivers take 4 MiB.
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;
/// Most rows read at once.
pub(super) const PAGE: usize = 250;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> RoomStreamServiceServer<impl RoomStreamService> {
    RoomStreamServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl RoomStreamService for Service {
    async fn get_heads(
        &self,
        _request: Request<GetHeadsRequest>,
    ) -> Result<Response<GetHeadsResponse>, Status> {
        heads::answer(&self.app).await
    }

    type StreamRangeStream = BoxStream<'static, Result<StreamRangeResponse, Status>>;

    async fn stream_range(
        &self,
        request: Request<StreamRangeRequest>,
    ) -> Result<Response<Self::StreamRangeStream>, Status> {
        range::answer(&self.app, request).await
    }

    type StreamRoomSnapshotStream = BoxStream<'static, Result<StreamRoomSnapshotResponse, Status>>;

    async fn stream_room_snapshot(
        &self,
        request: Request<StreamRoomSnapshotRequest>,
    ) -> Result<Response<Self::StreamRoomSnapshotStream>, Status> {
        snapshot::answer(&self.app, request).await
    }

    type StreamStateDeltaStream = BoxStream<'static, Result<StreamStateDeltaResponse, Status>>;

    async fn stream_state_delta(
        &self,
        request: Request<StreamStateDeltaRequest>,
    ) -> Result<Response<Self::StreamStateDeltaStream>, Status> {
        delta::stream(&self.app, request).await
    }
}

/// An event for a service: the whole truth.
fn event(row: EventRow) -> RoomEvent {
    let prev_content = row.prev_json.as_deref().and_then(content_of).unwrap_or_default();
    let prev_sender = row.prev_json.is_some().then_some(row.prev_sender).flatten().unwrap_or_default();
    let erased_sender = if row.erased_ts.is_some() { row.sender.clone() } else { String::new() };
    RoomEvent {
        erased_sender,
        event_id: row.event_id,
        json: row.json.into(),
        seq: unsigned(row.seq.unwrap_or(0)),
        room_id: row.room_id,
        txn_device_id: row.txn_device_id.unwrap_or_default(),
        txn_id: row.txn_id.unwrap_or_default(),
        viewer_membership: String::new(),
        replaces_event_id: row.prev_event_id.unwrap_or_default(),
        prev_content,
        prev_sender,
        position: row.seq.unwrap_or(0),
        gap_before: row.flags & crate::rooms::flags::GAP_BEFORE != 0,
    }
}

/// About how many bytes an event adds to a message.
fn size(event: &RoomEvent) -> usize {
    event.json.len() + event.prev_content.len() + 256
}

fn content_of(json: &[u8]) -> Option<bytes::Bytes> {
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: &'a serde_json::value::RawValue,
    }
    let event = serde_json::from_slice::<Event<'_>>(json).ok()?;
    Some(bytes::Bytes::copy_from_slice(event.content.get().as_bytes()))
}
