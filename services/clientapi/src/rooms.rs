//! Actions of clients on rooms: intents go to the input log and are awaited, reads go to
//! the room server, which decides who may see what.
//!
//! It decides no right to do anything: the verdict on an intent is the answer.

mod aliases;
mod by_time;
pub(crate) mod content;
mod create;
mod create_room;
mod format;
mod guests;
mod history;
mod ignored;
mod initial;
mod membership;
mod page_filter;
pub(crate) mod profile;
mod read;
mod receipts;
mod relations;
mod remote;
mod remote_queries;
mod reports;
mod send;
mod space_tree;
mod state;
mod stream;
mod summaries;
mod timeline;
mod upgrade;

use std::{future::Future, time::Duration};

use plexus_input::{InputWriter, SubmitError};
use plexus_matrix_http::MatrixError;
use plexus_proto::{
    common::v1::ErrorReason,
    federation::v1::{
        open_id_service_client::OpenIdServiceClient,
        outbound_query_service_client::OutboundQueryServiceClient,
        outbound_service_client::OutboundServiceClient,
    },
    input::v1::input_service_client::InputServiceClient,
    log::v1::{Intent, input_room_event::Body},
    room::v1::{
        room_directory_service_client::RoomDirectoryServiceClient,
        room_graph_service_client::RoomGraphServiceClient,
        room_history_service_client::RoomHistoryServiceClient,
        room_query_service_client::RoomQueryServiceClient,
        room_summary_service_client::RoomSummaryServiceClient,
    },
    user::v1::{
        user_query_service_client::UserQueryServiceClient,
        user_stream_service_client::UserStreamServiceClient,
    },
};
use plexus_service::RpcChannel;
use ruma::{OwnedEventId, OwnedServerName, RoomId, RoomVersionId, ServerName};

pub(crate) use page_filter::PageFilter;
pub(crate) use relations::{RelationsQuery, RelationsRequest};
pub(crate) use send::{message_scope, redaction_scope};
pub(crate) use state::StateFormat;
pub(crate) use summaries::{DirectoryRequest, SpaceRequest};
pub(crate) use timeline::{ContextRequest, PageRequest};

/// Longest that a read may take; a write has the deadline of the input log's writer.
const READ_DEADLINE: Duration = Duration::from_secs(20);
/// Largest answer of the room server that is read: 1,000 events of the greatest size, and some room.
const MAX_ANSWER_BYTES: usize = 80 * 1024 * 1024;

/// Reads and changes rooms; cheap to clone.
#[derive(Clone)]
pub(crate) struct Rooms {
    server_name: OwnedServerName,
    default_version: RoomVersionId,
    input: InputWriter,
    transactions: InputServiceClient<RpcChannel>,
    queries: RoomQueryServiceClient<RpcChannel>,
    history: RoomHistoryServiceClient<RpcChannel>,
    summaries: RoomSummaryServiceClient<RpcChannel>,
    graph: RoomGraphServiceClient<RpcChannel>,
    directory: RoomDirectoryServiceClient<RpcChannel>,
    outbound: Option<OutboundServiceClient<RpcChannel>>,
    remote: Option<OutboundQueryServiceClient<RpcChannel>>,
    openid: Option<OpenIdServiceClient<RpcChannel>>,
    users: UserQueryServiceClient<RpcChannel>,
    user_streams: UserStreamServiceClient<RpcChannel>,
}

impl Rooms {
    /// Reads rooms over `rooms` and profiles over `users`, asks other servers over `federation`, if it may, and writes
    /// through `input`.
    pub(crate) fn new(
        server_name: OwnedServerName,
        default_version: RoomVersionId,
        input: InputWriter,
        (rooms, users, federation): (RpcChannel, RpcChannel, Option<RpcChannel>),
    ) -> Self {
        Self {
            server_name,
            default_version,
            input,
            transactions: InputServiceClient::new(rooms.clone()),
            queries: RoomQueryServiceClient::new(rooms.clone()).max_decoding_message_size(MAX_ANSWER_BYTES),
            history: RoomHistoryServiceClient::new(rooms.clone()).max_decoding_message_size(MAX_ANSWER_BYTES),
            summaries: RoomSummaryServiceClient::new(rooms.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            graph: RoomGraphServiceClient::new(rooms.clone()),
            directory: RoomDirectoryServiceClient::new(rooms),
            outbound: federation.clone().map(OutboundServiceClient::new),
            openid: federation.clone().map(OpenIdServiceClient::new),
            remote: federation.map(|federation| {
                OutboundQueryServiceClient::new(federation).max_decoding_message_size(MAX_ANSWER_BYTES)
            }),
            users: UserQueryServiceClient::new(users.clone()),
            user_streams: UserStreamServiceClient::new(users),
        }
    }

    /// Whether a server is this one.
    fn is_local(&self, server: &ServerName) -> bool {
        *server == *self.server_name
    }

    /// Sends an event, and returns its ID once it is part of the room.
    ///
    /// Who sends to a room that is not there learns no more than who sends to a room they are not in.
    async fn send_intent(&self, room_id: &RoomId, intent: Intent) -> Result<OwnedEventId, MatrixError> {
        let accepted = self.input.submit_room(room_id, Body::Intent(intent)).await.map_err(|error| {
            if is_rejected(&error, ErrorReason::RoomUnknown) {
                MatrixError::forbidden("You are not in this room")
            } else {
                error.into()
            }
        })?;
        event_id(&accepted.event_id)
    }
}

/// Whether an input was refused for this reason.
fn is_rejected(error: &SubmitError, expected: ErrorReason) -> bool {
    matches!(error, SubmitError::Rejected { reason, .. } if *reason == expected)
}

/// Awaits the answer of a query, at most until its deadline.
async fn ask<T>(
    query: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, MatrixError> {
    match tokio::time::timeout(READ_DEADLINE, query).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(MatrixError::timed_out()),
    }
}

/// Parses an event ID of the room server's.
fn event_id(id: &str) -> Result<OwnedEventId, MatrixError> {
    id.try_into().map_err(|error| broken_answer("event ID", &error))
}

/// Reports an answer of another service that cannot be; the client sees no detail.
fn broken_answer(what: &'static str, error: &dyn std::fmt::Display) -> MatrixError {
    tracing::error!(what, %error, "answer of the room server is malformed");
    MatrixError::internal()
}
