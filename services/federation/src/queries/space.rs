//! `OutboundQueryService.GetSpace`

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use plexus_proto::{
    common::v1::ErrorReason,
    federation::v1::{GetSpaceRequest, GetSpaceResponse},
};
use plexus_s2s::encoded;
use plexus_service::refusal::reason_of;
use ruma::{OwnedRoomId, OwnedServerName};
use serde::Deserialize;
use serde_json::{Map, Value};
use tonic::Status;
use tracing::instrument;

use super::{Keep, ask, invalid, shown};
use crate::{
    Federation,
    joins::failure::{Failure, nobody},
};

/// Whether this server may know of a room changes as soon as a user of it joins another one.
const KEPT: Keep = Keep { answer: Duration::from_secs(300), refusal: Duration::ZERO };
/// Most servers that are asked.
const MAX_SERVERS: usize = 5;
/// Most rooms that are passed on.
const MAX_CHILDREN: usize = 1000;

#[derive(Deserialize)]
struct Answer {
    room: Map<String, Value>,
    #[serde(default)]
    children: Vec<Map<String, Value>>,
    #[serde(default)]
    inaccessible_children: Vec<String>,
}

#[instrument(name = "rpc.outbound_query.get_space", skip_all, fields(room.id = %request.room_id))]
pub(super) async fn answer(
    federation: &Federation,
    request: GetSpaceRequest,
) -> Result<GetSpaceResponse, Status> {
    let room_id = OwnedRoomId::try_from(request.room_id).map_err(|error| invalid("room_id", error))?;
    let suggested = request.suggested_only;
    let room = encoded(room_id.as_str());
    let path = format!("/_matrix/federation/v1/hierarchy/{room}?suggested_only={suggested}");
    let mut asked = BTreeSet::new();
    let mut refused = None;
    let named = request.via.iter().filter_map(|name| OwnedServerName::try_from(name.as_str()).ok());
    let named = named.chain(room_id.server_name().map(ToOwned::to_owned));
    let others =
        named.filter(|server| server != federation.name()).filter(|server| asked.insert(server.clone()));
    for server in others.take(MAX_SERVERS) {
        let answer: Result<Answer, Status> = ask(federation, &server, (path.clone(), None), KEPT).await;
        match answer.and_then(|answer| read(answer, &room_id, suggested)) {
            Ok(answer) => return Ok(GetSpaceResponse { server: server.to_string(), ..answer }),
            Err(status) => {
                let is_answer =
                    matches!(reason_of(&status), Some(ErrorReason::NotFound | ErrorReason::Forbidden));
                if is_answer || refused.is_none() {
                    refused = Some(status);
                }
            }
        }
    }
    Err(refused.unwrap_or_else(nobody))
}

fn read(answer: Answer, room_id: &OwnedRoomId, suggested_only: bool) -> Result<GetSpaceResponse, Status> {
    let other = || Failure::Answer("it tells of another room".to_owned()).to_status();
    let room = shown::space_room(answer.room, suggested_only).ok_or_else(other)?;
    if room.get("room_id").and_then(Value::as_str) != Some(room_id.as_str()) {
        return Err(other());
    }
    let json = |room: Map<String, Value>| Bytes::from(Value::Object(room).to_string());
    let children = answer.children.into_iter().take(MAX_CHILDREN).filter_map(shown::space_child);
    let hidden = answer.inaccessible_children.into_iter().take(MAX_CHILDREN);
    Ok(GetSpaceResponse {
        room: json(room),
        children: children.map(json).collect(),
        inaccessible_children: hidden.filter(|id| OwnedRoomId::try_from(id.as_str()).is_ok()).collect(),
        server: String::new(),
    })
}
