//! Reports of inappropriate content.

use plexus_proto::{common::v1::ErrorReason, log::v1};
use ruma::{EventId, RoomId, UserId};

use super::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    state::{Change, Report},
};

/// Most bytes of a reason.
const MAX_REASON_BYTES: usize = 4096;

/// Keeps a report for the operators. Whether there is what it names is for the writer to find out.
pub(super) fn report(work: &mut Work<'_>, command: &v1::Report) -> Result<(), Stop> {
    work.active_account()?;
    let v1::Report { room_id, event_id, reported_user_id, reason } = command;
    let fits = match (room_id.as_str(), event_id.as_str(), reported_user_id.as_str()) {
        ("", "", user_id) => UserId::parse(user_id).is_ok(),
        (room_id, "", "") => RoomId::parse(room_id).is_ok(),
        (room_id, event_id, "") => RoomId::parse(room_id).is_ok() && EventId::parse(event_id).is_ok(),
        _ => false,
    };
    if !fits {
        return refuse(ErrorReason::InvalidParam, "a report names a room, an event of a room, or a user");
    }
    for name in [room_id, event_id, reported_user_id] {
        check_name("what is reported", name, MAX_NAME_BYTES)?;
    }
    check_name("the reason", reason, MAX_REASON_BYTES)?;
    work.changes.push(Change::Report(Report {
        room_id: room_id.clone(),
        event_id: event_id.clone(),
        user_id: reported_user_id.clone(),
        reason: reason.clone(),
        created_ts: work.record.produced_ts,
    }));
    Ok(())
}
