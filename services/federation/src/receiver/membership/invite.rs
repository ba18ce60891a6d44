//! `PUT /_matrix/federation/v2/invite/{roomId}/{eventId}`, and version 1
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2inviteroomideventid)
//!
//! The invite is signed here, too, and kept for the user with what the inviting server tells of the room. If users of ours
//! are in the room, the room is told as well: the invite may reach it in this way first.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use plexus_events::{RoomRules, canonical};
use plexus_input::{Lane, Outcome};
use plexus_matrix_http::{
    Json as ReadJson, MatrixError, PathArgs,
    invites::{INVITE_PERMISSION, blocks_invites},
};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{SetOutOfBandMembership, input_room_event::Body, input_user_event::Command, pdu},
    user::v1::{GetAccountDataRequest, GetAccountRequest},
};
use plexus_service::refusal::reason_of;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tracing::{instrument, warn};

use super::{
    check::{invalid, is_resident, sign, verify},
    stripped,
};
use crate::{
    Federation,
    front::{Front, MEMBER},
    receiver::{Membership, Signed},
    upstream::{self, timed},
};

#[derive(Deserialize)]
struct RequestBody {
    room_version: String,
    event: Box<RawValue>,
    #[serde(default)]
    invite_room_state: Option<Vec<Box<RawValue>>>,
}

#[instrument(name = "http.server.create_invite", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((room_id, event_id)): PathArgs<(OwnedRoomId, OwnedEventId)>,
    signed: Signed<Membership>,
) -> Result<Response, MatrixError> {
    let ReadJson(body) = ReadJson::<RequestBody>::parse(&signed.body)?;
    let rules = RoomRules::of(&body.room_version)
        .map_err(|_| MatrixError::incompatible_room_version(&body.room_version))?;
    let invite = check_fields(&federation, &signed, &room_id, body.event.get())?;
    federation.blocks.check(&room_id, &invite.sender)?;
    // Who may not be invited is found out before anything is signed.
    let state = body.invite_room_state.unwrap_or_default();
    let state = stripped::read(state.iter().map(|event| &**event).collect(), &room_id, rules)?;
    check_invitee(&federation, &invite).await?;
    let is_resident = is_resident(&federation, &room_id).await?;
    if is_resident && !Front::read(&federation.rooms, &room_id, &[], &[]).await?.allows(&signed.origin) {
        return Err(MatrixError::forbidden("The server is denied by the ACL of the room"));
    }
    let quotas = &federation.quotas;
    quotas.invites.take(invite.user.as_str(), 1).map_err(MatrixError::limit_exceeded)?;
    quotas.invites_of.take(signed.origin.as_str(), 1).map_err(MatrixError::limit_exceeded)?;

    let mut event = canonical::parse_object(body.event.get().as_bytes())
        .map_err(|error| MatrixError::bad_json(error.detail()))?;
    sign(&federation, &mut event, rules)?;
    let json = canonical::object_to_vec(&event);
    let event = verify(&federation, &room_id, &event_id, &json, rules).await?;
    if !(is_resident && tell_room(&federation, &signed, &event).await?) {
        keep(&federation, &invite, &signed, (&room_id, &event_id), event.json(), rules, state).await?;
    }
    let told: Box<RawValue> = serde_json::from_slice(event.json()).map_err(|_| MatrixError::internal())?;
    Ok(Json(json!({ "event": told })).into_response())
}

/// Version 1 is for room versions that are not served here.
#[instrument(name = "http.server.create_invite_v1", skip_all)]
pub(crate) async fn v1_handler(_: Signed<Membership>) -> MatrixError {
    MatrixError::incompatible_room_version("1")
}

struct Invite {
    sender: OwnedUserId,
    user: OwnedUserId,
}

/// Checks what the event is.
fn check_fields(
    federation: &Federation,
    signed: &Signed<Membership>,
    room_id: &RoomId,
    json: &str,
) -> Result<Invite, MatrixError> {
    let event: Value =
        serde_json::from_str(json).map_err(|error| MatrixError::not_json(error.to_string()))?;
    let text = |field: &str| event.get(field).and_then(Value::as_str);
    let user = |field: &str| text(field).and_then(|user| <&UserId>::try_from(user).ok());
    let membership = event.get("content").and_then(|content| content.get("membership")?.as_str());
    if text("type") != Some(MEMBER) || membership != Some("invite") {
        return Err(invalid("The event is no invite"));
    }
    if text("room_id") != Some(room_id.as_str()) {
        return Err(invalid("The event is of another room"));
    }
    let Some(sender) = user("sender").filter(|sender| sender.server_name() == signed.origin) else {
        return Err(invalid("The sender is not a user of the server"));
    };
    let Some(user) = user("state_key").filter(|user| user.server_name() == federation.name()) else {
        return Err(invalid("Nobody of this server is invited"));
    };
    Ok(Invite { sender: sender.to_owned(), user: user.to_owned() })
}

/// Refuses invites to who is not here, and to who wants none.
async fn check_invitee(federation: &Federation, invite: &Invite) -> Result<(), MatrixError> {
    let mut users = upstream::users(&federation.rooms);
    let unknown = || MatrixError::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", "There is no such user");
    let request = GetAccountRequest { user_id: invite.user.to_string() };
    match users.get_account(timed(request)).await {
        Ok(account) if account.get_ref().deactivated => return Err(unknown()),
        Ok(_) => {}
        Err(status) if reason_of(&status) == Some(ErrorReason::NotFound) => return Err(unknown()),
        Err(status) => return Err(status.into()),
    }
    let request = GetAccountDataRequest {
        user_id: invite.user.to_string(),
        room_id: String::new(),
        r#type: INVITE_PERMISSION.to_owned(),
    };
    let blocked = match users.get_account_data(timed(request)).await {
        Ok(data) => blocks_invites(&data.into_inner().content),
        Err(status) if reason_of(&status) == Some(ErrorReason::NotFound) => false,
        Err(status) => return Err(status.into()),
    };
    if blocked {
        let error = "The user does not want to be invited";
        return Err(MatrixError::new(StatusCode::FORBIDDEN, "M_INVITE_BLOCKED", error));
    }
    Ok(())
}

/// Tells a room that we are in of the invite; returns whether it knows it now. Whoever sent it tells the other servers.
async fn tell_room(
    federation: &Federation,
    signed: &Signed<Membership>,
    event: &crate::checked::CheckedPdu,
) -> Result<bool, MatrixError> {
    let pdu = event.to_input(pdu::Kind::New, &signed.origin);
    let written = federation.input.append_room(event.room_id(), Lane::Live, Body::Pdu(pdu)).await?;
    match federation.input.verdict_on(written).await? {
        Outcome::Accepted(accepted) => Ok(!accepted.soft_failed),
        Outcome::Rejected(rejected) if rejected.reason() == ErrorReason::Forbidden => {
            Err(MatrixError::forbidden(rejected.message))
        }
        Outcome::Rejected(rejected) => {
            warn!(reason = ?rejected.reason(), "an invite was not taken by a room that we are in");
            Ok(false)
        }
        // The room has yet to learn what it cites; the user need not wait for that.
        Outcome::Parked(_) | Outcome::Unknown(_) => Ok(false),
    }
}

/// Keeps the invite for the user.
async fn keep(
    federation: &Federation,
    invite: &Invite,
    signed: &Signed<Membership>,
    (room_id, event_id): (&RoomId, &EventId),
    json: &[u8],
    rules: &RoomRules,
    stripped_state: String,
) -> Result<(), MatrixError> {
    let command = SetOutOfBandMembership {
        room_id: room_id.to_string(),
        membership: "invite".to_owned(),
        event: json.to_vec().into(),
        event_id: event_id.to_string(),
        sender: invite.sender.to_string(),
        origin: signed.origin.to_string(),
        room_version: rules.id.to_string(),
        stripped_state: stripped_state.into(),
        replaces_event_id: String::new(),
    };
    match federation.input.submit_user(&invite.user, Command::SetOutOfBandMembership(command)).await {
        Err(error) if error.reason() == Some(ErrorReason::LimitExceeded) => {
            Err(MatrixError::forbidden("The user has too many invites"))
        }
        submitted => submitted.map(drop).map_err(MatrixError::from),
    }
}
