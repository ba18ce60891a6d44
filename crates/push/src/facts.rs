//! Extracts the facts of an event that push rules look at, once for all who read it.

use std::{
    ops::RangeBounds as _,
    sync::{Arc, LazyLock},
};

use ruma::{
    RoomId, UInt, UserId,
    power_levels::NotificationPowerLevelsKey,
    push::{Action, PushConditionPowerLevelsCtx, RoomMemberCountIs},
};
use serde::Deserialize;

use crate::{Budget, Rules, Spent, compiled::Properties};

/// Power levels, as far as conditions look at them.
pub type Power = PushConditionPowerLevelsCtx;

/// Most users that an event may mention; the rest is not notified as mentioned.
const MAX_MENTIONS: usize = 1_000;

/// What rules look at in an event.
#[derive(Debug)]
pub struct Facts {
    /// Which predefined rules match, in the order of [`Rules::shared`]; those that look at the user match nobody here.
    matched: Vec<bool>,
    sender: Option<String>,
    mentions: Vec<String>,
    invited: Option<String>,
    members: u64,
    power: Option<Arc<Power>>,
}

/// Who reads an event.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The room.
    pub room: &'a RoomId,
    /// How the user is called in the room.
    pub display_name: Option<&'a str>,
}

/// What rules make of an event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome<'a> {
    /// What the first rule that matches does; nothing if none matches.
    pub actions: &'a [Action],
}

impl Outcome<'_> {
    /// Whether the user is to be notified.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.actions.iter().any(Action::should_notify)
    }

    /// Whether the event is to be highlighted.
    #[must_use]
    pub fn highlights(&self) -> bool {
        self.actions.iter().any(Action::is_highlight)
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<String>,
    sender: Option<String>,
    state_key: Option<String>,
    #[serde(default)]
    content: Content,
}

/// What of the content predefined rules look at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Content {
    membership: Lenient<String>,
    msgtype: Lenient<String>,
    #[serde(rename = "m.mentions")]
    mentions: Lenient<Mentions>,
    #[serde(rename = "m.relates_to")]
    relates_to: Lenient<Relation>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Mentions {
    user_ids: Lenient<Vec<Lenient<String>>>,
    room: Lenient<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Relation {
    rel_type: Lenient<String>,
}

/// A value that may be anything; what is of another type counts as absent.
#[derive(Default)]
struct Lenient<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any<T> {
            Fits(T),
            Other(serde::de::IgnoredAny),
        }
        Ok(Self(match Any::deserialize(deserializer)? {
            Any::Fits(value) => Some(value),
            Any::Other(_) => None,
        }))
    }
}

impl Facts {
    /// Works out what rules look at. `members` joined the room, and these are its power levels, when the event came.
    /// An event that is not JSON matches nothing.
    #[must_use]
    pub fn of(json: &[u8], members: u64, power: Option<Arc<Power>>) -> Self {
        let event = serde_json::from_slice::<Event>(json).ok();
        let mut facts =
            Self { matched: Vec::new(), sender: None, mentions: Vec::new(), invited: None, members, power };
        let Some(event) = event else { return facts };
        // Whether a rule is enabled is a matter of each user's.
        facts.matched = PREDEFINED_IDS.iter().map(|id| facts.holds(id, &event).unwrap_or_default()).collect();
        facts.sender = event.sender;
        let mentions = event.content.mentions.0.unwrap_or_default().user_ids.0.unwrap_or_default();
        facts.mentions = mentions.into_iter().take(MAX_MENTIONS).filter_map(|user| user.0).collect();
        let is_invite = event.kind.as_deref() == Some("m.room.member")
            && event.content.membership.0.as_deref() == Some("invite");
        facts.invited = event.state_key.filter(|_| is_invite);
        facts
    }

    /// What the conditions of a predefined rule say, without taking the event apart for each; `None` for a rule that is
    /// not known here. (A test compares all of them with what ruma says, and finds none that is not known.)
    fn holds(&self, id: &str, event: &Event) -> Option<bool> {
        let is_type =
            |kind: &str| event.kind.as_deref().is_some_and(|found| found.eq_ignore_ascii_case(kind));
        let is_state = || event.state_key.as_deref() == Some("");
        let is_text = |found: &Lenient<String>, text: &str| {
            found.0.as_deref().is_some_and(|found| found.eq_ignore_ascii_case(text))
        };
        Some(match id {
            ".m.rule.master" => true,
            // These look at who reads.
            ".m.rule.invite_for_me" | ".m.rule.is_user_mention" => false,
            ".m.rule.suppress_notices" => is_text(&event.content.msgtype, "m.notice"),
            ".m.rule.member_event" => is_type("m.room.member"),
            ".m.rule.is_room_mention" => {
                let mentions = event.content.mentions.0.as_ref();
                mentions.is_some_and(|mentions| mentions.room.0 == Some(true)) && self.may_notify_room(event)
            }
            ".m.rule.tombstone" => is_type("m.room.tombstone") && is_state(),
            ".m.rule.reaction" => is_type("m.reaction"),
            ".m.rule.room.server_acl" => is_type("m.room.server_acl") && is_state(),
            ".m.rule.suppress_edits" => {
                let relation = event.content.relates_to.0.as_ref();
                relation.is_some_and(|relation| relation.rel_type.0.as_deref() == Some("m.replace"))
            }
            ".m.rule.call" => is_type("m.call.invite"),
            ".m.rule.encrypted_room_one_to_one" => self.members == 2 && is_type("m.room.encrypted"),
            ".m.rule.room_one_to_one" => self.members == 2 && is_type("m.room.message"),
            ".m.rule.message" => is_type("m.room.message"),
            ".m.rule.encrypted" => is_type("m.room.encrypted"),
            _ => return None,
        })
    }

    fn may_notify_room(&self, event: &Event) -> bool {
        self.has_power(event.sender.as_deref(), &NotificationPowerLevelsKey::Room)
    }

    fn has_power(&self, sender: Option<&str>, key: &NotificationPowerLevelsKey) -> bool {
        let sender = sender.and_then(|sender| <&UserId>::try_from(sender).ok());
        let (Some(sender), Some(power)) = (sender, &self.power) else {
            return false;
        };
        power.has_sender_notification_permission(sender, key)
    }

    /// Applies the rules of a user to the event, whose JSON this is. An event of the user's own does nothing. The work
    /// is taken from a budget, and ends when that is spent.
    pub fn apply<'a>(
        &self,
        json: &[u8],
        rules: &'a Rules,
        reader: Reader<'_>,
        budget: &mut Budget,
    ) -> Result<Outcome<'a>, Spent> {
        if self.sender() == Some(reader.user.as_str()) || self.matched.is_empty() {
            return Ok(Outcome::default());
        }
        let mut properties = Properties::of(json);
        for (rule, test) in rules.ruleset().iter().zip(&rules.compiled().0) {
            if test.matches(self, &mut properties, reader, budget)? {
                return Ok(Outcome { actions: rule.actions() });
            }
        }
        Ok(Outcome::default())
    }

    pub(crate) fn sender(&self) -> Option<&str> {
        self.sender.as_deref()
    }

    pub(crate) fn mentions(&self, user: &UserId) -> bool {
        self.mentions.iter().any(|mentioned| mentioned == user.as_str())
    }

    pub(crate) fn invites(&self, user: &UserId) -> bool {
        self.invited.as_deref() == Some(user.as_str())
    }

    /// Whether a predefined rule matches, by its index among [`PREDEFINED_IDS`].
    pub(crate) fn has(&self, index: usize) -> bool {
        self.matched.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn has_members(&self, is: &RoomMemberCountIs) -> bool {
        is.contains(&UInt::new(self.members).unwrap_or(UInt::MAX))
    }

    pub(crate) fn may_notify(&self, key: &NotificationPowerLevelsKey) -> bool {
        self.has_power(self.sender(), key)
    }
}

/// The predefined rules, in their order.
pub(crate) static PREDEFINED_IDS: LazyLock<Vec<String>> =
    LazyLock::new(|| Rules::shared().ruleset().iter().map(|rule| rule.rule_id().to_owned()).collect());

#[cfg(test)]
pub(crate) mod tests {
    use futures::FutureExt as _;
    use ruma::{
        push::{AnyPushRuleRef, FlattenedJson, PushConditionRoomCtx},
        room_id,
        serde::Raw,
    };

    use super::*;
    use crate::rules::nobody;

    /// Compares what is said of predefined rules here with what their conditions say.
    pub(crate) fn assert_agrees(facts: &Facts, json: &str) {
        let event: Event = serde_json::from_str(json).unwrap();
        let flat =
            FlattenedJson::from_raw(&Raw::<serde_json::Value>::from_json_string(json.to_owned()).unwrap());
        let members = UInt::new(facts.members).unwrap();
        let room = room_id!("!nowhere:invalid").to_owned();
        let mut context = PushConditionRoomCtx::new(room, members, nobody().to_owned(), String::new());
        if let Some(power) = &facts.power {
            context = context.with_power_levels(Power::clone(power));
        }
        for (rule, matched) in Rules::shared().ruleset().iter().zip(&facts.matched) {
            let (AnyPushRuleRef::Override(conditional) | AnyPushRuleRef::Underride(conditional)) = rule
            else {
                panic!("{} is of another kind", rule.rule_id());
            };
            let holds = conditional
                .conditions
                .iter()
                .all(|condition| condition.applies(&flat, &context).now_or_never().unwrap_or(false));
            assert_eq!(*matched, holds, "{} {json}", rule.rule_id());
            assert!(facts.holds(rule.rule_id(), &event).is_some(), "{} is known", rule.rule_id());
        }
    }
}
