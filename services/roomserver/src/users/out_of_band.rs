//! Out-of-band memberships: those of users in rooms that this server is not in, as other servers tell them.
//!
//! They belong to the user and not to the room, of which nothing else is known: not even its create event.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{OutOfBandMembership, SetOutOfBandMembership, output_user_event::Fact},
};
use ruma::{RoomId, UserId};
use serde_json::value::RawValue;

use super::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    data::check_object,
    state::{Change, OutOfBand, OutOfBandRow},
};

/// Most bytes of a member event, and of the stripped state of a room.
const MAX_EVENT_BYTES: usize = 64 * 1024;
const MAX_STATE_BYTES: usize = 512 * 1024;
/// Most invites and knocks of a user that are pending.
const MAX_PENDING: usize = 500;
/// Most memberships that are kept of a user: those that have ended make room for others.
const MAX_KEPT: usize = 1000;

/// Sets or forgets what the user is in a room. What is there already changes nothing.
pub(super) fn set(work: &mut Work<'_>, command: &SetOutOfBandMembership) -> Result<(), Stop> {
    work.active_account()?;
    if <&RoomId>::try_from(command.room_id.as_str()).is_err() {
        return refuse(ErrorReason::InvalidParam, "room_id is not a room ID");
    }
    check_name("room_id", &command.room_id, MAX_NAME_BYTES)?;
    let known = work.user.out_of_band.get(&command.room_id);
    if !command.replaces_event_id.is_empty()
        && known.is_none_or(|known| known.event_id != command.replaces_event_id)
    {
        return Ok(());
    }
    if command.membership.is_empty() {
        if work.user.out_of_band.remove(&command.room_id).is_some() {
            work.changes.push(Change::OutOfBand(command.room_id.clone(), None));
            let room_id = command.room_id.clone();
            work.put_out(Fact::OutOfBandMembership(OutOfBandMembership {
                room_id,
                ..OutOfBandMembership::default()
            }));
        }
        return Ok(());
    }
    let is_pending = match command.membership.as_str() {
        "invite" | "knock" => true,
        "leave" | "ban" => false,
        _ => return refuse(ErrorReason::InvalidParam, "the membership is unknown"),
    };
    check(command)?;
    let is_same =
        |known: &OutOfBand| known.membership == command.membership && known.event_id == command.event_id;
    if known.is_some_and(is_same) {
        return Ok(());
    }
    let others = work.user.out_of_band.iter().filter(|(room_id, _)| **room_id != command.room_id);
    let pending = others.filter(|(_, it)| matches!(it.membership.as_str(), "invite" | "knock")).count();
    if is_pending && pending >= MAX_PENDING {
        let message = format!("{MAX_PENDING} invites and knocks of the user are pending");
        return refuse(ErrorReason::LimitExceeded, message);
    }
    make_room(work, &command.room_id);
    let fact = OutOfBandMembership {
        room_id: command.room_id.clone(),
        membership: command.membership.clone(),
        event: command.event.clone(),
        event_id: command.event_id.clone(),
        sender: command.sender.clone(),
        origin: command.origin.clone(),
        room_version: command.room_version.clone(),
        stripped_state: command.stripped_state.clone(),
        seq: 0,
    };
    let seq = work.put_out(Fact::OutOfBandMembership(fact));
    let state = OutOfBand { membership: command.membership.clone(), event_id: command.event_id.clone(), seq };
    work.user.out_of_band.insert(command.room_id.clone(), state.clone());
    let row = OutOfBandRow {
        state,
        event: command.event.clone(),
        sender: command.sender.clone(),
        origin: command.origin.clone(),
        room_version: command.room_version.clone(),
        stripped_state: command.stripped_state.clone(),
    };
    work.changes.push(Change::OutOfBand(command.room_id.clone(), Some(Box::new(row))));
    Ok(())
}

/// Checks what is to be kept.
fn check(command: &SetOutOfBandMembership) -> Result<(), Stop> {
    if <&UserId>::try_from(command.sender.as_str()).is_err() {
        return refuse(ErrorReason::InvalidParam, "sender is not a user ID");
    }
    for (what, text) in [
        ("sender", &command.sender),
        ("event_id", &command.event_id),
        ("origin", &command.origin),
        ("room_version", &command.room_version),
    ] {
        check_name(what, text, MAX_NAME_BYTES)?;
    }
    check_object("the event", &command.event, MAX_EVENT_BYTES)?;
    if command.stripped_state.len() > MAX_STATE_BYTES {
        let message = format!("the stripped state exceeds {MAX_STATE_BYTES} bytes");
        return refuse(ErrorReason::TooLarge, message);
    }
    if !command.stripped_state.is_empty()
        && serde_json::from_slice::<Vec<&RawValue>>(&command.stripped_state).is_err()
    {
        return refuse(ErrorReason::BadJson, "the stripped state is not a JSON list");
    }
    Ok(())
}

/// Forgets the oldest memberships that have ended, if there are too many.
fn make_room(work: &mut Work<'_>, room_id: &str) {
    while work.user.out_of_band.len() >= MAX_KEPT && !work.user.out_of_band.contains_key(room_id) {
        let ended = work
            .user
            .out_of_band
            .iter()
            .filter(|(_, it)| !matches!(it.membership.as_str(), "invite" | "knock"));
        let Some(oldest) = ended.min_by_key(|(_, it)| it.seq).map(|(room_id, _)| room_id.clone()) else {
            return;
        };
        work.user.out_of_band.remove(&oldest);
        work.changes.push(Change::OutOfBand(oldest, None));
    }
}
