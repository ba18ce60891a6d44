//! `GET /_matrix/federation/v1/hierarchy/{roomId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid)

use std::collections::BTreeSet;

use axum::extract::State;
use plexus_matrix_http::{
    JsonObject, MatrixError, PathArgs, QueryArgs,
    summary::{extended, space_room},
};
use plexus_proto::room::v1::{
    GetRoomsRequest, SpaceRoom, WalkSpaceRequest, room_summary_service_client::RoomSummaryServiceClient,
};
use ruma::OwnedRoomId;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::instrument;

use crate::{
    Federation,
    receiver::{Graph, Signed},
    upstream::{self, timed},
};

/// Rooms of a page, and pages that are read: a space may have so many children.
const PAGE: u32 = 100;
const PAGES: u32 = 10;

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    #[serde(default)]
    suggested_only: bool,
}

#[instrument(name = "http.server.get_hierarchy", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    QueryArgs(args): QueryArgs<Args>,
    signed: Signed<Graph>,
) -> Result<JsonObject, MatrixError> {
    let not_found = || MatrixError::not_found("There is no such room");
    let mut rooms = Vec::new();
    for page in 0..PAGES {
        let request = WalkSpaceRequest {
            room_id: room_id.to_string(),
            viewer: String::new(),
            suggested_only: args.suggested_only,
            max_depth: 1,
            offset: page * PAGE,
            limit: PAGE,
            server: signed.origin.to_string(),
        };
        let mut summaries = RoomSummaryServiceClient::new(federation.rooms.clone());
        // Nobody is told which rooms there are that they may know nothing of.
        let answer = summaries.walk_space(timed(request)).await.map_err(|status| {
            let error = MatrixError::from(status);
            if error.is("M_FORBIDDEN") { not_found() } else { error }
        })?;
        let answer = answer.into_inner();
        rooms.extend(answer.rooms);
        if !answer.more {
            break;
        }
    }
    let mut rooms = rooms.into_iter();
    let space = rooms.next().ok_or_else(not_found)?;
    let children: Vec<SpaceRoom> = rooms.collect();
    let told: BTreeSet<&str> =
        children.iter().filter_map(|child| Some(child.summary.as_ref()?.room_id.as_str())).collect();
    let rest = named(&space).into_iter().filter(|room_id| !told.contains(room_id.as_str())).collect();
    let inaccessible = known(&federation, rest).await?;
    let summary = |child: &SpaceRoom| child.summary.as_ref().map(|room| Value::Object(extended(room)));
    let children: Vec<Value> = children.iter().filter_map(summary).collect();
    let space = space_room(space)?;
    JsonObject::of(&json!({ "room": space, "children": children, "inaccessible_children": inaccessible }))
}

/// The children that a space names.
fn named(space: &SpaceRoom) -> Vec<String> {
    #[derive(Deserialize)]
    struct Child {
        state_key: String,
    }
    let child = |json: &bytes::Bytes| serde_json::from_slice::<Child>(json).ok().map(|child| child.state_key);
    space.children.iter().filter_map(child).take(1_000).collect()
}

/// Those of the rooms that are here, so that nobody else has to be asked about them.
async fn known(federation: &Federation, room_ids: Vec<String>) -> Result<Vec<String>, MatrixError> {
    if room_ids.is_empty() {
        return Ok(room_ids);
    }
    let request = GetRoomsRequest { room_ids };
    let rooms = upstream::queries(&federation.rooms).get_rooms(timed(request)).await?.into_inner().rooms;
    Ok(rooms.into_iter().filter(|room| room.resident).map(|room| room.room_id).collect())
}
