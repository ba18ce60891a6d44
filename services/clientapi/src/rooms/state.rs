//! Reading and writing the state of rooms, members included.

use std::collections::BTreeMap;

use axum::response::Response;
use plexus_matrix_http::{AuthedUser, MatrixError, token};
use plexus_proto::{
    log::v1::Intent,
    room::v1::{StatePoint, state_point::Point},
};
use ruma::{OwnedEventId, OwnedUserId, RoomId, UserId, api::client::membership::get_member_events};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{
    Rooms, broken_answer, content, format,
    read::{EventParts, StateQuery, state_key as key},
    stream::Frame,
};
use crate::clock::now_ms;

/// Who is in a room. Unlike ruma's, it has both fields in any case: clients know them as `null` from other servers.
#[derive(Debug, Serialize)]
pub(crate) struct JoinedMember {
    display_name: Option<String>,
    avatar_url: Option<String>,
}

/// What a client wants of a state event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateFormat {
    /// Its content alone.
    Content,
    /// All of it.
    Event,
}

impl Rooms {
    /// Reads the state of a room, as the user may see it.
    pub(crate) async fn full_state(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
    ) -> Result<Response, MatrixError> {
        let frame = Frame { before: "[", after: "]" };
        self.stream(user, room_id, StateQuery::default(), frame).await
    }

    /// Reads an entry of the state of a room, as the user may see it.
    pub(crate) async fn state_event(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        event_type: &str,
        state_key: &str,
        format: StateFormat,
    ) -> Result<Box<RawValue>, MatrixError> {
        let keys = vec![key(event_type, state_key)];
        let found = hide_room(self.state_entries(room_id, Some(&user.id), keys, None).await)?;
        let event = found.first().ok_or_else(|| MatrixError::not_found("There is no such state"))?;
        let event = format::shown::<Value>(event, user)?;
        match format {
            StateFormat::Event => Ok(event.into_json()),
            StateFormat::Content => event
                .get_field::<Box<RawValue>>("content")
                .map_err(|error| broken_answer("event", &error))?
                .ok_or_else(|| broken_answer("event", &"no content")),
        }
    }

    /// Sends a state event; one that changes nothing is answered with the event that is there.
    pub(crate) async fn send_state(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        event_type: &str,
        state_key: &str,
        content: &str,
    ) -> Result<OwnedEventId, MatrixError> {
        content::check_key(event_type, Some(state_key))?;
        content::check(content)?;
        match event_type {
            "m.room.member" => {
                if let Some(invitee) = self.check_member(state_key, content).await? {
                    let content = serde_json::from_str(content);
                    let content: Value = content.map_err(|error| MatrixError::bad_json(error.to_string()))?;
                    return self.invite_remote(&user.id, room_id, &invitee, &content).await;
                }
            }
            "m.room.canonical_alias" => self.check_remote_aliases(room_id, state_key, content).await?,
            _ => {}
        }
        let intent = Intent {
            sender: user.id.to_string(),
            r#type: event_type.to_owned(),
            state_key: Some(state_key.to_owned()),
            content: content.as_bytes().to_vec().into(),
            origin_server_ts: now_ms(),
            skip_if_unchanged: true,
            ..Intent::default()
        };
        self.send_intent(room_id, intent).await
    }

    /// Checks a member event; returns who is invited with it, if that is a user of another server.
    async fn check_member(&self, target: &str, content: &str) -> Result<Option<OwnedUserId>, MatrixError> {
        #[derive(serde::Deserialize)]
        struct Member {
            membership: String,
        }
        let target = UserId::parse(target).map_err(|error| {
            MatrixError::invalid_param(format!("The state key is not a user ID: {error}"))
        })?;
        let member: Member =
            serde_json::from_str(content).map_err(|error| MatrixError::bad_json(error.to_string()))?;
        match member.membership.as_str() {
            "invite" => {
                self.refuse_remote_invitee(&target)?;
                if !self.is_local(target.server_name()) {
                    return Ok(Some(target));
                }
                self.check_invitable(&target).await.map(|()| None)
            }
            "join" | "leave" | "ban" | "knock" => Ok(None),
            _ => Err(MatrixError::bad_json("There is no such membership")),
        }
    }

    /// Lists the member events of a room, now or at a token, as the user may see them.
    pub(crate) async fn members(
        &self,
        user: &AuthedUser,
        request: &get_member_events::v3::Request,
    ) -> Result<Response, MatrixError> {
        let room_id = &request.room_id;
        let wanted = |membership: &Option<ruma::events::room::member::MembershipState>| {
            membership.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (memberships, not_memberships) =
            either(wanted(&request.membership), wanted(&request.not_membership));
        let at = request.at.as_deref().map(|at| position(at, room_id)).transpose()?;
        let query = StateQuery {
            types: &["m.room.member"],
            at: at.map(|seq| StatePoint { point: Some(Point::AtSeq(seq)) }),
            memberships,
            not_memberships,
        };
        self.stream(user, room_id, query, Frame { before: r#"{"chunk":["#, after: "]}" }).await
    }

    /// Lists who is in a room, for somebody who is in it.
    pub(crate) async fn joined_members(
        &self,
        user: &UserId,
        room_id: &RoomId,
    ) -> Result<BTreeMap<OwnedUserId, JoinedMember>, MatrixError> {
        if self.memberships(room_id, &[user]).await?.of(user) != Some("join") {
            return Err(MatrixError::forbidden("You are not in this room"));
        }
        let query = StateQuery {
            types: &["m.room.member"],
            memberships: vec!["join".to_owned()],
            ..StateQuery::default()
        };
        let events = hide_room(self.state(room_id, Some(user), query).await)?;
        events.iter().map(EventParts::of).filter_map(|parts| parts.map(member).transpose()).collect()
    }
}

/// Both conditions together are an "or": a member is wanted who fits one of them.
fn either(memberships: Vec<String>, not_memberships: Vec<String>) -> (Vec<String>, Vec<String>) {
    if memberships.is_empty() || not_memberships.is_empty() {
        (memberships, not_memberships)
    } else if memberships == not_memberships {
        (Vec::new(), Vec::new())
    } else {
        // Who has the one membership does not have the other.
        (Vec::new(), not_memberships)
    }
}

fn member(parts: EventParts) -> Option<(OwnedUserId, JoinedMember)> {
    let member =
        JoinedMember { display_name: text(&parts, "displayname"), avatar_url: text(&parts, "avatar_url") };
    Some((parts.state_key?.try_into().ok()?, member))
}

fn text(parts: &EventParts, key: &str) -> Option<String> {
    parts.content.get(key).and_then(Value::as_str).map(ToOwned::to_owned)
}

/// Reads a position in the timeline of a room from a token.
pub(super) fn position(token: &str, room_id: &RoomId) -> Result<i64, MatrixError> {
    let partition = plexus_log::partition_of(room_id.as_str());
    token::timeline_position(token, partition)
        .map_err(|_| MatrixError::invalid_param("The token is not one of this server"))
}

/// Who reads a room that is not there learns no more than who reads a room they are not in.
pub(super) fn hide_room<T>(result: Result<T, MatrixError>) -> Result<T, MatrixError> {
    result.map_err(|error| match error.is("M_NOT_FOUND") {
        true => MatrixError::forbidden("You are not in this room"),
        false => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_joined_by_or() {
        let list = |membership: &str| vec![membership.to_owned()];
        assert_eq!(either(list("join"), vec![]), (list("join"), vec![]));
        assert_eq!(either(vec![], list("leave")), (vec![], list("leave")));
        assert_eq!(either(list("join"), list("leave")), (vec![], list("leave")));
        assert_eq!(either(list("join"), list("join")), (vec![], vec![]));
    }
}
