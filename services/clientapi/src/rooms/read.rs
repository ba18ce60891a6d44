//! Reads that several endpoints share.

use std::collections::HashMap;

use plexus_matrix_http::MatrixError;
use plexus_proto::{
    room::v1::{
        GetEventsRequest, GetMembershipsRequest, GetRoomsRequest, GetStateRequest, ListRoomsForUserRequest,
        RoomEvent, RoomInfo, StateKey, StatePoint, StreamStateRequest,
    },
    user::v1::GetProfileRequest,
};
use ruma::{EventId, OwnedRoomId, RoomId, UserId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Rooms, ask, broken_answer, profile::Profile};

/// Current memberships in a room.
pub(super) struct RoomMembers {
    /// Whether this server knows the room.
    pub(super) room_exists: bool,
    /// Whether this server is in the room.
    pub(super) resident: bool,
    members: HashMap<String, String>,
    out_of_band: HashMap<String, String>,
}

impl RoomMembers {
    /// Returns the membership of a user who was asked for; `None` if they never had one.
    pub(super) fn of(&self, user: &UserId) -> Option<&str> {
        self.members.get(user.as_str()).map(String::as_str)
    }

    /// Whether another server has told of one of the users who were asked for.
    pub(super) fn is_told_of(&self) -> bool {
        !self.out_of_band.is_empty()
    }

    /// What another server has told of a user who was asked for.
    pub(super) fn out_of_band(&self, user: &UserId) -> Option<&str> {
        self.out_of_band.get(user.as_str()).map(String::as_str)
    }
}

/// Which state events to read.
#[derive(Debug, Default)]
pub(super) struct StateQuery<'a> {
    pub(super) types: &'a [&'a str],
    pub(super) at: Option<StatePoint>,
    pub(super) memberships: Vec<String>,
    pub(super) not_memberships: Vec<String>,
}

impl StateQuery<'_> {
    pub(super) fn request(self, room_id: &RoomId, viewer: Option<&UserId>) -> StreamStateRequest {
        StreamStateRequest {
            room_id: room_id.to_string(),
            viewer: viewer.map(ToString::to_string).unwrap_or_default(),
            types: self.types.iter().map(ToString::to_string).collect(),
            at: self.at,
            memberships: self.memberships,
            not_memberships: self.not_memberships,
        }
    }
}

/// The parts of an event that we look into.
#[derive(Deserialize)]
pub(super) struct EventParts {
    pub(super) sender: String,
    #[serde(default)]
    pub(super) state_key: Option<String>,
    pub(super) content: Map<String, Value>,
}

impl EventParts {
    pub(super) fn of(event: &RoomEvent) -> Result<Self, MatrixError> {
        serde_json::from_slice(&event.json).map_err(|error| broken_answer("event", &error))
    }
}

impl Rooms {
    /// Tells the current memberships of some users.
    pub(super) async fn memberships(
        &self,
        room_id: &RoomId,
        users: &[&UserId],
    ) -> Result<RoomMembers, MatrixError> {
        let request = GetMembershipsRequest {
            room_id: room_id.to_string(),
            user_ids: users.iter().map(ToString::to_string).collect(),
        };
        let answer = ask(self.queries.clone().get_memberships(request)).await?;
        let members = answer.members.into_iter().map(|member| (member.user_id, member.membership));
        let out_of_band = answer.out_of_band.into_iter().map(|member| (member.user_id, member.membership));
        Ok(RoomMembers {
            room_exists: answer.room_exists,
            resident: answer.resident,
            members: members.collect(),
            out_of_band: out_of_band.collect(),
        })
    }

    /// Reads what member events say of a user; who has no profile here has an empty one.
    pub(super) async fn profile(&self, user: &UserId) -> Result<Profile, MatrixError> {
        if !self.is_local(user.server_name()) {
            return Ok(Profile::default());
        }
        let request = GetProfileRequest { user_id: user.to_string() };
        let fields = match ask(self.users.clone().get_profile(request)).await {
            Ok(answer) => answer.fields,
            Err(error) if error.is("M_NOT_FOUND") => return Ok(Profile::default()),
            Err(error) => return Err(error),
        };
        let text = |field: &str| fields.get(field).and_then(|json| serde_json::from_slice(json).ok());
        Ok(Profile { displayname: text("displayname"), avatar_url: text("avatar_url") })
    }

    /// Reads entries of the current state; with a viewer, of the state they may see.
    pub(super) async fn state_entries(
        &self,
        room_id: &RoomId,
        viewer: Option<&UserId>,
        keys: Vec<StateKey>,
        at: Option<StatePoint>,
    ) -> Result<Vec<RoomEvent>, MatrixError> {
        let request = GetStateRequest {
            room_id: room_id.to_string(),
            viewer: viewer.map(ToString::to_string).unwrap_or_default(),
            keys,
            at,
        };
        Ok(ask(self.queries.clone().get_state(request)).await?.events)
    }

    /// Reads the state of a room as the viewer may see it.
    pub(super) async fn state(
        &self,
        room_id: &RoomId,
        viewer: Option<&UserId>,
        query: StateQuery<'_>,
    ) -> Result<Vec<RoomEvent>, MatrixError> {
        let request = query.request(room_id, viewer);
        let mut chunks = ask(self.queries.clone().stream_state(request)).await?;
        let read = async {
            let mut events = Vec::new();
            while let Some(chunk) = chunks.message().await? {
                events.extend(chunk.events);
            }
            Ok(tonic::Response::new(events))
        };
        ask(read).await
    }

    /// Reads an event that the viewer may see.
    pub(super) async fn find_event(
        &self,
        room_id: &RoomId,
        viewer: &UserId,
        event_id: &EventId,
    ) -> Result<RoomEvent, MatrixError> {
        let request = GetEventsRequest {
            event_ids: vec![event_id.to_string()],
            viewer: viewer.to_string(),
            room_id: room_id.to_string(),
        };
        let found = ask(self.queries.clone().get_events(request)).await?.events.into_iter().next();
        found.ok_or_else(|| MatrixError::not_found("Event not found"))
    }

    /// Describes a room.
    pub(super) async fn info(&self, room_id: &RoomId) -> Result<RoomInfo, MatrixError> {
        let request = GetRoomsRequest { room_ids: vec![room_id.to_string()] };
        let found = ask(self.queries.clone().get_rooms(request)).await?.rooms.into_iter().next();
        found.ok_or_else(|| MatrixError::not_found("Room not found"))
    }

    /// Lists the rooms that the user is in.
    pub(crate) async fn joined_rooms(&self, user: &UserId) -> Result<Vec<OwnedRoomId>, MatrixError> {
        let request = ListRoomsForUserRequest {
            user_id: user.to_string(),
            memberships: vec!["join".to_owned()],
            include_forgotten: false,
        };
        let rooms = ask(self.queries.clone().list_rooms_for_user(request)).await?.rooms;
        let parsed = rooms.into_iter().map(|room| room.room_id.try_into());
        parsed.collect::<Result<_, _>>().map_err(|error: ruma::IdParseError| broken_answer("room ID", &error))
    }
}

/// Names an entry of the state.
pub(super) fn state_key(event_type: &str, state_key: &str) -> StateKey {
    StateKey { r#type: event_type.to_owned(), state_key: state_key.to_owned() }
}
