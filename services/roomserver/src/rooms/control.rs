//! Changes a room by what is no event: aliases, the directory, forgetting.

use super::{
    directory,
    outcome::accepted,
    parking, purge, receipts, reprocess,
    state::MEMBER,
    update_profile, upgrade,
    work::{Stop, Work, local_user},
};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::Verdict,
    log::v1::{Forget, Forgotten, PurgeRoom, RoomControl, output_room_event::Body, room_control::Action},
};

/// Applies a control record.
pub(super) fn apply(work: &mut Work<'_>, control: &RoomControl) -> Result<Verdict, Stop> {
    let seq = match &control.action {
        Some(Action::Reprocess(request)) => return reprocess::apply(work, request),
        Some(Action::Purge(PurgeRoom {})) => return purge::apply(work),
        Some(Action::SetAlias(request)) => directory::set_alias(work, request)?,
        Some(Action::DeleteAlias(request)) => directory::delete_alias(work, request)?,
        Some(Action::SetVisibility(request)) => directory::set_visibility(work, request)?,
        Some(Action::Forget(request)) => forget(work, request)?,
        Some(Action::ExpireParked(_)) => parking::expire(work)?,
        Some(Action::Upgrade(request)) => return upgrade::apply(work, request),
        Some(Action::UpdateProfile(request)) => update_profile::update(work, request)?,
        Some(Action::SetReceipt(request)) => receipts::set(work, request)?,
        None => {
            return Err(Stop::Poison("the control record asks nothing that this version knows".to_owned()));
        }
    };
    Ok(accepted(None, seq))
}

fn forget(work: &mut Work<'_>, request: &Forget) -> Result<i64, Stop> {
    let user = local_user(work, &request.user_id)?;
    let member = work.state(MEMBER, user.as_str())?;
    match member.as_ref().and_then(|member| member.membership.as_deref()) {
        Some("join" | "invite" | "knock") => {
            Err(Stop::Refuse(ErrorReason::BadState, "the user is still in the room".to_owned()))
        }
        Some(_) => {
            work.rows.forgotten.push((work.room.identity.nid, user.to_owned()));
            Ok(work.put_out(None, Body::Forgotten(Forgotten { user_id: user.to_string() })))
        }
        // Whoever was never there has nothing to forget.
        None => Ok(0),
    }
}
