//! The end of an invite to a room that we are not in, by who sent it.
//!
//! Nobody here can judge any other event of such a room. This one is by the user who invited, and names the invite: only
//! they could have made it.

use std::time::Duration;

use plexus_events::RoomRules;
use plexus_matrix_http::MatrixError;
use plexus_proto::log::v1::SetOutOfBandMembership;
use ruma::{RoomId, UserId, state_res::Event as _};
use serde::Deserialize;
use tracing::debug;

use crate::{
    Federation,
    checked::{self, CheckedPdu},
    front::MEMBER,
    joins::known::{self, Known},
};

/// How long the keys of an event are waited for.
const KEY_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    state_key: Option<std::borrow::Cow<'a, str>>,
}

/// Takes an event of a room that we are not in, if it ends an invite; returns whether it does.
pub(crate) async fn take(
    federation: &Federation,
    room_id: &RoomId,
    json: &[u8],
) -> Result<bool, MatrixError> {
    let Ok(Event { kind, state_key: Some(state_key) }) = serde_json::from_slice(json) else {
        return Ok(false);
    };
    let Ok(user) = <&UserId>::try_from(&*state_key) else { return Ok(false) };
    if kind != MEMBER || user.server_name() != federation.name() {
        return Ok(false);
    }
    let known = Known::read(federation, room_id, user).await?;
    let Some(invite) = known.out_of_band.filter(|told| !known.resident && told.membership == "invite") else {
        return Ok(false);
    };
    let Ok(rules) = RoomRules::of(&invite.room_version) else { return Ok(false) };
    let Ok(read) = checked::read(json, room_id, rules) else { return Ok(false) };
    let checked = checked::verify(&federation.keys, vec![read], KEY_PATIENCE).await.pop();
    let Some((_, Ok(event))) = checked else { return Ok(false) };
    let Some(membership) = ending(&event, &invite.sender, &invite.event_id) else {
        debug!(room.id = %room_id, "an event does not end an invite");
        return Ok(false);
    };
    let told = SetOutOfBandMembership {
        room_id: room_id.to_string(),
        membership,
        event: event.json().to_vec().into(),
        event_id: event.event_id().to_string(),
        sender: event.pdu().sender().to_string(),
        origin: invite.origin,
        room_version: invite.room_version,
        replaces_event_id: invite.event_id,
        ..SetOutOfBandMembership::default()
    };
    known::set_out_of_band(federation, user, told).await?;
    Ok(true)
}

/// The membership that an event gives, if it ends the invite.
fn ending(event: &CheckedPdu, inviter: &str, invite_id: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Content {
        membership: String,
    }
    let pdu = event.pdu();
    let cites = pdu.auth_event_ids().iter().any(|id| id == invite_id);
    let membership = pdu.content_as::<Content>().ok()?.membership;
    let ends = matches!(membership.as_str(), "leave" | "ban");
    (ends && cites && pdu.sender() == inviter).then_some(membership)
}
