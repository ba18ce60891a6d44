//! Follows changes of membership: the counts of a room, and `current_members`.

use ruma::UserId;

use super::{
    rows::MemberRow,
    state_cache::StateEvent,
    work::{Stop, Work},
};
use plexus_proto::common::v1::ErrorReason;

/// Follows a change of somebody's membership. Without a member event, one is not in the room.
pub(super) fn change(
    work: &mut Work<'_>,
    user: &str,
    before: Option<&StateEvent>,
    after: Option<&StateEvent>,
    seq: i64,
) -> Result<(), Stop> {
    let user_id = UserId::parse(user).map_err(|error| {
        Stop::Refuse(ErrorReason::InvalidParam, format!("`state_key` is not a user ID: {error}"))
    })?;
    let Some(nid) = after.or(before).map(|event| event.nid) else { return Ok(()) };
    let was = before.map(|before| before.membership.as_deref().unwrap_or_default());
    let is = after.map(|after| after.membership.as_deref().unwrap_or_default());
    let change = |membership: &str| i32::from(is == Some(membership)) - i32::from(was == Some(membership));
    work.room.joined_members += change("join");
    work.room.invited_members += change("invite");
    let joined = i64::from(change("join"));
    work.note_member(&user_id, joined);
    work.rows.members.push(MemberRow {
        room_nid: work.room.identity.nid,
        user_id,
        membership: is.unwrap_or("leave").to_owned(),
        event_nid: nid,
        seq,
    });
    Ok(())
}
