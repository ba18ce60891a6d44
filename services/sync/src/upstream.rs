//! The room server, as this service asks it. Every call has a deadline.

mod users;

use std::future::Future;

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use plexus_matrix_http::MatrixError;
use plexus_proto::{
    common::v1::{ErrorReason, PartitionHead},
    log::v1::{OutputRoomEvent, OutputUserEvent},
    room::v1::{
        self as room, RoomEvent, RoomInfo, StateKey, StatePoint, UserRoom,
        room_history_service_client::RoomHistoryServiceClient,
        room_query_service_client::RoomQueryServiceClient,
        room_stream_service_client::RoomStreamServiceClient, state_point::Point,
    },
    user::v1::{
        self as user, inbox_service_client::InboxServiceClient,
        key_query_service_client::KeyQueryServiceClient, user_query_service_client::UserQueryServiceClient,
        user_stream_service_client::UserStreamServiceClient,
    },
};
use plexus_service::{RpcChannel, refusal::reason_of};
use ruma::{RoomId, UserId};
use tonic::{Response, Status, Streaming};

use crate::{erased::Erased, limits, positions::Vector};

/// A call to the room server that failed or was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// It answered with an error.
    #[error("{call} failed")]
    Status { call: &'static str, source: Box<Status> },
    /// It did not answer in time.
    #[error("{call} did not answer in time")]
    TimedOut { call: &'static str },
    /// It answered something that does not hold together.
    #[error("{call} answered {what}")]
    Nonsense { call: &'static str, what: &'static str },
}

impl UpstreamError {
    /// Why it refused; `None` if it failed.
    pub(crate) fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Status { source, .. } => reason_of(source),
            Self::TimedOut { .. } | Self::Nonsense { .. } => None,
        }
    }

    /// Whether records that were asked for are gone.
    pub(crate) fn is_out_of_range(&self) -> bool {
        self.reason() == Some(ErrorReason::OutOfRange)
    }

    /// Whether the viewer may see nothing, or there is nothing to see.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self.reason(),
            Some(ErrorReason::Forbidden | ErrorReason::RoomUnknown | ErrorReason::NotFound)
        )
    }
}

impl From<UpstreamError> for MatrixError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Status { source, .. } => Self::from(*source),
            UpstreamError::TimedOut { .. } => Self::timed_out(),
            UpstreamError::Nonsense { .. } => Self::internal(),
        }
    }
}

/// Clients for every part of the room server; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    rooms: RoomQueryServiceClient<RpcChannel>,
    history: RoomHistoryServiceClient<RpcChannel>,
    room_stream: RoomStreamServiceClient<RpcChannel>,
    users: UserQueryServiceClient<RpcChannel>,
    user_stream: UserStreamServiceClient<RpcChannel>,
    inbox: InboxServiceClient<RpcChannel>,
    keys: KeyQueryServiceClient<RpcChannel>,
    /// Who asked to be erased, as the answers tell.
    pub(crate) erased: Erased,
}

/// Records of a range, in chunks.
pub(crate) type Range<R> = BoxStream<'static, Result<Vec<R>, UpstreamError>>;

/// A room at one point.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) info: RoomInfo,
    pub(crate) seq: u64,
    pub(crate) state: Vec<RoomEvent>,
    pub(crate) timeline: Vec<room::TimelineEvent>,
    pub(crate) more_before: bool,
    pub(crate) receipts: Vec<room::RoomReceipt>,
}

impl Upstream {
    pub(crate) fn new(channel: RpcChannel) -> Self {
        Self {
            rooms: RoomQueryServiceClient::new(channel.clone()).max_decoding_message_size(limits::MESSAGE),
            history: RoomHistoryServiceClient::new(channel.clone())
                .max_decoding_message_size(limits::MESSAGE),
            room_stream: RoomStreamServiceClient::new(channel.clone())
                .max_decoding_message_size(limits::MESSAGE),
            users: UserQueryServiceClient::new(channel.clone()).max_decoding_message_size(limits::MESSAGE),
            inbox: InboxServiceClient::new(channel.clone()).max_decoding_message_size(limits::MESSAGE),
            keys: KeyQueryServiceClient::new(channel.clone()).max_decoding_message_size(limits::MESSAGE),
            user_stream: UserStreamServiceClient::new(channel).max_decoding_message_size(limits::MESSAGE),
            erased: Erased::default(),
        }
    }

    /// Tells how far the rooms are, and the generation of the database.
    pub(crate) async fn room_heads(&self) -> Result<(Vector, u64), UpstreamError> {
        let mut client = self.room_stream.clone();
        let answer = call("RoomStream.GetHeads", client.get_heads(room::GetHeadsRequest {})).await?;
        Ok((vector(&answer.heads), answer.generation))
    }

    pub(crate) async fn user_heads(&self) -> Result<Vector, UpstreamError> {
        let mut client = self.user_stream.clone();
        let answer = call("UserStream.GetHeads", client.get_heads(user::GetHeadsRequest {})).await?;
        Ok(vector(&answer.heads))
    }

    pub(crate) async fn room_range(
        &self,
        partition: u32,
        after_seq: u64,
        to_seq: u64,
    ) -> Result<Range<OutputRoomEvent>, UpstreamError> {
        const NAME: &str = "RoomStream.StreamRange";
        let mut client = self.room_stream.clone();
        let request = room::StreamRangeRequest { partition, after_seq, to_seq };
        let chunks = call(NAME, client.stream_range(request)).await?;
        Ok(chunked(NAME, chunks, |chunk| chunk.records))
    }

    pub(crate) async fn user_range(
        &self,
        partition: u32,
        after_seq: u64,
        to_seq: u64,
    ) -> Result<Range<OutputUserEvent>, UpstreamError> {
        const NAME: &str = "UserStream.StreamRange";
        let mut client = self.user_stream.clone();
        let request = user::StreamRangeRequest { partition, after_seq, to_seq };
        let chunks = call(NAME, client.stream_range(request)).await?;
        Ok(chunked(NAME, chunks, |chunk| chunk.records))
    }

    pub(crate) async fn snapshot(&self, room_id: &RoomId) -> Result<Snapshot, UpstreamError> {
        const NAME: &str = "RoomStream.StreamRoomSnapshot";
        let mut client = self.room_stream.clone();
        let request = room::StreamRoomSnapshotRequest {
            room_id: room_id.to_string(),
            timeline_limit: limits::SNAPSHOT_TIMELINE,
        };
        let snapshot = within(NAME, async {
            let mut chunks = client.stream_room_snapshot(request).await?.into_inner();
            let mut snapshot = Snapshot::default();
            while let Some(chunk) = chunks.message().await? {
                if let Some(info) = chunk.info {
                    snapshot.info = info;
                }
                if let Some(as_of) = chunk.as_of {
                    snapshot.seq = as_of.seq;
                }
                snapshot.state.extend(chunk.state);
                snapshot.timeline.extend(chunk.timeline);
                snapshot.more_before = chunk.more_before;
                snapshot.receipts.extend(chunk.receipts);
            }
            Ok(snapshot)
        })
        .await?;
        self.erased
            .learn(snapshot.state.iter().chain(snapshot.timeline.iter().flat_map(|entry| &entry.event)));
        Ok(snapshot)
    }

    pub(crate) async fn state_delta(
        &self,
        room_id: &RoomId,
        from_seq: u64,
        to_seq: u64,
    ) -> Result<StateDelta, UpstreamError> {
        const NAME: &str = "RoomStream.StreamStateDelta";
        let mut client = self.room_stream.clone();
        let request = room::StreamStateDeltaRequest { room_id: room_id.to_string(), from_seq, to_seq };
        let delta = within(NAME, async {
            let chunks = client.stream_state_delta(request).await?.into_inner();
            chunks
                .try_fold(StateDelta::default(), |mut delta, chunk| async move {
                    delta.changed.extend(chunk.changed);
                    delta.removed.extend(chunk.removed);
                    Ok(delta)
                })
                .await
        })
        .await?;
        self.erased.learn(&delta.changed);
        Ok(delta)
    }

    /// Reads state entries as they are now, or were at a point.
    pub(crate) async fn state_entries(
        &self,
        room_id: &RoomId,
        keys: Vec<StateKey>,
        at_seq: Option<u64>,
    ) -> Result<Vec<RoomEvent>, UpstreamError> {
        let mut found = Vec::new();
        // The contract allows 1,000 keys in one call.
        for keys in keys.chunks(1_000) {
            let mut client = self.rooms.clone();
            let request = room::GetStateRequest {
                room_id: room_id.to_string(),
                keys: keys.to_vec(),
                at: at_seq.map(at),
                ..Default::default()
            };
            found.extend(call("RoomQuery.GetState", client.get_state(request)).await?.events);
        }
        self.erased.learn(&found);
        Ok(found)
    }

    /// Reads the whole state of a room at a point.
    pub(crate) async fn state_at(&self, room_id: &RoomId, seq: u64) -> Result<Vec<RoomEvent>, UpstreamError> {
        const NAME: &str = "RoomQuery.StreamState";
        let mut client = self.rooms.clone();
        let request = room::StreamStateRequest {
            room_id: room_id.to_string(),
            at: Some(at(seq)),
            ..Default::default()
        };
        let events = within(NAME, async {
            let chunks = client.stream_state(request).await?.into_inner();
            chunks
                .try_fold(Vec::new(), |mut events, chunk| async move {
                    events.extend(chunk.events);
                    Ok(events)
                })
                .await
        })
        .await?;
        self.erased.learn(&events);
        Ok(events)
    }

    /// Lists those of the events that a user is served redacted, as they are served.
    pub(crate) async fn copies(
        &self,
        user_id: &UserId,
        event_ids: &[String],
    ) -> Result<Vec<RoomEvent>, UpstreamError> {
        let mut copies = Vec::new();
        // The contract allows 1,000 events in one call.
        for event_ids in event_ids.chunks(1_000) {
            let mut client = self.rooms.clone();
            let request =
                room::ListCopiesRequest { viewer: user_id.to_string(), event_ids: event_ids.to_vec() };
            copies.extend(call("RoomQuery.ListCopies", client.list_copies(request)).await?.copies);
        }
        Ok(copies)
    }

    pub(crate) async fn timeline(
        &self,
        request: room::ListTimelineRequest,
    ) -> Result<room::ListTimelineResponse, UpstreamError> {
        let mut client = self.rooms.clone();
        call("RoomQuery.ListTimeline", client.list_timeline(request)).await
    }

    /// Reads what relations have made of events.
    pub(crate) async fn aggregations(
        &self,
        request: room::GetAggregationsInRoomsRequest,
    ) -> Result<Vec<room::Aggregations>, UpstreamError> {
        let mut client = self.history.clone();
        let answer = client.get_aggregations_in_rooms(request);
        Ok(call("RoomHistory.GetAggregationsInRooms", answer).await?.aggregations)
    }

    /// Reads the memberships of a user, forgotten rooms included, and the positions they reflect.
    pub(crate) async fn rooms_of(&self, user_id: &UserId) -> Result<(Vec<UserRoom>, Vector), UpstreamError> {
        let mut client = self.rooms.clone();
        let request = room::ListRoomsForUserRequest {
            user_id: user_id.to_string(),
            include_forgotten: true,
            ..Default::default()
        };
        let answer = call("RoomQuery.ListRoomsForUser", client.list_rooms_for_user(request)).await?;
        Ok((answer.rooms, vector(&answer.heads)))
    }

    pub(crate) async fn room_infos(&self, room_ids: &[String]) -> Result<Vec<RoomInfo>, UpstreamError> {
        let mut infos = Vec::new();
        for room_ids in room_ids.chunks(1_000) {
            let mut client = self.rooms.clone();
            let request = room::GetRoomsRequest { room_ids: room_ids.to_vec() };
            infos.extend(call("RoomQuery.GetRooms", client.get_rooms(request)).await?.rooms);
        }
        Ok(infos)
    }
}

async fn call<T>(
    name: &'static str,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, UpstreamError> {
    within(name, async { Ok(answer.await?.into_inner()) }).await
}

async fn within<T>(
    call: &'static str,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, UpstreamError> {
    match tokio::time::timeout(limits::CALL, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(UpstreamError::Status { call, source: Box::new(status) }),
        Err(_) => Err(UpstreamError::TimedOut { call }),
    }
}

/// A stream may take long as a whole; what may not is waiting for a chunk.
fn chunked<C: Send + 'static, R: Send + 'static>(
    call: &'static str,
    chunks: Streaming<C>,
    records: fn(C) -> Vec<R>,
) -> Range<R> {
    futures::stream::try_unfold(chunks, move |mut chunks| async move {
        let chunk = within(call, chunks.message()).await?;
        Ok(chunk.map(|chunk| (records(chunk), chunks)))
    })
    .boxed()
}

fn vector(heads: &[PartitionHead]) -> Vector {
    let mut vector: Vector = [0; plexus_matrix_http::token::PARTITION_COUNT];
    for head in heads {
        let slot = usize::try_from(head.partition).ok().and_then(|index| vector.get_mut(index));
        if let Some(slot) = slot {
            *slot = head.seq;
        }
    }
    vector
}

/// How a state differs from an earlier one.
#[derive(Debug, Default)]
pub(crate) struct StateDelta {
    /// Entries that are new or changed.
    pub(crate) changed: Vec<RoomEvent>,
    /// Keys that are gone.
    pub(crate) removed: Vec<StateKey>,
}

/// The state after the last event up to a `seq`.
fn at(seq: u64) -> StatePoint {
    StatePoint { point: Some(Point::AtSeq(signed(seq))) }
}

/// A position as the contract has it, where events from before the timeline have negative ones.
pub(crate) fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// A position of the timeline; what lies before it is read where it is asked for.
pub(crate) fn unsigned(position: i64) -> u64 {
    u64::try_from(position).unwrap_or(0)
}
