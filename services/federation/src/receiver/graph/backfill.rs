//! `GET /_matrix/federation/v1/backfill/{roomId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1backfillroomid)

use axum::{extract::State, response::Response};
use plexus_matrix_http::{MatrixError, PathArgs, QueryArgs};
use plexus_proto::room::v1::GetBackfillRequest;
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use tracing::instrument;

use super::pdus;
use crate::{
    Federation,
    receiver::{Graph, Signed},
    upstream::{self, check_in_room, timed},
};

/// Most events of an answer, and most events to begin with.
const MAX_EVENTS: u32 = 100;
const MAX_BEGIN: usize = 50;

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    #[serde(default)]
    v: Vec<OwnedEventId>,
    limit: u32,
}

#[instrument(name = "http.server.get_backfill", skip_all)]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    QueryArgs(args): QueryArgs<Args>,
    signed: Signed<Graph>,
) -> Result<Response, MatrixError> {
    if args.v.is_empty() {
        return Err(MatrixError::missing_param("`v` is missing"));
    }
    if args.v.len() > MAX_BEGIN {
        return Err(MatrixError::invalid_param(format!("More than {MAX_BEGIN} events to begin with")));
    }
    check_in_room(&federation.rooms, &room_id, &signed.origin).await?;
    let request = GetBackfillRequest {
        room_id: room_id.to_string(),
        from: args.v.iter().map(ToString::to_string).collect(),
        limit: args.limit.clamp(1, MAX_EVENTS),
        server: signed.origin.to_string(),
    };
    let events = upstream::graph(&federation.rooms).get_backfill(timed(request)).await?.into_inner().events;
    Ok(pdus::transaction(&federation, &events))
}
