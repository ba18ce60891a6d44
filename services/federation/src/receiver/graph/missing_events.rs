//! `POST /_matrix/federation/v1/get_missing_events/{roomId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1get_missing_eventsroomid)

use axum::{extract::State, response::Response};
use plexus_matrix_http::{Json, MatrixError, PathArgs};
use plexus_proto::room::v1::GetMissingEventsRequest;
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use tracing::instrument;

use super::pdus;
use crate::{
    Federation,
    receiver::{Graph, Signed},
    upstream::{self, check_in_room, timed},
};

/// Events of an answer, if the server does not say, and at most.
const DEFAULT_EVENTS: u32 = 10;
const MAX_EVENTS: u32 = 50;
/// Most events that a request names, of those to begin with and those to end with each.
const MAX_NAMED: usize = 100;

#[derive(Debug, Deserialize)]
struct Body {
    earliest_events: Vec<OwnedEventId>,
    latest_events: Vec<OwnedEventId>,
    #[serde(default)]
    limit: Option<u32>,
    #[serde(default)]
    min_depth: Option<u64>,
}

#[instrument(name = "http.server.get_missing_events", skip_all)]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    signed: Signed<Graph>,
) -> Result<Response, MatrixError> {
    let Json(body) = Json::<Body>::parse(&signed.body)?;
    if body.earliest_events.len().max(body.latest_events.len()) > MAX_NAMED {
        return Err(MatrixError::invalid_param(format!("More than {MAX_NAMED} events")));
    }
    check_in_room(&federation.rooms, &room_id, &signed.origin).await?;
    let ids = |ids: Vec<OwnedEventId>| ids.iter().map(ToString::to_string).collect();
    let request = GetMissingEventsRequest {
        room_id: room_id.to_string(),
        earliest: ids(body.earliest_events),
        latest: ids(body.latest_events),
        limit: body.limit.unwrap_or(DEFAULT_EVENTS).clamp(1, MAX_EVENTS),
        min_depth: body.min_depth.unwrap_or(0),
        server: signed.origin.to_string(),
    };
    let events = upstream::graph(&federation.rooms).get_missing_events(timed(request)).await?;
    let mut answer = "{\"events\":".to_owned();
    pdus::list(&mut answer, &events.into_inner().events);
    answer.push('}');
    Ok(pdus::json(answer))
}
