//! The power levels that a new room begins with.

use ruma::{
    OwnedUserId, UserId, api::client::room::create_room::v3::Request, room_version_rules::AuthorizationRules,
};
use serde_json::{Map, Value, json};

use super::{PlanError, Preset, creators_are_privileged};
use crate::rooms::content;

/// What tombstones need where creators have power of their own: more than any administrator they appoint.
const TOMBSTONE: i64 = 150;

/// Makes the content of `m.room.power_levels`: the defaults, and what the client wants otherwise, key by key.
pub(super) fn content(
    request: &Request,
    creator: &UserId,
    create: &Map<String, Value>,
    rules: &AuthorizationRules,
    preset: Preset,
    trusted: &[OwnedUserId],
) -> Result<Value, PlanError> {
    let privileged = creators_are_privileged(rules);
    let mut users = Map::new();
    if !privileged {
        users.insert(creator.to_string(), Value::from(100));
        users.extend(trusted.iter().map(|user| (user.to_string(), Value::from(100))));
    }
    let mut levels = json!({
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.tombstone": if privileged { TOMBSTONE } else { 100 },
            "m.room.server_acl": 100,
            "m.room.encryption": 100,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": match preset {
            Preset::Private | Preset::Trusted => 0,
            Preset::Public => 50,
        },
    });
    let Value::Object(levels) = &mut levels else { unreachable!("the literal is an object") };
    levels.extend(overrides(request, rules)?);
    if privileged {
        refuse_creators(levels, creator, create)?;
        raise_tombstone(levels);
    }
    Ok(Value::Object(std::mem::take(levels)))
}

fn overrides(request: &Request, rules: &AuthorizationRules) -> Result<Map<String, Value>, PlanError> {
    let malformed = |reason: String| PlanError::Malformed { field: "power_level_content_override", reason };
    let Some(raw) = &request.power_level_content_override else {
        return Ok(Map::new());
    };
    content::check(raw.json().get()).map_err(|error| malformed(error.to_string()))?;
    let levels: Map<String, Value> =
        serde_json::from_str(raw.json().get()).map_err(|error| malformed(error.to_string()))?;
    let is_level = |value: &Value| match value {
        // Until version 10, levels may be texts.
        Value::String(text) => !rules.integer_power_levels && text.trim().parse::<i64>().is_ok(),
        other => other.is_i64(),
    };
    for (key, value) in &levels {
        let fits = match key.as_str() {
            "users" | "events" | "notifications" => {
                value.as_object().is_some_and(|map| map.values().all(is_level))
            }
            "users_default" | "events_default" | "state_default" | "ban" | "kick" | "redact" | "invite" => {
                is_level(value)
            }
            _ => true,
        };
        if !fits {
            return Err(malformed(format!("{key} has a wrong type")));
        }
    }
    Ok(levels)
}

/// Creators have more power than any number, and the rules refuse power levels that list them.
fn refuse_creators(
    levels: &Map<String, Value>,
    creator: &UserId,
    create: &Map<String, Value>,
) -> Result<(), PlanError> {
    let additional = create.get("additional_creators").and_then(Value::as_array);
    let mut creators = additional.into_iter().flatten().filter_map(Value::as_str).chain([creator.as_str()]);
    let Some(users) = levels.get("users").and_then(Value::as_object) else { return Ok(()) };
    match creators.find(|user| users.contains_key(*user)) {
        Some(user) => Err(PlanError::InvalidState(format!(
            "{user} is a creator of the room and cannot be listed in its power levels"
        ))),
        None => Ok(()),
    }
}

/// An override of `events` replaces all of it; the level of tombstones must stay above the default of state events.
fn raise_tombstone(levels: &mut Map<String, Value>) {
    let state_default = levels.get("state_default").and_then(Value::as_i64).unwrap_or(50);
    let above = TOMBSTONE.max(state_default.saturating_add(1));
    if let Some(events) = levels.get_mut("events").and_then(Value::as_object_mut) {
        events.entry("m.room.tombstone").or_insert_with(|| Value::from(above));
    }
}
