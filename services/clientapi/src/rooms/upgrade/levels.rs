//! Power levels of a room that is upgraded, and of the one that follows it.

use ruma::{OwnedUserId, UserId, room_version_rules::AuthorizationRules};
use serde_json::{Map, Value};

/// Level of creators who have no power of their own.
const CREATOR: i64 = 100;
/// Level of state events and moderators unless a room says otherwise.
const MODERATOR: i64 = 50;
/// Keys of single levels.
const SINGLE: [&str; 7] =
    ["users_default", "events_default", "state_default", "ban", "kick", "redact", "invite"];

/// Power levels of a room.
#[derive(Debug)]
pub(super) struct Levels<'a> {
    /// Content of `m.room.power_levels`, if the room has one.
    pub(super) content: Option<&'a Map<String, Value>>,
    /// Creators.
    pub(super) creators: &'a [String],
    /// Rules of the room.
    pub(super) rules: &'a AuthorizationRules,
}

/// The room that follows.
#[derive(Debug)]
pub(super) struct Successor<'a> {
    pub(super) creator: &'a UserId,
    pub(super) additional_creators: &'a [OwnedUserId],
    pub(super) rules: &'a AuthorizationRules,
}

impl Levels<'_> {
    /// Whether a user has the power to send a state event.
    pub(super) fn may_send_state(&self, user: &str, event_type: &str) -> bool {
        let is_creator = self.creators.iter().any(|creator| creator == user);
        if is_creator && self.rules.explicitly_privilege_room_creators {
            return true;
        }
        let Some(content) = self.content else { return is_creator };
        let listed =
            |list: &str, name: &str| content.get(list).and_then(|list| list.get(name)).and_then(number);
        let single = |name: &str, default: i64| content.get(name).and_then(number).unwrap_or(default);
        let has = listed("users", user).unwrap_or_else(|| single("users_default", 0));
        has >= listed("events", event_type).unwrap_or_else(|| single("state_default", MODERATOR))
    }

    /// Power levels of the room that follows: the same, with what its version wants otherwise.
    ///
    /// They are the first of that room, which the rules leave to its creator: everybody has the level they had, the
    /// creator too, however high. Power that creators have of their own is not passed on between rooms that know it: they are
    /// named again, or have none. Only where the room that follows knows no such power, or the old one had no levels, are
    /// creators given the highest.
    pub(super) fn for_successor(&self, new: &Successor<'_>) -> Map<String, Value> {
        let mut content = self.content.cloned().unwrap_or_default();
        if new.rules.integer_power_levels {
            make_integers(&mut content);
        }
        let mut users = match content.remove("users") {
            Some(Value::Object(users)) => users,
            _ => Map::new(),
        };
        let [had_power, have_power] =
            [self.rules, new.rules].map(|rules| rules.explicitly_privilege_room_creators);
        if self.content.is_none() || had_power && !have_power {
            let highest = users.values().filter_map(number).chain(single_and_listed(&content)).max();
            let highest = highest.unwrap_or(CREATOR).max(CREATOR);
            for creator in self.creators {
                users.insert(creator.clone(), Value::from(highest));
            }
        }
        if have_power {
            // They have more power than any number, and may not be listed.
            users.remove(new.creator.as_str());
            for creator in new.additional_creators {
                users.remove(creator.as_str());
            }
        }
        content.insert("users".to_owned(), Value::Object(users));
        content
    }
}

/// Power levels with which a room that was replaced lets only moderators speak and invite; `None` if it does so already.
pub(super) fn restricted(levels: &Map<String, Value>) -> Option<Map<String, Value>> {
    let single = |name: &str| levels.get(name).and_then(number).unwrap_or(0);
    let least = single("users_default").saturating_add(1).max(MODERATOR);
    let mut changed = levels.clone();
    for name in ["events_default", "invite"] {
        if single(name) < least {
            changed.insert(name.to_owned(), Value::from(least));
        }
    }
    (changed != *levels).then_some(changed)
}

/// A level; old room versions have them as text, too.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn make_integers(content: &mut Map<String, Value>) {
    let integer = |value: &mut Value| *value = Value::from(number(value).unwrap_or_default());
    for (name, value) in content.iter_mut() {
        if SINGLE.contains(&name.as_str()) {
            integer(value);
        } else if matches!(name.as_str(), "users" | "events" | "notifications")
            && let Value::Object(listed) = value
        {
            listed.values_mut().for_each(integer);
        }
    }
}

/// The levels that things take.
fn single_and_listed(content: &Map<String, Value>) -> impl Iterator<Item = i64> + '_ {
    let listed = ["events", "notifications"].into_iter().filter_map(|list| content.get(list)?.as_object());
    let single = SINGLE.into_iter().filter_map(|name| content.get(name));
    single.chain(listed.flat_map(Map::values)).filter_map(number)
}

#[cfg(test)]
mod tests {
    use ruma::{RoomVersionId, owned_user_id, user_id};
    use serde_json::json;

    use super::*;

    fn rules(version: &RoomVersionId) -> AuthorizationRules {
        version.rules().unwrap().authorization
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn follow(old: Value, from: &RoomVersionId, to: &RoomVersionId, additional: &[OwnedUserId]) -> Value {
        let (old, from, to) = (object(old), rules(from), rules(to));
        let creators = ["@alice:x".to_owned()];
        let levels = Levels { content: Some(&old), creators: &creators, rules: &from };
        let new = Successor { creator: user_id!("@bob:x"), additional_creators: additional, rules: &to };
        Value::Object(levels.for_successor(&new))
    }

    #[test]
    fn who_may_end_a_room() {
        let (v11, v12) = (rules(&RoomVersionId::V11), rules(&RoomVersionId::V12));
        let creators = ["@alice:x".to_owned()];
        let may = |content: Option<Value>, rules: &AuthorizationRules, user: &str| {
            let content = content.map(object);
            Levels { content: content.as_ref(), creators: &creators, rules }
                .may_send_state(user, "m.room.tombstone")
        };
        assert!(may(None, &v11, "@alice:x") && !may(None, &v11, "@bob:x"));
        let listed = json!({ "users": { "@bob:x": 100 }, "events": { "m.room.tombstone": 100 } });
        assert!(may(Some(listed.clone()), &v11, "@bob:x"));
        assert!(!may(Some(listed.clone()), &v11, "@alice:x"));
        assert!(may(Some(listed), &v12, "@alice:x"));
        assert!(may(Some(json!({ "users_default": "60" })), &v11, "@carol:x"));
        assert!(!may(Some(json!({ "users_default": 60, "state_default": 61 })), &v11, "@carol:x"));
    }

    #[test]
    fn creators_with_power_of_their_own_are_not_listed() {
        let old = json!({ "users": { "@alice:x": 100, "@bob:x": 100, "@carol:x": 50 }, "ban": 50 });
        let new = follow(old, &RoomVersionId::V11, &RoomVersionId::V12, &[owned_user_id!("@carol:x")]);
        assert_eq!(new, json!({ "users": { "@alice:x": 100 }, "ban": 50 }));
    }

    #[test]
    fn levels_are_the_same_in_the_room_that_follows() {
        // `@bob:x` upgrades: he has 50 before and after, and others keep what is above him.
        let old = json!({
            "users": { "@alice:x": 100, "@bob:x": 50, "@root:x": 9_000 }, "users_default": 10,
            "events": { "m.room.tombstone": 50, "m.x": 150 }, "ban": 120, "notifications": { "room": 500 },
        });
        for (from, to) in [("6", "11"), ("10", "11"), ("11", "11"), ("11", "6")] {
            let [from, to] = [from, to].map(|version| RoomVersionId::try_from(version).unwrap());
            assert_eq!(follow(old.clone(), &from, &to, &[]), old);
        }
        // In version 12 who makes the room is above all levels, and may not be listed.
        let mut listed = old.clone();
        listed["users"].as_object_mut().unwrap().remove("@bob:x");
        assert_eq!(follow(old, &RoomVersionId::V11, &RoomVersionId::V12, &[]), listed);
    }

    #[test]
    fn who_has_no_level_of_their_own_gets_none() {
        let old = json!({ "users": { "@alice:x": 100 }, "users_default": 50 });
        assert_eq!(follow(old.clone(), &RoomVersionId::V10, &RoomVersionId::V11, &[]), old);
        let (rules, new) = (rules(&RoomVersionId::V10), rules(&RoomVersionId::V11));
        let creators = ["@alice:x".to_owned()];
        let levels = Levels { content: None, creators: &creators, rules: &rules };
        let successor = Successor { creator: user_id!("@alice:x"), additional_creators: &[], rules: &new };
        let levels = Value::Object(levels.for_successor(&successor));
        assert_eq!(levels, json!({ "users": { "@alice:x": 100 } }));
    }

    #[test]
    fn creators_who_are_none_any_more_have_no_power_of_their_own() {
        let old = json!({ "users": { "@carol:x": 150 }, "events": { "m.room.tombstone": 150 } });
        assert_eq!(follow(old.clone(), &RoomVersionId::V12, &RoomVersionId::V12, &[]), old);
        let additional = [owned_user_id!("@alice:x")];
        assert_eq!(follow(old.clone(), &RoomVersionId::V12, &RoomVersionId::V12, &additional), old);
    }

    #[test]
    fn creators_without_power_of_their_own_are_listed() {
        let old =
            json!({ "users": { "@carol:x": 150 }, "events": { "m.room.tombstone": 150, "m.room.name": 0 } });
        let new = follow(old, &RoomVersionId::V12, &RoomVersionId::V11, &[]);
        assert_eq!(
            new,
            json!({
                "users": { "@alice:x": 150, "@carol:x": 150 },
                "events": { "m.room.tombstone": 150, "m.room.name": 0 },
            })
        );
    }

    #[test]
    fn levels_become_integers() {
        let old = json!({ "users": { "@carol:x": "20" }, "invite": "10", "events": { "m.x": " 5 " } });
        let new = follow(old, &RoomVersionId::V9, &RoomVersionId::V12, &[]);
        assert_eq!(new, json!({ "users": { "@carol:x": 20 }, "invite": 10, "events": { "m.x": 5 } }));
    }

    #[test]
    fn replaced_rooms_fall_silent() {
        let silent = restricted(&object(json!({ "users_default": 60, "invite": 100 }))).unwrap();
        assert_eq!(silent, object(json!({ "users_default": 60, "invite": 100, "events_default": 61 })));
        assert_eq!(restricted(&silent), None);
    }
}
