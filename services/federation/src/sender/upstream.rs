//! The room server, as the sender asks it. Every call has a deadline.

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::OutputRoomEvent,
    room::v1::{
        AckOutgoingEdusRequest, ClaimShardsRequest, ClaimShardsResponse, GetHeadsRequest,
        ListOutgoingEdusRequest, ListOutgoingEdusResponse, ListOutgoingRequest, ListOutgoingResponse,
        ListServersBeforeRequest, ListWaitingServersRequest, ListWaitingServersResponse, RoomServers,
        SaveProgressRequest, SaveProgressResponse, StreamRangeRequest, StreamRoomServersRequest,
        destination_service_client::DestinationServiceClient,
        room_stream_service_client::RoomStreamServiceClient,
    },
};
use plexus_service::{RpcChannel, refusal::reason_of};
use ruma::{OwnedServerName, RoomId, ServerName};
use tonic::Status;

use super::{PARTITION_COUNT, Vector};
use crate::upstream::{patient, timed};

/// Longest message: a page of events, or of records.
const MESSAGE: usize = 64 << 20;

/// Clients of what the sender needs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Upstream {
    destinations: DestinationServiceClient<RpcChannel>,
    stream: RoomStreamServiceClient<RpcChannel>,
}

impl Upstream {
    pub(super) fn new(rooms: RpcChannel) -> Self {
        Self {
            destinations: DestinationServiceClient::new(rooms.clone())
                .max_decoding_message_size(MESSAGE)
                .max_encoding_message_size(MESSAGE),
            stream: RoomStreamServiceClient::new(rooms).max_decoding_message_size(MESSAGE),
        }
    }

    /// How far the log was committed.
    pub(super) async fn heads(&self) -> Result<Vector, Status> {
        let answer = self.stream.clone().get_heads(timed(GetHeadsRequest {})).await?.into_inner();
        let mut heads = [0; PARTITION_COUNT];
        for head in answer.heads {
            if let Some(slot) = usize::try_from(head.partition).ok().and_then(|index| heads.get_mut(index)) {
                *slot = head.seq;
            }
        }
        Ok(heads)
    }

    /// Records of a partition after one `seq` and up to another, in chunks.
    pub(super) async fn range(
        &self,
        partition: u32,
        after_seq: u64,
        to_seq: u64,
    ) -> Result<BoxStream<'static, Result<Vec<OutputRoomEvent>, Status>>, Status> {
        let request = StreamRangeRequest { partition, after_seq, to_seq };
        let chunks = self.stream.clone().stream_range(patient(request)).await?.into_inner();
        Ok(chunks.map_ok(|chunk| chunk.records).boxed())
    }

    /// Servers of a room just before a record; none if we are not in the room.
    pub(super) async fn servers_before(
        &self,
        room_id: &RoomId,
        seq: u64,
    ) -> Result<Vec<OwnedServerName>, Status> {
        let request = ListServersBeforeRequest { room_id: room_id.to_string(), seq };
        match self.destinations.clone().list_servers_before(timed(request)).await {
            Ok(answer) => {
                let servers = answer.into_inner().servers;
                Ok(servers.iter().filter_map(|name| ServerName::parse(name).ok()).collect())
            }
            Err(status) if is_unknown(&status) => Ok(Vec::new()),
            Err(status) => Err(status),
        }
    }

    /// Servers of all rooms of a partition in which something happened after a record.
    pub(super) async fn room_servers(
        &self,
        partition: u32,
        after_seq: u64,
    ) -> Result<BoxStream<'static, Result<RoomServers, Status>>, Status> {
        let request = StreamRoomServersRequest { partition, after_seq };
        let chunks = self.destinations.clone().stream_room_servers(patient(request)).await?.into_inner();
        let rooms = chunks.map_ok(|chunk| futures::stream::iter(chunk.rooms.into_iter().map(Ok)));
        Ok(rooms.try_flatten().boxed())
    }

    /// A page of what a server is to be sent; `None` if we are not in the room any more.
    pub(super) async fn outgoing(
        &self,
        request: ListOutgoingRequest,
    ) -> Result<Option<ListOutgoingResponse>, Status> {
        match self.destinations.clone().list_outgoing(timed(request)).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if is_unknown(&status) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Takes shards over; all that is kept of them.
    pub(super) async fn claim(
        &self,
        sender: &[u8],
        shards: Vec<u32>,
    ) -> Result<Vec<ClaimShardsResponse>, Status> {
        let request = ClaimShardsRequest { sender: sender.to_vec().into(), shards };
        let chunks = self.destinations.clone().claim_shards(patient(request)).await?.into_inner();
        chunks.try_collect().await
    }

    /// Servers for which something waits that is not of rooms, after a name.
    pub(super) async fn waiting(&self, after: String) -> Result<ListWaitingServersResponse, Status> {
        let request = ListWaitingServersRequest { after };
        Ok(self.destinations.clone().list_waiting_servers(timed(request)).await?.into_inner())
    }

    /// What waits for a server that is not of rooms.
    pub(super) async fn outgoing_edus(
        &self,
        server: &ServerName,
        limit: usize,
    ) -> Result<ListOutgoingEdusResponse, Status> {
        let limit = u32::try_from(limit).unwrap_or(1);
        let request = ListOutgoingEdusRequest { server: server.to_string(), limit };
        Ok(self.destinations.clone().list_outgoing_edus(timed(request)).await?.into_inner())
    }

    /// Notes what a server has taken of that.
    pub(super) async fn acknowledge(&self, request: AckOutgoingEdusRequest) -> Result<(), Status> {
        self.destinations.clone().ack_outgoing_edus(timed(request)).await.map(drop)
    }

    /// Keeps how far we are.
    pub(super) async fn save(&self, request: SaveProgressRequest) -> Result<SaveProgressResponse, Status> {
        Ok(self.destinations.clone().save_progress(timed(request)).await?.into_inner())
    }
}

/// Whether records that were asked for are gone.
pub(super) fn is_gone(status: &Status) -> bool {
    reason_of(status) == Some(ErrorReason::OutOfRange)
}

fn is_unknown(status: &Status) -> bool {
    reason_of(status) == Some(ErrorReason::RoomUnknown)
}
