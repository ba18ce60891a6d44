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
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use serde_json::{Value, json};

use super::{Rooms, ask, remote_queries::parse, space_tree::Walk};

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
        let suggested_only = request.suggested_only;
        let place = SpaceToken { offset: 0, max_depth, suggested_only, asks_others: false };
        let place = match request.from {
            None => place,
            Some(token) => {
                let from = SpaceToken::parse(token).ok_or_else(unknown_token)?;
                let SpaceToken { offset, asks_others, .. } = from;
                if from != (SpaceToken { offset, asks_others, ..place }) {
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
        let page = match ask(self.summaries.clone().walk_space(asked)).await {
            Ok(page) if !place.asks_others && !self.has_children_elsewhere(&page.rooms).await? => page,
            // As long as no room of another server is on the way, the order is the same.
            Ok(_) => return self.mixed_hierarchy(user, request.room_id, place, limit).await,
            Err(error) if error.is("M_FORBIDDEN") && self.asks_others() => {
                return self.mixed_hierarchy(user, request.room_id, place, limit).await;
            }
            Err(error) => return Err(error),
        };
        let rooms = page.rooms.into_iter().map(space_room).collect::<Result<Vec<_>, MatrixError>>()?;
        let mut answer = json!({ "rooms": rooms });
        if page.more {
            let next = SpaceToken { offset: place.offset.saturating_add(limit), ..place };
            answer["next_batch"] = Value::from(next.to_string());
        }
        Ok(answer)
    }

    /// Pages through a space with rooms that other servers know.
    async fn mixed_hierarchy(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        place: SpaceToken,
        limit: u32,
    ) -> Result<Value, MatrixError> {
        let SpaceToken { offset, max_depth, suggested_only, .. } = place;
        let rooms = self.whole_space(user, &Walk { room_id, suggested_only, max_depth }).await?;
        let to = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let next = offset.saturating_add(limit);
        let has_more = rooms.len() > to(next);
        let page: Vec<Value> = rooms.into_iter().skip(to(offset)).take(to(limit)).collect();
        let mut answer = json!({ "rooms": page });
        if has_more {
            let next = SpaceToken { offset: next, asks_others: true, ..place };
            answer["next_batch"] = Value::from(next.to_string());
        }
        Ok(answer)
    }

    /// Describes a room to somebody, or to anybody. Of a room that this server is not in, other servers are asked on
    /// behalf of its users.
    pub(crate) async fn summary(
        &self,
        user: Option<&AuthedUser>,
        room_id: &RoomId,
        via: Vec<OwnedServerName>,
    ) -> Result<Value, MatrixError> {
        let asked = GetSummariesRequest {
            room_ids: vec![room_id.to_string()],
            viewer: user.map(|user| user.id.to_string()).unwrap_or_default(),
        };
        let found = ask(self.summaries.clone().get_summaries(asked)).await?.rooms.into_iter().next();
        let Some(summary) = found else { return self.remote_summary(user, room_id, via).await };
        let mut room = extended(&summary);
        if user.is_some() {
            let membership = if summary.membership.is_empty() { "leave" } else { &summary.membership };
            room.insert("membership".to_owned(), Value::from(membership));
        }
        Ok(Value::Object(room))
    }

    async fn remote_summary(
        &self,
        user: Option<&AuthedUser>,
        room_id: &RoomId,
        via: Vec<OwnedServerName>,
    ) -> Result<Value, MatrixError> {
        let not_found = || MatrixError::not_found("Room not found");
        let user = user.filter(|_| self.asks_others()).ok_or_else(not_found)?;
        let members = self.memberships(room_id, &[&user.id]).await?;
        if members.resident {
            return Err(not_found());
        }
        let via = via.iter().map(ToString::to_string).collect();
        let told = self.remote_space(room_id.as_str(), via, false).await?;
        let mut room = parse(&told.room)?;
        if !self.may_know(Some(&user.id), &room).await? {
            return Err(not_found());
        }
        if let Some(room) = room.as_object_mut() {
            room.remove("children_state");
        }
        let membership = members.out_of_band(&user.id).or_else(|| members.of(&user.id));
        room["membership"] = Value::from(membership.unwrap_or("leave"));
        Ok(room)
    }

    /// Pages through the directory of this server, or of another one.
    pub(crate) async fn public_rooms(&self, request: DirectoryRequest<'_>) -> Result<Value, MatrixError> {
        let limit = match request.limit {
            None | Some(0) => DIRECTORY_PAGE,
            Some(limit) => u32::try_from(limit).unwrap_or(DIRECTORY_PAGE).min(DIRECTORY_PAGE),
        };
        if let Some(server) = request.server.filter(|server| !self.is_local(server)) {
            return self.remote_public_rooms(server, request, limit).await;
        }
        let place = request.since.map(|token| parse_place(token).ok_or_else(unknown_token)).transpose()?;
        if request.of_network {
            // There is no bridge, so there is no network.
            return Ok(json!({ "chunk": [] }));
        }
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
    /// Whether rooms that other servers know are counted, too.
    asks_others: bool,
}

impl std::fmt::Display for SpaceToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { offset, max_depth, suggested_only, asks_others } = *self;
        let kind = if asks_others { "h2" } else { "h1" };
        write!(formatter, "{kind}_{offset}_{max_depth}_{}", u8::from(suggested_only))
    }
}

impl SpaceToken {
    fn parse(token: &str) -> Option<Self> {
        let (kind, parts) = token.split_once('_')?;
        let mut parts = parts.split('_');
        let parsed = Self {
            asks_others: match kind {
                "h1" => false,
                "h2" => true,
                _ => return None,
            },
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
        for asks_others in [false, true] {
            let token = SpaceToken { offset: 50, max_depth: 3, suggested_only: true, asks_others };
            assert_eq!(SpaceToken::parse(&token.to_string()), Some(token));
        }
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
