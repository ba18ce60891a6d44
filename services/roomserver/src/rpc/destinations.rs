//! `DestinationService`: positions and backlogs of the sender, and the events that each destination is sent.

mod edus;
mod list_outgoing;
mod servers;

use futures::{StreamExt as _, stream, stream::BoxStream};
use plexus_log::PARTITIONS;
use plexus_proto::room::v1::{
    AckOutgoingEdusRequest, AckOutgoingEdusResponse, BehindRoom, ClaimShardsRequest, ClaimShardsResponse,
    Destination, DestinationOrder, ListOutgoingEdusRequest, ListOutgoingEdusResponse, ListOutgoingRequest,
    ListOutgoingResponse, ListServersBeforeRequest, ListServersBeforeResponse, ListWaitingServersRequest,
    ListWaitingServersResponse, SaveProgressRequest, SaveProgressResponse, ShardPositions,
    StreamRoomServersRequest, StreamRoomServersResponse,
    destination_order::Kind,
    destination_service_server::{DestinationService, DestinationServiceServer},
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::check::{at_most, failed, invalid, name, position, room_id, storable, unsigned};
use crate::{
    app::App,
    store::{
        StoreError,
        destinations::{self, FORGET, Progress, RETRY, Room, Saved, Shard},
        pool,
    },
};

/// Shards of destinations.
const SHARDS: u32 = 64;
/// Most rows of one kind in a request.
const MAX_ROWS: usize = 10_000;
/// Rows in a chunk of an answer.
const PAGE: i64 = 2_000;
/// Most bytes of an error.
const MAX_ERROR: usize = 2_000;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> DestinationServiceServer<impl DestinationService> {
    DestinationServiceServer::new(Service { app: app.clone() })
        .max_decoding_message_size(plexus_service::grpc::MAX_MESSAGE_BYTES)
}

#[tonic::async_trait]
impl DestinationService for Service {
    type ClaimShardsStream = BoxStream<'static, Result<ClaimShardsResponse, Status>>;

    #[instrument(name = "rpc.destination.claim_shards", skip_all)]
    async fn claim_shards(
        &self,
        request: Request<ClaimShardsRequest>,
    ) -> Result<Response<Self::ClaimShardsStream>, Status> {
        let ClaimShardsRequest { sender, shards } = request.into_inner();
        check_sender(&sender)?;
        let shards = numbers(&shards)?;
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let claimed = destinations::claim(&mut conn, &sender, &shards).await;
        let positions = claimed.map_err(|error| failed(&error))?.into_iter().map(encode_shard).collect();
        let first = ClaimShardsResponse { shards: positions, destinations: Vec::new() };
        let kept = Kept { app: self.app.clone(), shards, place: Place::Destinations(String::new()) };
        let rest =
            stream::try_unfold(kept, |kept| async move { kept.next().await.map_err(|error| failed(&error)) });
        Ok(Response::new(stream::iter([Ok(first)]).chain(rest).boxed()))
    }

    #[instrument(name = "rpc.destination.save_progress", skip_all)]
    async fn save_progress(
        &self,
        request: Request<SaveProgressRequest>,
    ) -> Result<Response<SaveProgressResponse>, Status> {
        let progress = decode(request.into_inner())?;
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let saved = destinations::save(&mut conn, progress).await.map_err(|error| failed(&error))?;
        let mut answer = SaveProgressResponse::default();
        match saved {
            Saved::Lost(lost) => {
                answer.lost_shards = lost.into_iter().filter_map(|shard| u32::try_from(shard).ok()).collect();
            }
            Saved::Yes(orders) => {
                let order = |order: destinations::Order| {
                    let kind = match order.ordered {
                        RETRY => Kind::Retry,
                        FORGET => Kind::Forget,
                        _ => return None,
                    };
                    Some(DestinationOrder { server: order.server, kind: kind.into() })
                };
                answer.orders = orders.into_iter().filter_map(order).collect();
            }
        }
        Ok(Response::new(answer))
    }

    async fn list_outgoing(
        &self,
        request: Request<ListOutgoingRequest>,
    ) -> Result<Response<ListOutgoingResponse>, Status> {
        list_outgoing::answer(&self.app, request).await
    }

    async fn list_servers_before(
        &self,
        request: Request<ListServersBeforeRequest>,
    ) -> Result<Response<ListServersBeforeResponse>, Status> {
        servers::before(&self.app, request).await
    }

    #[instrument(name = "rpc.destination.list_waiting_servers", skip_all)]
    async fn list_waiting_servers(
        &self,
        request: Request<ListWaitingServersRequest>,
    ) -> Result<Response<ListWaitingServersResponse>, Status> {
        edus::waiting(&self.app, request.into_inner()).await.map(Response::new)
    }

    #[instrument(name = "rpc.destination.list_outgoing_edus", skip_all)]
    async fn list_outgoing_edus(
        &self,
        request: Request<ListOutgoingEdusRequest>,
    ) -> Result<Response<ListOutgoingEdusResponse>, Status> {
        edus::list(&self.app, request.into_inner()).await.map(Response::new)
    }

    #[instrument(name = "rpc.destination.ack_outgoing_edus", skip_all)]
    async fn ack_outgoing_edus(
        &self,
        request: Request<AckOutgoingEdusRequest>,
    ) -> Result<Response<AckOutgoingEdusResponse>, Status> {
        edus::acknowledge(&self.app, request.into_inner()).await.map(Response::new)
    }

    type StreamRoomServersStream = BoxStream<'static, Result<StreamRoomServersResponse, Status>>;

    async fn stream_room_servers(
        &self,
        request: Request<StreamRoomServersRequest>,
    ) -> Result<Response<Self::StreamRoomServersStream>, Status> {
        servers::stream(&self.app, request)
    }
}

/// What is kept of shards, page by page: destinations, then their rooms.
struct Kept {
    app: App,
    shards: Vec<i16>,
    place: Place,
}

enum Place {
    /// Destinations after this one come next.
    Destinations(String),
    /// Rooms after this server and room come next.
    Rooms(String, String),
    End,
}

impl Kept {
    async fn next(mut self) -> Result<Option<(ClaimShardsResponse, Self)>, StoreError> {
        let mut conn = pool::get(&self.app.pool).await?;
        let destinations = loop {
            match &self.place {
                Place::Destinations(after) => {
                    let rows = destinations::list(&mut conn, &self.shards, after, PAGE).await?;
                    self.place = match rows.last() {
                        Some(last) => Place::Destinations(last.server.clone()),
                        None => Place::Rooms(String::new(), String::new()),
                    };
                    if !rows.is_empty() {
                        break rows.into_iter().map(encode_destination).collect();
                    }
                }
                Place::Rooms(server, room_id) => {
                    let after = (server.as_str(), room_id.as_str());
                    let rows = destinations::list_rooms(&mut conn, &self.shards, after, PAGE).await?;
                    self.place = match rows.last() {
                        Some(last) => Place::Rooms(last.server.clone(), last.room_id.clone()),
                        None => Place::End,
                    };
                    break by_server(rows);
                }
                Place::End => return Ok(None),
            }
        };
        drop(conn);
        Ok(Some((ClaimShardsResponse { shards: Vec::new(), destinations }, self)))
    }
}

fn by_server(rows: Vec<Room>) -> Vec<Destination> {
    let mut destinations: Vec<Destination> = Vec::new();
    for row in rows {
        if destinations.last().is_none_or(|last| last.server != row.server) {
            destinations.push(Destination { server: row.server, ..Destination::default() });
        }
        let room = BehindRoom { room_id: row.room_id, after_seq: unsigned(row.after_seq) };
        if let Some(last) = destinations.last_mut() {
            last.rooms.push(room);
        }
    }
    destinations
}

fn encode_shard(shard: Shard) -> ShardPositions {
    ShardPositions {
        shard: u32::try_from(shard.shard).unwrap_or(0),
        positions: shard.positions.into_iter().map(unsigned).collect(),
    }
}

fn encode_destination(row: destinations::Destination) -> Destination {
    Destination {
        server: row.server,
        shard: u32::try_from(row.shard).unwrap_or(0),
        failures: u32::try_from(row.failures).unwrap_or(0),
        first_failure_ts: row.first_failure_ts,
        retry_ts: row.retry_ts,
        error: row.error,
        last_success_ts: row.last_success_ts,
        rooms: Vec::new(),
    }
}

fn decode(request: SaveProgressRequest) -> Result<Progress, Status> {
    check_sender(&request.sender)?;
    at_most("recovered", request.recovered.len(), MAX_ROWS)?;
    at_most("caught_up", request.caught_up.len(), MAX_ROWS)?;
    let rooms: usize = request.destinations.iter().map(|destination| destination.rooms.len()).sum();
    at_most("destinations", request.destinations.len().saturating_add(rooms), MAX_ROWS)?;
    let mut progress = Progress {
        sender: request.sender.to_vec(),
        shards: numbers(&request.shards)?,
        serial: position(request.serial),
        order_shards: numbers(&request.order_shards)?,
        ..Progress::default()
    };
    for ShardPositions { shard, positions } in request.positions {
        let partitions = usize::try_from(PARTITIONS).unwrap_or(usize::MAX);
        if positions.len() != partitions || !request.shards.contains(&shard) {
            return Err(invalid("positions", "not one for each partition, or of another shard"));
        }
        let positions = positions.into_iter().map(position).collect();
        progress.positions.push(Shard { shard: number(shard)?, positions });
    }
    for destination in request.destinations {
        name("server", &destination.server)?;
        if !request.shards.contains(&destination.shard) {
            return Err(invalid("destinations", "one is of another shard"));
        }
        for BehindRoom { room_id: room, after_seq } in destination.rooms {
            room_id("room_id", &room)?;
            storable("room_id", &room)?;
            let server = destination.server.clone();
            progress.rooms.push(Room { server, room_id: room, after_seq: position(after_seq) });
        }
        at_most("error", destination.error.len(), MAX_ERROR)?;
        storable("error", &destination.error)?;
        progress.destinations.push(destinations::Destination {
            server: destination.server,
            shard: number(destination.shard)?,
            failures: i32::try_from(destination.failures).unwrap_or(i32::MAX),
            first_failure_ts: destination.first_failure_ts,
            retry_ts: destination.retry_ts,
            error: destination.error,
            last_success_ts: destination.last_success_ts,
        });
    }
    for room in request.caught_up {
        name("server", &room.server)?;
        storable("room_id", &room.room_id)?;
        progress.caught_up.0.push(room.server);
        progress.caught_up.1.push(room.room_id);
    }
    for server in request.recovered {
        name("recovered", &server)?;
        progress.recovered.push(server);
    }
    Ok(progress)
}

fn check_sender(sender: &[u8]) -> Result<(), Status> {
    if sender.len() == 16 { Ok(()) } else { Err(invalid("sender", "it is not 16 bytes")) }
}

fn numbers(shards: &[u32]) -> Result<Vec<i16>, Status> {
    at_most("shards", shards.len(), 64)?;
    let mut numbers = shards.iter().map(|shard| number(*shard)).collect::<Result<Vec<_>, _>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

fn number(shard: u32) -> Result<i16, Status> {
    let number = i16::try_from(shard).ok().filter(|_| shard < SHARDS);
    number.ok_or_else(|| invalid("shards", "there is no such shard"))
}
