//! `OutboundQueryService.ListPublicRooms`

use std::time::Duration;

use bytes::Bytes;
use plexus_proto::federation::v1::{ListPublicRoomsRequest, ListPublicRoomsResponse};
use plexus_s2s::encoded;
use ruma::OwnedServerName;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tonic::Status;
use tracing::instrument;

use super::{ask, invalid, shown};
use crate::Federation;

const KEPT: Duration = Duration::from_secs(60);
/// Most rooms of a page.
const MAX_ROOMS: u32 = 500;
/// Longest token, and longest text to search for.
const MAX_TEXT: usize = 1024;

#[derive(Deserialize)]
struct Answer {
    chunk: Vec<Map<String, Value>>,
    next_batch: Option<String>,
    prev_batch: Option<String>,
    total_room_count_estimate: Option<Value>,
}

#[instrument(name = "rpc.outbound_query.list_public_rooms", skip_all, fields(server = %request.server))]
pub(super) async fn answer(
    federation: &Federation,
    request: ListPublicRoomsRequest,
) -> Result<ListPublicRoomsResponse, Status> {
    let server =
        OwnedServerName::try_from(request.server.as_str()).map_err(|error| invalid("server", error))?;
    for (field, text) in [("since", &request.since), ("search_term", &request.search_term)] {
        if text.len() > MAX_TEXT {
            return Err(invalid(field, "is too long"));
        }
    }
    let limit = request.limit.clamp(1, MAX_ROOMS);
    let answer: Answer = ask(federation, &server, question(&request, limit), KEPT).await?;
    let most = usize::try_from(MAX_ROOMS).unwrap_or(usize::MAX);
    let rooms = answer.chunk.into_iter().take(most).filter_map(shown::public_room);
    let token = |token: Option<String>| token.filter(|token| token.len() <= MAX_TEXT).unwrap_or_default();
    Ok(ListPublicRoomsResponse {
        rooms: rooms.map(|room| Bytes::from(Value::Object(room).to_string())).collect(),
        next_batch: token(answer.next_batch),
        prev_batch: token(answer.prev_batch),
        total: answer.total_room_count_estimate.as_ref().and_then(Value::as_u64),
    })
}

/// Only who filters needs a `POST`.
fn question(request: &ListPublicRoomsRequest, limit: u32) -> (String, Option<Bytes>) {
    let path = "/_matrix/federation/v1/publicRooms";
    if request.search_term.is_empty() && !request.has_room_types {
        let mut path = format!("{path}?limit={limit}");
        for (name, value) in
            [("since", &request.since), ("third_party_instance_id", &request.third_party_instance_id)]
        {
            if !value.is_empty() {
                path.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        if request.include_all_networks {
            path.push_str("&include_all_networks=true");
        }
        return (path, None);
    }
    let mut filter = Map::new();
    if !request.search_term.is_empty() {
        filter.insert("generic_search_term".to_owned(), Value::from(request.search_term.as_str()));
    }
    if request.has_room_types {
        let types = request.room_types.iter().map(|name| Some(name.as_str()).filter(|name| !name.is_empty()));
        filter.insert("room_types".to_owned(), types.map(Value::from).collect());
    }
    let mut body = json!({ "limit": limit, "filter": filter });
    for (name, value) in
        [("since", &request.since), ("third_party_instance_id", &request.third_party_instance_id)]
    {
        if !value.is_empty() {
            body[name] = Value::from(value.as_str());
        }
    }
    if request.include_all_networks {
        body["include_all_networks"] = Value::from(true);
    }
    (path.to_owned(), Some(Bytes::from(body.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_filters_posts() {
        let request = ListPublicRoomsRequest { since: "a&b".to_owned(), ..ListPublicRoomsRequest::default() };
        let plain = ("/_matrix/federation/v1/publicRooms?limit=10&since=a%26b".to_owned(), None);
        assert_eq!(question(&request, 10), plain);
        let request =
            ListPublicRoomsRequest { has_room_types: true, room_types: vec![String::new()], ..request };
        let (path, body) = question(&request, 10);
        assert_eq!(path, "/_matrix/federation/v1/publicRooms");
        let body: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!(body, json!({ "limit": 10, "since": "a&b", "filter": { "room_types": [null] } }));
    }
}
