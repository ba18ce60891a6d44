//! Asks other servers about users and rooms, by the federation service.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use plexus_matrix_http::MatrixError;
use plexus_proto::federation::v1::{
    FindEventByTimeRequest, FindEventByTimeResponse, GetProfileRequest, GetSpaceRequest, GetSpaceResponse,
    ListPublicRoomsRequest, ListPublicRoomsResponse, MakeTokenRequest, MakeTokenResponse,
    outbound_query_service_client::OutboundQueryServiceClient,
};
use plexus_service::RpcChannel;
use ruma::{OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, ServerName, UserId};
use serde_json::{Value, json};

use super::{DirectoryRequest, Rooms, remote::within};

/// How long other servers are waited for.
const DEADLINE: Duration = Duration::from_secs(20);

impl Rooms {
    fn remote(&self) -> Result<OutboundQueryServiceClient<RpcChannel>, MatrixError> {
        let none = || MatrixError::not_found("This server does not federate");
        self.remote.clone().ok_or_else(none)
    }

    /// Whether other servers are asked at all.
    pub(super) fn asks_others(&self) -> bool {
        self.remote.is_some()
    }

    /// Reads all fields of a profile of another server's user, as JSON text.
    pub(crate) async fn remote_profile(&self, user: &UserId) -> Result<HashMap<String, Bytes>, MatrixError> {
        let Ok(mut remote) = self.remote() else {
            return Err(MatrixError::not_found("The user is not known here"));
        };
        let request = GetProfileRequest { user_id: user.to_string() };
        Ok(within(DEADLINE, remote.get_profile(request)).await?.fields)
    }

    /// Makes a token by which others learn who a user is.
    pub(crate) async fn openid_token(&self, user: &UserId) -> Result<MakeTokenResponse, MatrixError> {
        let none =
            || MatrixError::not_found("This server does not federate: nobody could ask whose token it is");
        let mut openid = self.openid.clone().ok_or_else(none)?;
        within(DEADLINE, openid.make_token(MakeTokenRequest { user_id: user.to_string() })).await
    }

    /// Finds the room of an alias of any server, and servers that are in it.
    pub(crate) async fn find_alias(
        &self,
        alias: &RoomAliasId,
    ) -> Result<(OwnedRoomId, Vec<OwnedServerName>), MatrixError> {
        if self.is_local(alias.server_name()) {
            return Ok((self.resolve_alias(alias).await?, vec![self.server_name.clone()]));
        }
        self.resolve_remote_alias(alias).await
    }

    /// Pages through the directory of another server.
    pub(super) async fn remote_public_rooms(
        &self,
        server: &ServerName,
        request: DirectoryRequest<'_>,
        limit: u32,
    ) -> Result<Value, MatrixError> {
        let Ok(mut remote) = self.remote() else {
            return Err(MatrixError::new(
                http::StatusCode::BAD_GATEWAY,
                "M_UNKNOWN",
                format!("The directory of {server} cannot be read: this server does not federate"),
            ));
        };
        let types = request.room_types;
        let asked = ListPublicRoomsRequest {
            server: server.to_string(),
            limit,
            since: request.since.unwrap_or_default().to_owned(),
            search_term: request.search_term.unwrap_or_default().to_owned(),
            has_room_types: types.is_some(),
            room_types: types.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect(),
            ..ListPublicRoomsRequest::default()
        };
        directory_page(&within(DEADLINE, remote.list_public_rooms(asked)).await?)
    }

    /// Asks other servers for a room, and for its children if it is a space.
    pub(super) async fn remote_space(
        &self,
        room_id: &str,
        via: Vec<String>,
        suggested_only: bool,
    ) -> Result<GetSpaceResponse, MatrixError> {
        let request = GetSpaceRequest { room_id: room_id.to_owned(), via, suggested_only };
        within(DEADLINE, self.remote()?.get_space(request)).await
    }

    /// Asks other servers of a room for the event closest to a time.
    pub(super) async fn remote_event_by_time(
        &self,
        room_id: &RoomId,
        ts: i64,
        backward: bool,
    ) -> Result<FindEventByTimeResponse, MatrixError> {
        let request = FindEventByTimeRequest { room_id: room_id.to_string(), ts, backward };
        within(DEADLINE, self.remote()?.find_event_by_time(request)).await
    }
}

fn directory_page(page: &ListPublicRoomsResponse) -> Result<Value, MatrixError> {
    let mut answer = json!({ "chunk": page.rooms.iter().map(parse).collect::<Result<Vec<_>, _>>()? });
    if let Some(total) = page.total {
        answer["total_room_count_estimate"] = Value::from(total);
    }
    for (key, token) in [("next_batch", &page.next_batch), ("prev_batch", &page.prev_batch)] {
        if !token.is_empty() {
            answer[key] = Value::from(token.as_str());
        }
    }
    Ok(answer)
}

/// Reads a room as the federation service passes it on.
pub(super) fn parse(json: impl AsRef<[u8]>) -> Result<Value, MatrixError> {
    serde_json::from_slice(json.as_ref())
        .map_err(|error| super::broken_answer("room of another server", &error))
}
