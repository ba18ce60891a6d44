//! `GET` and `POST /_matrix/federation/v1/publicRooms`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#public-room-directory)

use axum::extract::State;
use plexus_matrix_http::{
    Json, JsonObject, MatrixError, QueryArgs,
    summary::{directory_page, parse_place},
};
use plexus_proto::room::v1::{ListPublicRoomsRequest, room_summary_service_client::RoomSummaryServiceClient};
use serde::Deserialize;
use serde_json::json;
use tracing::instrument;

use crate::{
    Federation,
    receiver::{Query, Signed},
    upstream::timed,
};

/// Rooms of an answer, unless the server wants fewer.
const MAX_ROOMS: u32 = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    limit: Option<u32>,
    since: Option<String>,
    third_party_instance_id: Option<String>,
    filter: Filter,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Filter {
    generic_search_term: Option<String>,
    room_types: Option<Vec<Option<String>>>,
}

/// What may stand in a query.
#[derive(Debug, Deserialize)]
pub(crate) struct InQuery {
    limit: Option<u32>,
    since: Option<String>,
    third_party_instance_id: Option<String>,
}

#[instrument(name = "http.server.get_public_rooms", skip_all)]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    QueryArgs(args): QueryArgs<InQuery>,
    _signed: Signed<Query>,
) -> Result<JsonObject, MatrixError> {
    let InQuery { limit, since, third_party_instance_id } = args;
    answer(&federation, Args { limit, since, third_party_instance_id, ..Args::default() }).await
}

#[instrument(name = "http.server.get_public_rooms_filtered", skip_all)]
pub(crate) async fn filtered_handler(
    State(federation): State<Federation>,
    signed: Signed<Query>,
) -> Result<JsonObject, MatrixError> {
    let Json(args) = Json::<Args>::parse(&signed.body)?;
    answer(&federation, args).await
}

async fn answer(federation: &Federation, args: Args) -> Result<JsonObject, MatrixError> {
    if !federation.config.federation.public_rooms {
        return Err(MatrixError::forbidden("This server does not tell others its directory"));
    }
    let token = || MatrixError::invalid_param("The token is not one of this server");
    let position = args.since.map(|since| parse_place(&since).ok_or_else(token)).transpose()?;
    if args.third_party_instance_id.is_some_and(|network| !network.is_empty()) {
        // There is no bridge, so there is no network.
        return JsonObject::of(&json!({ "chunk": [] }));
    }
    let types = args.filter.room_types;
    let request = ListPublicRoomsRequest {
        search_term: args.filter.generic_search_term.unwrap_or_default(),
        has_room_types: types.is_some(),
        room_types: types.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect(),
        position,
        limit: args.limit.filter(|limit| *limit > 0).unwrap_or(MAX_ROOMS).min(MAX_ROOMS),
    };
    let mut summaries = RoomSummaryServiceClient::new(federation.rooms.clone());
    let page = summaries.list_public_rooms(timed(request)).await?.into_inner();
    JsonObject::of(&directory_page(&page))
}
