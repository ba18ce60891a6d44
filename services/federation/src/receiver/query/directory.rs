//! `GET /_matrix/federation/v1/query/directory`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1querydirectory)

use axum::extract::State;
use plexus_matrix_http::{JsonObject, MatrixError, QueryArgs};
use plexus_proto::room::v1::{
    ListJoinedServersRequest, ResolveAliasRequest, room_directory_service_client::RoomDirectoryServiceClient,
};
use ruma::OwnedRoomAliasId;
use serde::Deserialize;
use serde_json::json;
use tracing::instrument;

use crate::{
    Federation,
    receiver::{Query, Signed},
    upstream::{self, timed},
};

/// Most servers that are named.
const MAX_SERVERS: usize = 50;

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    room_alias: OwnedRoomAliasId,
}

#[instrument(name = "http.server.get_room_information", skip_all)]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    QueryArgs(args): QueryArgs<Args>,
    _signed: Signed<Query>,
) -> Result<JsonObject, MatrixError> {
    if args.room_alias.server_name() != federation.name() {
        return Err(MatrixError::not_found("The alias is not one of this server"));
    }
    let mut directory = RoomDirectoryServiceClient::new(federation.rooms.clone());
    let request = ResolveAliasRequest { alias: args.room_alias.to_string() };
    let room_id = directory.resolve_alias(timed(request)).await?.into_inner().room_id;
    let request = ListJoinedServersRequest { room_id: room_id.clone(), server: String::new() };
    // A room where nobody of ours is any more still has its alias.
    let joined = upstream::graph(&federation.rooms).list_joined_servers(timed(request)).await;
    let mut joined = joined.map(|answer| answer.into_inner().servers).unwrap_or_default();
    // Those with the most members come first: they are the likeliest to stay.
    joined.sort_by_key(|server| std::cmp::Reverse(server.members));
    let others = joined.iter().map(|server| server.name.as_str()).filter(|name| *name != federation.name());
    let servers: Vec<&str> =
        std::iter::once(federation.name().as_str()).chain(others).take(MAX_SERVERS).collect();
    JsonObject::of(&json!({ "room_id": room_id, "servers": servers }))
}
