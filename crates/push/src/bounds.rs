//! Bounds the push rules of a user, and so the work of applying them.
//!
//! The specification has no bounds. Clients make a `content` rule for each keyword, and a `room` rule, or an `override`
//! rule that names a room, for each room with settings of its own: so rules that look into events are few, and rules
//! that only compare a room or a sender may be many. What was stored before these bounds stays as it is, and does
//! nothing as far as it is beyond them.

use ruma::push::{AnyPushRuleRef, PushCondition};

/// Most rules of a user's own, of each kind.
pub const MAX_RULES: usize = 1_000;
/// Most rules of a user's own that look into events: `content` rules, and those with a condition on anything but the
/// room.
pub const MAX_SEARCHING_RULES: usize = 100;
/// Most conditions of a rule.
pub const MAX_CONDITIONS: usize = 32;
/// Most bytes of a pattern.
pub const MAX_PATTERN_BYTES: usize = 256;
/// Most `*` and `?` of a pattern.
pub const MAX_WILDCARDS: usize = 16;
/// Most bytes of the path of a property.
pub const MAX_KEY_BYTES: usize = 256;
/// Most actions of a rule.
pub const MAX_ACTIONS: usize = 16;

/// Says what is beyond the bounds in the pattern of a rule.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), &'static str> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err("a pattern must not have more than 256 bytes");
    }
    if pattern.matches(['*', '?']).count() > MAX_WILDCARDS {
        return Err("a pattern must not have more than 16 wildcards");
    }
    Ok(())
}

/// Says what is beyond the bounds in the conditions of a rule.
pub(crate) fn check_conditions(conditions: &[PushCondition]) -> Result<(), &'static str> {
    if conditions.len() > MAX_CONDITIONS {
        return Err("a rule must not have more than 32 conditions");
    }
    conditions.iter().try_for_each(|condition| {
        let key = match condition {
            PushCondition::EventMatch(condition) => {
                check_pattern(&condition.pattern)?;
                &condition.key
            }
            PushCondition::EventPropertyIs(condition) => &condition.key,
            PushCondition::EventPropertyContains(condition) => &condition.key,
            _ => return Ok(()),
        };
        if key.len() > MAX_KEY_BYTES { Err("a key must not have more than 256 bytes") } else { Ok(()) }
    })
}

/// Whether a rule of a user's own looks into events.
pub(crate) fn is_searching(rule: AnyPushRuleRef<'_>) -> bool {
    match rule {
        AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => {
            let only_names_room = |condition: &PushCondition| match condition {
                PushCondition::EventMatch(condition) => condition.key == "room_id",
                PushCondition::RoomMemberCount(_) => true,
                _ => false,
            };
            !rule.conditions.iter().all(only_names_room)
        }
        AnyPushRuleRef::Room(_) | AnyPushRuleRef::Sender(_) => false,
        // Content, and whatever kind there may be one day.
        _ => true,
    }
}
