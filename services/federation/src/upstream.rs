//! The room server, as this service asks it. Every call has a deadline.

use std::time::Duration;

use futures::{Stream, TryStreamExt as _};
use plexus_events::acl::ServerAcl;
use plexus_matrix_http::MatrixError;
use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        GetForwardExtremitiesRequest, ListJoinedServersRequest, StateKey,
        room_graph_service_client::RoomGraphServiceClient, room_query_service_client::RoomQueryServiceClient,
    },
    user::v1::{
        key_query_service_client::KeyQueryServiceClient, user_query_service_client::UserQueryServiceClient,
    },
};
use plexus_service::{RpcChannel, refusal::reason_of};
use ruma::{RoomId, ServerName};
use tonic::{Request, Status};

/// How long a question may take, and a state.
const DEADLINE: Duration = Duration::from_secs(20);
const STATE_DEADLINE: Duration = Duration::from_secs(300);
/// Longest message: a chunk of events.
const MESSAGE: usize = 64 << 20;

/// A request with a deadline.
pub(crate) fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// A request for what may be much.
pub(crate) fn patient<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(STATE_DEADLINE);
    request
}

pub(crate) fn graph(rooms: &RpcChannel) -> RoomGraphServiceClient<RpcChannel> {
    RoomGraphServiceClient::new(rooms.clone()).max_decoding_message_size(MESSAGE)
}

pub(crate) fn queries(rooms: &RpcChannel) -> RoomQueryServiceClient<RpcChannel> {
    RoomQueryServiceClient::new(rooms.clone()).max_decoding_message_size(MESSAGE)
}

pub(crate) fn keys(rooms: &RpcChannel) -> KeyQueryServiceClient<RpcChannel> {
    KeyQueryServiceClient::new(rooms.clone()).max_decoding_message_size(MESSAGE)
}

pub(crate) fn users(rooms: &RpcChannel) -> UserQueryServiceClient<RpcChannel> {
    UserQueryServiceClient::new(rooms.clone())
}

/// Makes sure that a server may ask about a room: we are in it, its ACL lets the server take part, and the server is in
/// it. What it may see of the room is another question.
pub(crate) async fn check_in_room(
    rooms: &RpcChannel,
    room_id: &RoomId,
    server: &ServerName,
) -> Result<(), MatrixError> {
    let mut graph = graph(rooms);
    let key = StateKey { r#type: "m.room.server_acl".to_owned(), state_key: String::new() };
    let front = graph
        .get_forward_extremities(timed(GetForwardExtremitiesRequest {
            room_id: room_id.to_string(),
            keys: vec![key],
        }))
        .await
        .map_err(unknown_room)?;
    for event in front.into_inner().state {
        let event: serde_json::Value = serde_json::from_slice(&event.json).unwrap_or_default();
        let content = event.get("content").map(ToString::to_string).unwrap_or_default();
        if !ServerAcl::from_content(&content).allows(server) {
            return Err(MatrixError::forbidden("The server is denied by the ACL of the room"));
        }
    }
    let request = ListJoinedServersRequest { room_id: room_id.to_string(), server: server.to_string() };
    let servers = graph.list_joined_servers(timed(request)).await.map_err(unknown_room)?.into_inner().servers;
    if servers.iter().any(|joined| joined.name == server.as_str() && joined.members > 0) {
        Ok(())
    } else {
        Err(not_in_room())
    }
}

/// Nobody is told which rooms we are in.
fn unknown_room(status: Status) -> MatrixError {
    if reason_of(&status) == Some(ErrorReason::RoomUnknown) { not_in_room() } else { status.into() }
}

fn not_in_room() -> MatrixError {
    MatrixError::forbidden("The server is not in the room")
}

/// Gathers what comes in chunks, with a bound on what it holds.
pub(crate) async fn gather<T, I>(
    chunks: impl Stream<Item = Result<T, Status>>,
    max_bytes: usize,
    mut items: impl FnMut(T) -> I,
) -> Result<(), MatrixError>
where
    I: Iterator<Item = usize>,
{
    let mut left = max_bytes;
    futures::pin_mut!(chunks);
    while let Some(chunk) = chunks.try_next().await? {
        for bytes in items(chunk) {
            left = left.checked_sub(bytes).ok_or_else(|| MatrixError::too_large("The answer is too long"))?;
        }
    }
    Ok(())
}
