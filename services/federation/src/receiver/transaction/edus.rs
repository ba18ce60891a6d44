//! The EDUs of a transaction. One that makes no sense is left out, and says nothing about the rest.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#edus)

use std::collections::BTreeMap;

use plexus_input::Lane;
use plexus_log::Ephemeral as EphemeralTopic;
use plexus_proto::log::v1::{
    Ephemeral, RoomControl, SetReceipt, Typing, ephemeral, input_room_event::Body, room_control::Action,
};
use plexus_s2s::now_ms;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::debug;

use super::rooms::Rooms;
use crate::{Federation, joins::known::Known, metrics};

/// How long somebody counts as typing whose server does not say again that they do, in milliseconds.
const TYPING_MS: u32 = 30_000;
/// Most receipts of a transaction. The next ones of the same users tell more.
const MAX_RECEIPTS: usize = 200;

#[derive(Deserialize)]
struct Edu<'a> {
    edu_type: String,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct TypingContent {
    room_id: OwnedRoomId,
    user_id: OwnedUserId,
    typing: bool,
}

/// Receipts of a room, by type and user.
type RoomReceipts = BTreeMap<String, BTreeMap<OwnedUserId, ReceiptContent>>;

#[derive(Deserialize)]
struct ReceiptContent {
    event_ids: Vec<OwnedEventId>,
    #[serde(default)]
    data: ReceiptData,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReceiptData {
    thread_id: Option<String>,
}

/// Takes EDUs of a server in.
pub(super) async fn take(
    federation: &Federation,
    rooms: &Rooms,
    origin: &ServerName,
    edus: &[Box<RawValue>],
) {
    let mut receipts = MAX_RECEIPTS;
    for edu in edus {
        let Ok(edu) = serde_json::from_str::<Edu<'_>>(edu.get()) else {
            metrics::edu("malformed");
            continue;
        };
        let outcome = match edu.edu_type.as_str() {
            "m.typing" => typing(federation, rooms, origin, edu.content).await,
            "m.receipt" => take_receipts(federation, rooms, origin, edu.content, &mut receipts).await,
            // These must not be lost.
            _ if super::devices::is_kept(&edu.edu_type) => continue,
            // Presence is not kept.
            _ => "ignored",
        };
        metrics::edu(outcome);
    }
}

async fn typing(
    federation: &Federation,
    rooms: &Rooms,
    origin: &ServerName,
    content: &RawValue,
) -> &'static str {
    let Ok(content) = serde_json::from_str::<TypingContent>(content.get()) else { return "malformed" };
    let TypingContent { room_id, user_id, typing } = content;
    if user_id.server_name() != origin || !may_tell(rooms, &room_id).await {
        return "refused";
    }
    if !is_joined(federation, &room_id, &user_id).await {
        return "refused";
    }
    let timeout_ms = if typing { TYPING_MS } else { 0 };
    let record = Ephemeral {
        version: 1,
        room_id: room_id.to_string(),
        produced_ts: now_ms(),
        body: Some(ephemeral::Body::Typing(Typing { user_id: user_id.to_string(), timeout_ms })),
    };
    match federation.log.append::<EphemeralTopic>(&record).await {
        Ok(_) => "accepted",
        Err(error) => {
            debug!(%error, "typing could not be told");
            "failed"
        }
    }
}

async fn take_receipts(
    federation: &Federation,
    rooms: &Rooms,
    origin: &ServerName,
    content: &RawValue,
    left: &mut usize,
) -> &'static str {
    let Ok(content) = serde_json::from_str::<BTreeMap<OwnedRoomId, Box<RawValue>>>(content.get()) else {
        return "malformed";
    };
    let mut outcome = "refused";
    for (room_id, receipts) in content {
        let Ok(mut receipts) = serde_json::from_str::<RoomReceipts>(receipts.get()) else { continue };
        // Private ones do not leave their server; one that comes is not to be told.
        let Some(public) = receipts.remove("m.read") else { continue };
        if !may_tell(rooms, &room_id).await {
            continue;
        }
        for (user_id, receipt) in public {
            if user_id.server_name() != origin {
                continue;
            }
            let Some(event_id) = receipt.event_ids.last() else { continue };
            let Some(rest) = left.checked_sub(1) else { return "too many" };
            *left = rest;
            let receipt = SetReceipt {
                user_id: user_id.to_string(),
                r#type: "m.read".to_owned(),
                event_id: event_id.to_string(),
                thread_id: receipt.data.thread_id.unwrap_or_default(),
            };
            let control = RoomControl { action: Some(Action::SetReceipt(receipt)) };
            // The room server refuses those of users who are not joined. Nobody waits for that: a later receipt replaces
            // this one.
            match federation.input.append_room(&room_id, Lane::Live, Body::Control(control)).await {
                Ok(_) => outcome = "accepted",
                Err(error) => {
                    debug!(%error, "a receipt could not be written");
                    return "failed";
                }
            }
        }
    }
    outcome
}

/// Whether the origin may tell something of a room.
async fn may_tell(rooms: &Rooms, room_id: &OwnedRoomId) -> bool {
    match rooms.get(room_id).await {
        Ok(standing) => standing.is_some_and(|standing| standing.refusal.is_none()),
        Err(status) => {
            debug!(%status, "a room cannot be asked about");
            false
        }
    }
}

async fn is_joined(federation: &Federation, room_id: &RoomId, user_id: &UserId) -> bool {
    match Known::read(federation, room_id, user_id).await {
        Ok(known) => known.is_joined(),
        Err(status) => {
            debug!(%status, "a membership cannot be asked about");
            false
        }
    }
}
