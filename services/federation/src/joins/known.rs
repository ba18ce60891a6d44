//! Reads and writes out-of-band memberships of our users.

use plexus_events::{Object, Value, canonical};
use plexus_input::SubmitError;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{SetOutOfBandMembership, input_user_event::Command},
    room::v1::{GetMembershipsRequest, ListJoinedServersRequest, OutOfBandMember},
    user::v1::GetProfileRequest,
};
use plexus_service::refusal::{reason_of, refusal};
use ruma::{RoomId, UserId};
use tonic::{Code, Status};

use crate::{
    Federation,
    upstream::{self, timed},
};

/// What is known of a user in a room.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Whether this server is in the room.
    pub(crate) resident: bool,
    /// What the room told last.
    pub(crate) membership: String,
    pub(crate) event_id: String,
    /// What another server has told.
    pub(crate) out_of_band: Option<OutOfBandMember>,
}

impl Known {
    /// Reads it.
    pub(crate) async fn read(
        federation: &Federation,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<Self, Status> {
        let request =
            GetMembershipsRequest { room_id: room_id.to_string(), user_ids: vec![user.to_string()] };
        let answer = upstream::queries(&federation.rooms).get_memberships(timed(request)).await?.into_inner();
        let member = answer.members.into_iter().next().unwrap_or_default();
        Ok(Self {
            resident: answer.resident,
            membership: member.membership,
            event_id: member.event_id,
            out_of_band: answer.out_of_band.into_iter().next(),
        })
    }

    /// Whether the user is in the room, as this server is.
    pub(crate) fn is_joined(&self) -> bool {
        self.resident && self.membership == "join"
    }

    /// Who sent the invite that counts.
    pub(crate) fn inviter(&self) -> Option<&str> {
        let told = self.out_of_band.as_ref().filter(|told| told.membership == "invite")?;
        Some(&told.sender)
    }
}

/// Servers that are in a room, or were when this server was, those with the most members first.
pub(crate) async fn servers(federation: &Federation, room_id: &RoomId) -> Vec<String> {
    let request = ListJoinedServersRequest { room_id: room_id.to_string(), server: String::new() };
    let servers = upstream::graph(&federation.rooms).list_joined_servers(timed(request)).await;
    let mut servers = servers.map(|answer| answer.into_inner().servers).unwrap_or_default();
    servers.sort_by_key(|server| std::cmp::Reverse(server.members));
    servers.into_iter().map(|server| server.name).collect()
}

/// The content of a member event of a user of ours: what was asked, and what the user's profile says.
pub(crate) async fn content(
    federation: &Federation,
    user: &UserId,
    membership: &str,
    asked: &[u8],
) -> Result<Object, Status> {
    let invalid = |why: String| refusal(Code::InvalidArgument, ErrorReason::BadJson, why);
    let mut content = if asked.is_empty() {
        Object::new()
    } else {
        canonical::parse_object(asked).map_err(|error| invalid(error.detail()))?
    };
    content.insert("membership".to_owned(), Value::String(membership.to_owned()));
    let request = GetProfileRequest { user_id: user.to_string() };
    let fields = match upstream::users(&federation.rooms).get_profile(timed(request)).await {
        Ok(profile) => profile.into_inner().fields,
        Err(status) if reason_of(&status) == Some(ErrorReason::NotFound) => Default::default(),
        Err(status) => return Err(status),
    };
    for field in ["displayname", "avatar_url"] {
        content.remove(field);
        let text = fields.get(field).and_then(|json| serde_json::from_slice::<String>(json).ok());
        if let Some(text) = text {
            content.insert(field.to_owned(), Value::String(text));
        }
    }
    Ok(content)
}

/// Adds a reason, if there is one.
pub(crate) fn with_reason(mut content: Object, reason: &str) -> Object {
    if !reason.is_empty() {
        content.insert("reason".to_owned(), Value::String(reason.to_owned()));
    }
    content
}

/// Notes what the user is in the room.
pub(crate) async fn set_out_of_band(
    federation: &Federation,
    user: &UserId,
    told: SetOutOfBandMembership,
) -> Result<(), Status> {
    let submitted = federation.input.submit_user(user, Command::SetOutOfBandMembership(told)).await;
    submitted.map(drop).map_err(|error| submit_status(&error))
}

/// Has the room itself tell what the user is, from now on.
pub(crate) async fn forget_out_of_band(
    federation: &Federation,
    room_id: &RoomId,
    user: &UserId,
) -> Result<(), Status> {
    let told = SetOutOfBandMembership { room_id: room_id.to_string(), ..SetOutOfBandMembership::default() };
    set_out_of_band(federation, user, told).await
}

/// What whoever called is told of an input that became no fact.
pub(crate) fn submit_status(error: &SubmitError) -> Status {
    match error {
        SubmitError::Rejected { reason, message } => {
            refusal(Code::FailedPrecondition, *reason, message.clone())
        }
        SubmitError::Parked | SubmitError::TimedOut => {
            refusal(Code::DeadlineExceeded, ErrorReason::TimedOut, "the verdict did not come in time")
        }
        SubmitError::TooLarge => {
            refusal(Code::InvalidArgument, ErrorReason::TooLarge, "the event is too large")
        }
        SubmitError::Unavailable => Status::unavailable("the input log cannot be reached"),
    }
}
