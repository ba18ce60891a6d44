//! Changes to a room that are not events: aliases, the directory, forgetting.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        DeleteAlias, DirectoryChange, Forget, Forgotten, PurgeRoom, RoomControl, SetAlias, SetVisibility,
        output_room_event::Body, room_control::Action,
    },
};
use ruma::{OwnedRoomAliasId, RoomAliasId, UserId, events::TimelineEventType};

use super::{
    intent::local_user,
    outcome::{AliasRow, Outcome, accepted},
    parking, profile, purge, receipts, reprocess,
    source::AliasTarget,
    state::MEMBER,
    upgrade,
    value::is_name,
    work::{Stop, Work},
};

/// Applies a control record.
pub(super) fn apply(mut work: Work<'_>, control: &RoomControl) -> Result<Outcome, Stop> {
    let seq = match &control.action {
        Some(Action::Reprocess(request)) => return reprocess::apply(work, request),
        Some(Action::Purge(PurgeRoom {})) => return purge::apply(work),
        Some(Action::SetAlias(request)) => set_alias(&mut work, request)?,
        Some(Action::DeleteAlias(request)) => delete_alias(&mut work, request)?,
        Some(Action::SetVisibility(request)) => set_visibility(&mut work, request)?,
        Some(Action::Forget(request)) => forget(&mut work, request)?,
        Some(Action::ExpireParked(_)) => parking::expire(&mut work)?,
        Some(Action::Upgrade(request)) => return upgrade::apply(work, request),
        Some(Action::UpdateProfile(request)) => profile::update(&mut work, request)?,
        Some(Action::SetReceipt(request)) => receipts::set(&mut work, request)?,
        None => {
            return Err(Stop::Poison("the control record asks nothing that this version knows".to_owned()));
        }
    };
    Ok(work.applied(accepted(None, seq)))
}

fn set_alias(work: &mut Work<'_>, request: &SetAlias) -> Result<i64, Stop> {
    let user = local_user(work, &request.user_id)?;
    let alias = local_alias(work, &request.alias)?;
    work.require_joined(user)?;
    if find_alias(work, &alias)?.is_some() {
        return Err(Stop::Refuse(ErrorReason::AliasInUse, format!("the alias {alias} is taken")));
    }
    add_alias(work, alias, user)
}

/// Most aliases of this server that point at a room.
pub(super) const MAX_ALIASES_OF_ROOM: usize = 100;
/// Most aliases that a user has created.
pub(super) const MAX_ALIASES_OF_USER: usize = 1_000;

/// Points an alias, which is known to be free, at the room.
pub(super) fn add_alias(work: &mut Work<'_>, alias: OwnedRoomAliasId, creator: &UserId) -> Result<i64, Stop> {
    let Some(counts) = work.source.alias_counts(work.room_id(), creator) else {
        work.needs.alias_counts.insert((work.room_id().to_owned(), creator.to_owned()));
        work.settle()?;
        return Ok(0);
    };
    if counts.of_room >= MAX_ALIASES_OF_ROOM {
        return Err(Stop::forbidden("the room has as many aliases as a room may have"));
    }
    if counts.of_user >= MAX_ALIASES_OF_USER {
        return Err(Stop::forbidden("the user has created as many aliases as a user may"));
    }
    let change = DirectoryChange { alias: alias.to_string(), present: true };
    work.rows.aliases_set.push(AliasRow {
        alias,
        room_id: work.room_id().to_owned(),
        creator: creator.to_owned(),
        created_ts: work.record.produced_ts,
    });
    Ok(work.put_out(None, Body::Directory(change)))
}

fn delete_alias(work: &mut Work<'_>, request: &DeleteAlias) -> Result<i64, Stop> {
    let user = local_user(work, &request.user_id)?;
    let alias = local_alias(work, &request.alias)?;
    let target = find_alias(work, &alias)?.filter(|target| target.room_id == work.room_id());
    let Some(target) = target else {
        return Err(Stop::Refuse(
            ErrorReason::NotFound,
            format!("the alias {alias} does not point at the room"),
        ));
    };
    if target.creator != user {
        require_directory_power(work, user)?;
    }
    let change = DirectoryChange { alias: alias.to_string(), present: false };
    work.rows.aliases_removed.push(alias);
    Ok(work.put_out(None, Body::Directory(change)))
}

fn set_visibility(work: &mut Work<'_>, request: &SetVisibility) -> Result<i64, Stop> {
    let user = local_user(work, &request.user_id)?;
    require_directory_power(work, user)?;
    if work.room.published == request.published {
        return Ok(0);
    }
    Ok(publish(work, request.published))
}

/// Lists the room in the directory, or no longer.
pub(super) fn publish(work: &mut Work<'_>, published: bool) -> i64 {
    work.room.published = published;
    work.rows.published.push((work.room.identity.partition, if published { 1 } else { -1 }));
    let change = DirectoryChange { alias: String::new(), present: published };
    work.put_out(None, Body::Directory(change))
}

fn forget(work: &mut Work<'_>, request: &Forget) -> Result<i64, Stop> {
    let user = local_user(work, &request.user_id)?;
    let member = work.state_now(MEMBER, user.as_str())?;
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

/// Whether a member may change what the directory says of a room: that takes the power to name its canonical alias.
pub(super) fn has_directory_power(work: &mut Work<'_>, user: &UserId) -> Result<bool, Stop> {
    work.with_power(|power| {
        Ok(power.of_user(user)? >= power.to_send_state(&TimelineEventType::RoomCanonicalAlias)?)
    })
}

fn require_directory_power(work: &mut Work<'_>, user: &UserId) -> Result<(), Stop> {
    work.require_joined(user)?;
    if has_directory_power(work, user)? {
        Ok(())
    } else {
        Err(Stop::forbidden("user does not have enough power over the room's directory entry"))
    }
}

/// Reads an alias of this server.
pub(super) fn local_alias(work: &Work<'_>, alias: &str) -> Result<OwnedRoomAliasId, Stop> {
    let invalid = |message: String| Stop::Refuse(ErrorReason::InvalidParam, message);
    if !is_name(alias) {
        return Err(invalid("the alias is too long or has a NUL".to_owned()));
    }
    let alias = RoomAliasId::parse(alias).map_err(|error| invalid(format!("alias: {error}")))?;
    if alias.server_name() != work.env.server_name {
        return Err(invalid("the alias is not one of this server".to_owned()));
    }
    Ok(alias)
}

/// Finds where an alias points.
pub(super) fn find_alias(work: &mut Work<'_>, alias: &RoomAliasId) -> Result<Option<AliasTarget>, Stop> {
    match work.source.aliases.get(alias) {
        Some(target) => Ok(target.clone()),
        None => {
            work.needs.aliases.insert(alias.to_owned());
            work.settle()?;
            Ok(None)
        }
    }
}
