//! `GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1event_authroomideventid)

use axum::{extract::State, response::Response};
use plexus_matrix_http::{MatrixError, PathArgs};
use plexus_proto::room::v1::{GraphEvent, StreamAuthChainRequest};
use ruma::{OwnedEventId, OwnedRoomId};
use tracing::instrument;

use super::pdus;
use crate::{
    Federation,
    receiver::{Graph, Signed},
    upstream::{self, check_in_room, gather, patient},
};

/// Most bytes of an answer.
const MAX_BYTES: usize = 64 << 20;

#[instrument(name = "http.server.get_event_authorization", skip_all)]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((room_id, event_id)): PathArgs<(OwnedRoomId, OwnedEventId)>,
    signed: Signed<Graph>,
) -> Result<Response, MatrixError> {
    check_in_room(&federation.rooms, &room_id, &signed.origin).await?;
    let request = StreamAuthChainRequest {
        room_id: room_id.to_string(),
        event_ids: vec![event_id.to_string()],
        include_given: false,
        ids_only: false,
    };
    let chunks = upstream::graph(&federation.rooms).stream_auth_chain(patient(request)).await?.into_inner();
    let mut chain: Vec<GraphEvent> = Vec::new();
    gather(chunks, MAX_BYTES, |chunk| {
        let bytes = chunk.events.iter().map(|event| event.json.len()).sum();
        chain.extend(chunk.events);
        std::iter::once(bytes)
    })
    .await?;
    let mut body = "{\"auth_chain\":".to_owned();
    pdus::list(&mut body, &chain);
    body.push('}');
    Ok(pdus::json(body))
}
