//! `OutboundService.ResolveAlias`

use plexus_proto::federation::v1::{ResolveAliasRequest, ResolveAliasResponse};
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedServerName};
use serde::Deserialize;
use tonic::Status;
use tracing::instrument;

use super::invalid;
use crate::{
    Federation,
    joins::{failure::Failure, handshake},
};

/// Most servers that are taken over.
const MAX_SERVERS: usize = 50;

#[derive(Deserialize)]
struct Answer {
    room_id: OwnedRoomId,
    servers: Vec<String>,
}

#[instrument(name = "rpc.outbound.resolve_alias", skip_all)]
pub(super) async fn answer(
    federation: &Federation,
    request: ResolveAliasRequest,
) -> Result<ResolveAliasResponse, Status> {
    let alias = OwnedRoomAliasId::try_from(request.alias).map_err(|error| invalid("alias", error))?;
    let server = alias.server_name();
    if server == federation.name() {
        return Err(invalid("alias", "is one of this server"));
    }
    let body = handshake::directory(federation, server, alias.as_str()).await;
    let body = body.map_err(|error| Failure::from(error).to_status())?;
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|error| Failure::Answer(error.to_string()).to_status())?;
    let named = answer.servers.into_iter().filter(|name| OwnedServerName::try_from(name.as_str()).is_ok());
    let mut servers: Vec<String> = named.take(MAX_SERVERS).collect();
    if !servers.iter().any(|name| name == server.as_str()) {
        servers.push(server.to_string());
    }
    Ok(ResolveAliasResponse { room_id: answer.room_id.to_string(), servers })
}
