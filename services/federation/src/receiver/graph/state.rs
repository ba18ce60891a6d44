//! `GET /_matrix/federation/v1/state/{roomId}` and `GET /_matrix/federation/v1/state_ids/{roomId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1stateroomid)

use axum::{extract::State, response::Response};
use plexus_matrix_http::{MatrixError, PathArgs, QueryArgs};
use plexus_proto::room::v1::{GraphEvent, StreamStateAtRequest};
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use tracing::instrument;

use super::pdus;
use crate::{
    Federation,
    receiver::{Graph, Signed},
    upstream::{self, check_in_room, gather, patient},
};

/// Most bytes of an answer: whoever wants more of a room asks for IDs first.
const MAX_BYTES: usize = 128 << 20;

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    event_id: OwnedEventId,
}

#[instrument(name = "http.server.get_room_state", skip_all)]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    QueryArgs(args): QueryArgs<Args>,
    signed: Signed<Graph>,
) -> Result<Response, MatrixError> {
    let state = read(&federation, room_id, args.event_id, false, &signed).await?;
    let mut body = "{\"auth_chain\":".to_owned();
    pdus::list(&mut body, &state.auth_chain);
    body.push_str(",\"pdus\":");
    pdus::list(&mut body, &state.state);
    body.push('}');
    Ok(pdus::json(body))
}

#[instrument(name = "http.server.get_room_state_ids", skip_all)]
pub(crate) async fn ids_handler(
    State(federation): State<Federation>,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    QueryArgs(args): QueryArgs<Args>,
    signed: Signed<Graph>,
) -> Result<Response, MatrixError> {
    let state = read(&federation, room_id, args.event_id, true, &signed).await?;
    let ids = |events: Vec<GraphEvent>| events.into_iter().map(|event| event.event_id).collect::<Vec<_>>();
    let mut body = "{\"auth_chain_ids\":".to_owned();
    pdus::ids(&mut body, &ids(state.auth_chain));
    body.push_str(",\"pdu_ids\":");
    pdus::ids(&mut body, &ids(state.state));
    body.push('}');
    Ok(pdus::json(body))
}

#[derive(Default)]
struct StateAt {
    state: Vec<GraphEvent>,
    auth_chain: Vec<GraphEvent>,
}

/// Reads the state before an event, which must be one of the room that is asked about.
async fn read(
    federation: &Federation,
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
    ids_only: bool,
    signed: &Signed<Graph>,
) -> Result<StateAt, MatrixError> {
    check_in_room(&federation.rooms, &room_id, &signed.origin).await?;
    let request = StreamStateAtRequest {
        room_id: room_id.to_string(),
        event_id: event_id.to_string(),
        after: false,
        ids_only,
    };
    let chunks = upstream::graph(&federation.rooms).stream_state_at(patient(request)).await?.into_inner();
    let mut read = StateAt::default();
    gather(chunks, MAX_BYTES, |chunk| {
        let bytes = |events: &[GraphEvent]| {
            events.iter().map(|event| event.event_id.len() + event.json.len()).sum::<usize>()
        };
        let sum = bytes(&chunk.state) + bytes(&chunk.auth_chain);
        read.state.extend(chunk.state);
        read.auth_chain.extend(chunk.auth_chain);
        std::iter::once(sum)
    })
    .await?;
    Ok(read)
}
