//! Local aliases, and the listing of a room in the directory.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{DeleteAlias, DirectoryChange, SetAlias, SetVisibility, output_room_event::Body},
};
use ruma::{OwnedRoomAliasId, RoomAliasId, UserId, events::TimelineEventType};

use super::{
    load_request::AliasTarget,
    rows::AliasRow,
    value::is_name,
    work::{Stop, Work, local_user},
};

/// Points an alias at the room.
pub(super) fn set_alias(work: &mut Work<'_>, request: &SetAlias) -> Result<i64, Stop> {
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
    let key = (work.room_id().to_owned(), creator.to_owned());
    let counts = work.found(work.loaded.alias_counts(&key.0, creator), |request| {
        request.alias_counts.insert(key);
    })?;
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

/// Removes an alias of the room.
pub(super) fn delete_alias(work: &mut Work<'_>, request: &DeleteAlias) -> Result<i64, Stop> {
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

/// Lists the room in the directory, or no longer, on behalf of a user.
pub(super) fn set_visibility(work: &mut Work<'_>, request: &SetVisibility) -> Result<i64, Stop> {
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
    work.found(work.loaded.aliases.get(alias).cloned(), |request| {
        request.aliases.insert(alias.to_owned());
    })
}
