//! What rules look at in an event, worked out once for all who read it.

use std::sync::{Arc, LazyLock, OnceLock};

use futures::FutureExt as _;
use ruma::{
    OwnedRoomId, RoomId, UInt, UserId,
    power_levels::NotificationPowerLevelsKey,
    push::{
        Action, AnyPushRuleRef, FlattenedJson, PredefinedOverrideRuleId, PushConditionPowerLevelsCtx,
        PushConditionRoomCtx,
    },
    serde::Raw,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Rules, rules::nobody};

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
    json: Arc<RawValue>,
    /// Only needed for rules of users' own.
    flat: OnceLock<FlattenedJson>,
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

/// Stands in for the room where no condition asks for it.
static NOWHERE: LazyLock<OwnedRoomId> = LazyLock::new(|| ruma::room_id!("!nowhere:invalid").to_owned());

impl Facts {
    /// Works out what rules look at. `members` joined the room, and these are its power levels, when the event came.
    /// An event that is not JSON matches nothing.
    #[must_use]
    pub fn of(json: &[u8], members: u64, power: Option<Arc<Power>>) -> Self {
        let text: Option<Box<RawValue>> = serde_json::from_slice(json).ok();
        let json: Arc<RawValue> = text.map_or_else(|| Arc::from(RawValue::NULL.to_owned()), Arc::from);
        let event = serde_json::from_str::<Event>(json.get()).ok();
        let mut facts = Self {
            matched: Vec::new(),
            sender: None,
            mentions: Vec::new(),
            invited: None,
            members,
            power,
            json,
            flat: OnceLock::new(),
        };
        let Some(event) = event else { return facts };
        // Whether a rule is enabled is a matter of each user's.
        facts.matched = Rules::shared()
            .set
            .iter()
            .map(|rule| facts.holds(rule.rule_id(), &event).unwrap_or_else(|| facts.conditions_hold(rule)))
            .collect();
        facts.sender = event.sender;
        let mentions = event.content.mentions.0.unwrap_or_default().user_ids.0.unwrap_or_default();
        facts.mentions = mentions.into_iter().take(MAX_MENTIONS).filter_map(|user| user.0).collect();
        let is_invite = event.kind.as_deref() == Some("m.room.member")
            && event.content.membership.0.as_deref() == Some("invite");
        facts.invited = event.state_key.filter(|_| is_invite);
        facts
    }

    /// What the conditions of a predefined rule say, without taking the event apart for each; `None` for a rule that is
    /// not known here. (A test compares all of them with what ruma says.)
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
        let sender = event.sender.as_deref().and_then(|sender| <&UserId>::try_from(sender).ok());
        let (Some(sender), Some(power)) = (sender, &self.power) else {
            return false;
        };
        power.has_sender_notification_permission(sender, &NotificationPowerLevelsKey::Room)
    }

    fn conditions_hold(&self, rule: AnyPushRuleRef<'_>) -> bool {
        let flat = self.flat.get_or_init(|| self.flatten());
        conditions_hold(rule, flat, &self.context(nobody(), &NOWHERE, None))
    }

    /// Applies the rules of a user. An event of the user's own does nothing.
    #[must_use]
    pub fn apply<'a>(&self, rules: &'a Rules, reader: Reader<'_>) -> Outcome<'a> {
        if self.sender.as_deref() == Some(reader.user.as_str()) || self.matched.is_empty() {
            return Outcome::default();
        }
        let mut context = None;
        for rule in rules.set.iter().filter(|rule| rule.enabled()) {
            let matches = if rule.is_server_default() {
                self.matches_predefined(rule.rule_id(), reader.user)
            } else {
                let context = context
                    .get_or_insert_with(|| self.context(reader.user, reader.room, reader.display_name));
                let flat = self.flat.get_or_init(|| self.flatten());
                rule.applies(flat, context).now_or_never().unwrap_or(false)
            };
            if matches {
                return Outcome { actions: rule.actions() };
            }
        }
        Outcome::default()
    }

    fn matches_predefined(&self, id: &str, user: &UserId) -> bool {
        let is = |known: PredefinedOverrideRuleId| id == known.as_str();
        if is(PredefinedOverrideRuleId::IsUserMention) {
            return self.mentions.iter().any(|mentioned| mentioned == user.as_str());
        }
        if is(PredefinedOverrideRuleId::InviteForMe) {
            return self.invited.as_deref() == Some(user.as_str());
        }
        // A dozen short strings: looking through them costs less than hashing one.
        let mut predefined = PREDEFINED_IDS.iter().zip(&self.matched);
        predefined.find(|(known, _)| *known == id).is_some_and(|(_, matched)| *matched)
    }

    fn flatten(&self) -> FlattenedJson {
        let raw: Raw<serde_json::Value> = Raw::from_json(self.json.as_ref().to_owned());
        FlattenedJson::from_raw(&raw)
    }

    fn context(&self, user: &UserId, room: &RoomId, display_name: Option<&str>) -> PushConditionRoomCtx {
        let members = UInt::new(self.members).unwrap_or(UInt::MAX);
        // Without a name nothing contains it: an empty one is contained nowhere.
        let name = display_name.unwrap_or_default().to_owned();
        let context = PushConditionRoomCtx::new(room.to_owned(), members, user.to_owned(), name);
        match &self.power {
            Some(power) => context.with_power_levels(Power::clone(power)),
            None => context,
        }
    }
}

static PREDEFINED_IDS: LazyLock<Vec<String>> =
    LazyLock::new(|| Rules::shared().set.iter().map(|rule| rule.rule_id().to_owned()).collect());

fn conditions_hold(rule: AnyPushRuleRef<'_>, flat: &FlattenedJson, context: &PushConditionRoomCtx) -> bool {
    let conditions = match rule {
        AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => &rule.conditions,
        // There are none of these kinds among the predefined.
        _ => return false,
    };
    conditions.iter().all(|condition| condition.applies(flat, context).now_or_never().unwrap_or(false))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Compares what is said of predefined rules here with what their conditions say.
    pub(crate) fn assert_agrees(facts: &Facts) {
        for (rule, matched) in Rules::shared().set.iter().zip(&facts.matched) {
            assert_eq!(*matched, facts.conditions_hold(rule), "{} {}", rule.rule_id(), facts.json);
            let event: Event = serde_json::from_str(facts.json.get()).unwrap();
            assert!(facts.holds(rule.rule_id(), &event).is_some(), "{} is known", rule.rule_id());
        }
    }
}
