//! Rooms as they are told to people outside of them, the directory, and users.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use plexus_matrix_http::{
    AuthedUser, MatrixError,
    summary::{directory_page, extended, parse_place, space_room},
};
use plexus_proto::room::v1::{
    GetSummariesRequest, ListMutualRoomsRequest, ListPublicRoomsRequest, SearchUsersRequest,
    SearchUsersResponse, WalkSpaceRequest,
};
use ruma::{OwnedRoomId, RoomId, ServerName, UserId};
use serde_json::{Value, json};

use super::{Rooms, ask};

/// Rooms of a space answered at once, unless the client wants fewer.
const SPACE_PAGE: u32 = 50;
/// Levels of a space that are read, unless the client wants fewer.
const SPACE_DEPTH: u32 = 32;
/// Rooms of the directory answered at once, unless the client wants fewer.
const DIRECTORY_PAGE: u32 = 500;
/// Rooms that users share answered at once.
const MUTUAL_PAGE: u32 = 500;
/// Most users found by a search.
const MAX_USERS: u64 = 100;
/// Longest token: the longest room ID in base64, and some room.
const MAX_TOKEN_BYTES: usize = 512;

/// What a client wants of a space.
#[derive(Debug)]
pub(crate) struct SpaceRequest<'a> {
    pub(crate) room_id: &'a RoomId,
    pub(crate) suggested_only: bool,
    pub(crate) max_depth: Option<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) from: Option<&'a str>,
}

/// What a client wants of the directory.
#[derive(Debug, Default)]
pub(crate) struct DirectoryRequest<'a> {
    pub(crate) server: Option<&'a ServerName>,
    pub(crate) limit: Option<u64>,
    pub(crate) since: Option<&'a str>,
    pub(crate) search_term: Option<&'a str>,
    /// Types; `None` stands for rooms without one.
    pub(crate) room_types: Option<Vec<Option<String>>>,
    /// Whether only rooms of some third-party network are wanted.
    pub(crate) of_network: bool,
}

impl Rooms {
    /// Pages through the rooms of a space.
    pub(crate) async fn hierarchy(
        &self,
        user: &AuthedUser,
        request: SpaceRequest<'_>,
    ) -> Result<Value, MatrixError> {
        let max_depth =
            request.max_depth.map_or(SPACE_DEPTH, |depth| u32::try_from(depth).unwrap_or(SPACE_DEPTH));
        let max_depth = max_depth.min(SPACE_DEPTH);
        let limit = match request.limit {
            Some(0) => return Err(MatrixError::invalid_param("`limit` must be greater than zero")),
            limit => limit.map_or(SPACE_PAGE, |limit| u32::try_from(limit).unwrap_or(SPACE_PAGE)),
        };
        let limit = limit.min(SPACE_PAGE);
        let place = SpaceToken { offset: 0, max_depth, suggested_only: request.suggested_only };
        let place = match request.from {
            None => place,
            Some(token) => {
                let from = SpaceToken::parse(token).ok_or_else(unknown_token)?;
                if from != (SpaceToken { offset: from.offset, ..place }) {
                    return Err(MatrixError::invalid_param(
                        "`suggested_only` and `max_depth` cannot change from page to page",
                    ));
                }
                from
            }
        };
        let asked = WalkSpaceRequest {
            room_id: request.room_id.to_string(),
            viewer: user.id.to_string(),
            suggested_only: request.suggested_only,
            max_depth,
            offset: place.offset,
            limit,
            server: String::new(),
        };
        let page = ask(self.summaries.clone().walk_space(asked)).await?;
        let rooms = page.rooms.into_iter().map(space_room).collect::<Result<Vec<_>, MatrixError>>()?;
        let mut answer = json!({ "rooms": rooms });
        if page.more {
            let next = SpaceToken { offset: place.offset.saturating_add(limit), ..place };
            answer["next_batch"] = Value::from(next.to_string());
        }
        Ok(answer)
    }

    /// Describes a room to somebody, or to anybody.
    pub(crate) async fn summary(
        &self,
        user: Option<&AuthedUser>,
        room_id: &RoomId,
    ) -> Result<Value, MatrixError> {
        let asked = GetSummariesRequest {
            room_ids: vec![room_id.to_string()],
            viewer: user.map(|user| user.id.to_string()).unwrap_or_default(),
        };
        let found = ask(self.summaries.clone().get_summaries(asked)).await?.rooms.into_iter().next();
        let summary = found.ok_or_else(|| MatrixError::not_found("Room not found"))?;
        let mut room = extended(&summary);
        if user.is_some() {
            let membership = if summary.membership.is_empty() { "leave" } else { &summary.membership };
            room.insert("membership".to_owned(), Value::from(membership));
        }
        Ok(Value::Object(room))
    }

    /// Pages through the directory of this server.
    pub(crate) async fn public_rooms(&self, request: DirectoryRequest<'_>) -> Result<Value, MatrixError> {
        if let Some(server) = request.server.filter(|server| !self.is_local(server)) {
            return Err(MatrixError::new(
                http::StatusCode::BAD_GATEWAY,
                "M_UNKNOWN",
                format!("The directory of {server} cannot be read: this server does not federate"),
            ));
        }
        let place = request.since.map(|token| parse_place(token).ok_or_else(unknown_token)).transpose()?;
        if request.of_network {
            // There is no bridge, so there is no network.
            return Ok(json!({ "chunk": [] }));
        }
        let limit = match request.limit {
            None | Some(0) => DIRECTORY_PAGE,
            Some(limit) => u32::try_from(limit).unwrap_or(DIRECTORY_PAGE).min(DIRECTORY_PAGE),
        };
        let asked = ListPublicRoomsRequest {
            search_term: request.search_term.unwrap_or_default().to_owned(),
            has_room_types: request.room_types.is_some(),
            room_types: request
                .room_types
                .unwrap_or_default()
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect(),
            position: place,
            limit,
        };
        let page = ask(self.summaries.clone().list_public_rooms(asked)).await?;
        Ok(directory_page(&page))
    }

    /// Searches users whom the user may find.
    pub(crate) async fn search_users(
        &self,
        user: &UserId,
        search_term: &str,
        limit: u64,
    ) -> Result<SearchUsersResponse, MatrixError> {
        let limit = u32::try_from(limit.clamp(1, MAX_USERS)).unwrap_or(1);
        let asked =
            SearchUsersRequest { viewer: user.to_string(), search_term: search_term.to_owned(), limit };
        ask(self.summaries.clone().search_users(asked)).await
    }

    /// Lists the rooms that two users are in.
    pub(crate) async fn mutual_rooms(
        &self,
        user: &UserId,
        other: &UserId,
        from: Option<&str>,
    ) -> Result<Value, MatrixError> {
        let after = from.map(|token| parse_room("m1_", token).ok_or_else(unknown_token)).transpose()?;
        let asked = ListMutualRoomsRequest {
            user_id: user.to_string(),
            other_user_id: other.to_string(),
            after_room_id: after.map(|room_id| room_id.to_string()).unwrap_or_default(),
            limit: MUTUAL_PAGE,
        };
        let page = ask(self.summaries.clone().list_mutual_rooms(asked)).await?;
        let full = page.room_ids.len() >= usize::try_from(MUTUAL_PAGE).unwrap_or(usize::MAX);
        let mut answer = json!({ "joined": page.room_ids, "count": page.total });
        if let Some(last) = page.room_ids.last().filter(|_| full) {
            answer["next_batch"] = Value::from(format!("m1_{}", URL_SAFE_NO_PAD.encode(last)));
        }
        Ok(answer)
    }
}

fn unknown_token() -> MatrixError {
    MatrixError::invalid_param("The token is not one of this server")
}

/// How far a client is in a space. The walk is the same every time, so a number is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SpaceToken {
    offset: u32,
    max_depth: u32,
    suggested_only: bool,
}

impl std::fmt::Display for SpaceToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "h1_{}_{}_{}", self.offset, self.max_depth, u8::from(self.suggested_only))
    }
}

impl SpaceToken {
    fn parse(token: &str) -> Option<Self> {
        let mut parts = token.strip_prefix("h1_")?.split('_');
        let parsed = Self {
            offset: parts.next()?.parse().ok()?,
            max_depth: parts.next()?.parse().ok()?,
            suggested_only: match parts.next()? {
                "0" => false,
                "1" => true,
                _ => return None,
            },
        };
        parts.next().is_none().then_some(parsed)
    }
}

fn parse_room(prefix: &str, token: &str) -> Option<OwnedRoomId> {
    let encoded = token.strip_prefix(prefix).filter(|encoded| encoded.len() <= MAX_TOKEN_BYTES)?;
    let room_id = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    RoomId::parse(room_id).ok().filter(|room_id| !room_id.as_str().contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_made() {
        let token = SpaceToken { offset: 50, max_depth: 3, suggested_only: true };
        assert_eq!(SpaceToken::parse(&token.to_string()), Some(token));
    }

    #[test]
    fn other_tokens_are_refused() {
        for token in
            ["", "h1_", "h1_1_2", "h1_1_2_3", "h1_1_2_1_0", "h1_-1_2_0", "p1_a_1_x", "h1_4294967296_1_0"]
        {
            assert_eq!(SpaceToken::parse(token), None, "{token}");
        }
    }
}
