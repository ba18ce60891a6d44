//! `GET /_matrix/federation/v1/timestamp_to_event/{roomId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid)

use axum::extract::State;
use plexus_matrix_http::{JsonObject, MatrixError, PathArgs, QueryArgs};
use plexus_proto::room::v1::{
    CheckVisibilityRequest, Direction, FindEventByTimeRequest, check_visibility_request::Reader,
    room_history_service_client::RoomHistoryServiceClient,
};
use ruma::OwnedRoomId;
use serde::Deserialize;
use serde_json::json;
use tracing::instrument;

use crate::{
    Federation,
    receiver::{Graph, Signed},
    upstream::{self, check_in_room, timed},
};

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    ts: i64,
    dir: Dir,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Dir {
    #[serde(rename = "f")]
    Forward,
    #[serde(rename = "b")]
    Backward,
}

#[instrument(name = "http.server.get_event_by_timestamp", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    QueryArgs(args): QueryArgs<Args>,
    signed: Signed<Graph>,
) -> Result<JsonObject, MatrixError> {
    check_in_room(&federation.rooms, &room_id, &signed.origin).await?;
    let direction = match args.dir {
        Dir::Forward => Direction::Forward,
        Dir::Backward => Direction::Backward,
    };
    let request = FindEventByTimeRequest {
        room_id: room_id.to_string(),
        viewer: String::new(),
        ts: args.ts,
        direction: direction.into(),
    };
    let mut history = RoomHistoryServiceClient::new(federation.rooms.clone());
    let found = history.find_event_by_time(timed(request)).await?.into_inner();
    let request = CheckVisibilityRequest {
        room_id: room_id.to_string(),
        event_ids: vec![found.event_id.clone()],
        reader: Some(Reader::Server(signed.origin.to_string())),
    };
    let seen = upstream::graph(&federation.rooms).check_visibility(timed(request)).await?.into_inner().events;
    if !seen.first().is_some_and(|event| event.visible) {
        return Err(MatrixError::not_found("There is no event in this direction that the server may see"));
    }
    JsonObject::of(&json!({ "event_id": found.event_id, "origin_server_ts": found.origin_server_ts }))
}
