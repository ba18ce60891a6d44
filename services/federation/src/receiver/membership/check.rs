//! Checks of the events of handshakes, and what becomes of them.
//!
//! An event of a handshake is signed and passed on because a server asks for it, so it must be exactly what the path says
//! and what the server may say: a member event of the right kind, about its sender, who is a user of that server.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use plexus_events::{RoomRules, canonical, signing};
use plexus_input::{Lane, Outcome};
use plexus_matrix_http::{MatrixError, reason_error};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{input_room_event::Body, pdu},
    room::v1::GetMembershipsRequest,
};
use ruma::{EventId, RoomId, ServerName, UserId};
use serde_json::Value;

use super::make::check_restricted;
use crate::{
    Federation,
    checked::{self, CheckedPdu},
    front::{Front, MEMBER, PrepareError},
    upstream::{self, timed},
};

/// How long the keys of an event are waited for.
const KEY_PATIENCE: Duration = Duration::from_secs(10);

/// What an event of a handshake must be.
pub(super) struct Expected<'a> {
    pub(super) origin: &'a ServerName,
    pub(super) room_id: &'a RoomId,
    pub(super) event_id: &'a EventId,
    pub(super) membership: &'static str,
}

pub(super) fn invalid(error: impl Into<String>) -> MatrixError {
    MatrixError::invalid_param(error.into())
}

/// What a server is told whose event the rules refuse.
pub(super) fn refused_by_rules(error: PrepareError) -> MatrixError {
    match error {
        PrepareError::Refused(rule) => MatrixError::forbidden(rule),
        PrepareError::Build(error) => invalid(error.to_string()),
    }
}

/// Refuses rooms that nobody of ours is in.
pub(super) async fn check_resident(federation: &Federation, room_id: &RoomId) -> Result<(), MatrixError> {
    if is_resident(federation, room_id).await? {
        Ok(())
    } else {
        Err(MatrixError::not_found("This server is not in the room"))
    }
}

/// Whether some user of ours is in the room.
pub(crate) async fn is_resident(federation: &Federation, room_id: &RoomId) -> Result<bool, MatrixError> {
    let request = GetMembershipsRequest { room_id: room_id.to_string(), user_ids: Vec::new() };
    Ok(upstream::queries(&federation.rooms).get_memberships(timed(request)).await?.into_inner().resident)
}

/// Makes sure that a server may take part in a room of ours; returns the rules of the room.
pub(super) async fn check_room(
    federation: &Federation,
    room_id: &RoomId,
    origin: &ServerName,
) -> Result<&'static RoomRules, MatrixError> {
    check_resident(federation, room_id).await?;
    let front = Front::read(&federation.rooms, room_id, &[], &[]).await?;
    if front.allows(origin) {
        Ok(front.rules)
    } else {
        Err(MatrixError::forbidden("The server is denied by the ACL of the room"))
    }
}

/// Checks an event of a handshake: what it is, who it is of, its hash and its signatures. Where a user of ours vouches for
/// a join that may be, our signature is added before.
pub(super) async fn check_event(
    federation: &Federation,
    expected: &Expected<'_>,
    json: &[u8],
    rules: &'static RoomRules,
) -> Result<CheckedPdu, MatrixError> {
    let voucher = check_fields(expected, json)?;
    if expected.membership != "leave" {
        check_blocks(federation, expected, json)?;
    }
    let mut json = Bytes::copy_from_slice(json);
    if let Some(voucher) = voucher
        && rules.rules.signatures.check_join_authorised_via_users_server
    {
        json = vouch(federation, expected, &json, rules, &voucher).await?;
    }
    verify(federation, expected.room_id, expected.event_id, &json, rules).await
}

/// Refuses rooms and users that are blocked. The sender was looked at before.
fn check_blocks(federation: &Federation, expected: &Expected<'_>, json: &[u8]) -> Result<(), MatrixError> {
    let event: Value =
        serde_json::from_slice(json).map_err(|error| MatrixError::not_json(error.to_string()))?;
    let sender = event.get("sender").and_then(Value::as_str).unwrap_or_default();
    let sender = <&UserId>::try_from(sender).map_err(|error| invalid(error.to_string()))?;
    federation.blocks.check(expected.room_id, sender)
}

/// Checks that an event is the one of the path, its hash and its signatures.
pub(super) async fn verify(
    federation: &Federation,
    room_id: &RoomId,
    event_id: &EventId,
    json: &[u8],
    rules: &'static RoomRules,
) -> Result<CheckedPdu, MatrixError> {
    let read = checked::read(json, room_id, rules).map_err(|error| invalid(error.to_string()))?;
    if read.event_id() != event_id {
        return Err(invalid("The event has another ID than the path"));
    }
    let checked = checked::verify(&federation.keys, vec![read], KEY_PATIENCE).await.pop();
    let (_, checked) = checked.ok_or_else(MatrixError::unavailable)?;
    let checked = checked.map_err(|error| invalid(error.to_string()))?;
    if checked.to_input(pdu::Kind::New, federation.name()).integrity() == pdu::Integrity::HashMismatch {
        return Err(invalid("The content hash of the event is wrong"));
    }
    Ok(checked)
}

/// Checks what the event is; returns who vouches for it.
fn check_fields(expected: &Expected<'_>, json: &[u8]) -> Result<Option<String>, MatrixError> {
    let event: Value =
        serde_json::from_slice(json).map_err(|error| MatrixError::not_json(error.to_string()))?;
    let text = |field: &str| event.get(field).and_then(Value::as_str);
    let content = |field: &str| event.get("content").and_then(|content| content.get(field)?.as_str());
    if text("type") != Some(MEMBER) {
        return Err(invalid("The event is no member event"));
    }
    if content("membership") != Some(expected.membership) {
        return Err(invalid(format!("The event is no {}", expected.membership)));
    }
    if text("room_id") != Some(expected.room_id.as_str()) {
        return Err(invalid("The event is of another room"));
    }
    let sender = text("sender").and_then(|sender| <&UserId>::try_from(sender).ok());
    let Some(sender) = sender.filter(|sender| sender.server_name() == expected.origin) else {
        return Err(invalid("The sender is not a user of the server"));
    };
    if text("state_key") != Some(sender.as_str()) {
        return Err(invalid("The event is about another user than its sender"));
    }
    let voucher = content("join_authorised_via_users_server").filter(|_| expected.membership == "join");
    Ok(voucher.map(str::to_owned))
}

/// Signs a join to a restricted room, if it may be: whoever is named must be a user of ours, and who joins in one of the
/// rooms that let users in. Whether the user who vouches may do so is judged by the room server.
async fn vouch(
    federation: &Federation,
    expected: &Expected<'_>,
    json: &[u8],
    rules: &'static RoomRules,
    voucher: &str,
) -> Result<Bytes, MatrixError> {
    let ours = <&UserId>::try_from(voucher).is_ok_and(|user| user.server_name() == federation.name());
    if !ours {
        return Err(invalid("`join_authorised_via_users_server` is not a user of this server"));
    }
    let mut event = canonical::parse_object(json).map_err(|error| MatrixError::bad_json(error.detail()))?;
    let sender = event.get("sender").and_then(canonical::Value::as_str).unwrap_or_default();
    let user = <&UserId>::try_from(sender).map_err(|_| invalid("The sender is not a user ID"))?;
    let front = Front::read(&federation.rooms, expected.room_id, &[user], &[]).await?;
    if !matches!(front.membership_of(user).as_deref(), Some("join" | "invite")) {
        let answer = check_restricted(federation, expected.room_id, user).await?;
        if answer.restricted && answer.via_room_ids.is_empty() {
            return Err(MatrixError::forbidden("The user is in none of the rooms that let users join"));
        }
    }
    sign(federation, &mut event, rules)?;
    Ok(canonical::object_to_vec(&event).into())
}

/// Adds our signature.
pub(super) fn sign(
    federation: &Federation,
    event: &mut canonical::Object,
    rules: &RoomRules,
) -> Result<(), MatrixError> {
    event.remove("unsigned");
    signing::sign_event(event, federation.name(), &federation.key, rules)
        .map_err(|error| invalid(error.to_string()))
}

/// Has the room server judge an event, which this server hands on if it is let be. A repeat of an event is answered alike.
pub(super) async fn submit(
    federation: &Federation,
    event: &CheckedPdu,
    origin: &ServerName,
) -> Result<(), MatrixError> {
    let pdu = plexus_proto::log::v1::Pdu { relay: true, ..event.to_input(pdu::Kind::New, origin) };
    let written = federation.input.append_room(event.room_id(), Lane::Live, Body::Pdu(pdu)).await?;
    match federation.input.verdict_on(written).await? {
        Outcome::Accepted(accepted) if accepted.soft_failed => {
            Err(MatrixError::forbidden("The room does not allow the event any more"))
        }
        Outcome::Accepted(_) => Ok(()),
        Outcome::Rejected(rejected) => match rejected.reason() {
            ErrorReason::Forbidden => Err(MatrixError::forbidden(rejected.message)),
            reason => Err(reason_error(reason, &rejected.message)),
        },
        Outcome::Parked(_) => Err(MatrixError::new(
            StatusCode::BAD_REQUEST,
            "M_INVALID_PARAM",
            "The event cites events that this server does not know",
        )),
        Outcome::Unknown(_) => Err(MatrixError::unavailable()),
    }
}
