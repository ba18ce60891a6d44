//! Refuses events of local users that the authorization rules would refuse with a worse message, or would let pass.

use plexus_events::canonical::{Object, Value};
use plexus_proto::{common::v1::ErrorReason, log::v1::Intent};
use ruma::{UserId, events::room::power_levels::UserPowerLevel};

use super::work::{Stop, Work};

/// Checks what a local user may not even try, whatever their power.
pub(super) fn check(work: &mut Work<'_>, intent: &Intent, content: &Object) -> Result<(), Stop> {
    match (intent.r#type.as_str(), intent.state_key.as_deref()) {
        ("m.room.create", _) => refuse("a room has no second create event"),
        ("m.room.power_levels", Some("")) => check_power_levels(work, content),
        _ => Ok(()),
    }
}

/// Creators who stand above all levels are not listed.
fn check_power_levels(work: &mut Work<'_>, content: &Object) -> Result<(), Stop> {
    let Some(Value::Object(users)) = content.get("users") else { return Ok(()) };
    if !work.rules().rules.authorization.explicitly_privilege_room_creators {
        return Ok(());
    }
    let listed = work.with_power(|power| {
        for user in users.keys().filter_map(|user| <&UserId>::try_from(user.as_str()).ok()) {
            if power.of_user(user)? == UserPowerLevel::Infinite {
                return Ok(Some(user.to_owned()));
            }
        }
        Ok(None)
    })?;
    match listed {
        Some(user) => {
            refuse(&format!("{user} is a creator of the room and cannot be listed in its power levels"))
        }
        None => Ok(()),
    }
}

fn refuse(message: &str) -> Result<(), Stop> {
    Err(Stop::Refuse(ErrorReason::InvalidParam, message.to_owned()))
}
