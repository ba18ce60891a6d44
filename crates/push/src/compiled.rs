//! Rules as they are applied: compiled once, without anything left to parse.

use plexus_patterns::{Glob, split_path};
use ruma::{
    OwnedRoomId, OwnedUserId,
    power_levels::NotificationPowerLevelsKey,
    push::{
        AnyPushRuleRef, PredefinedOverrideRuleId, PushCondition, RoomMemberCountIs, Ruleset, ScalarJsonValue,
    },
};
use serde_json::Value;

use crate::{
    Budget, Facts, Reader, Spent,
    bounds::{self, MAX_RULES, MAX_SEARCHING_RULES},
    facts::PREDEFINED_IDS,
};

/// Most elements of an array that are looked at.
const MAX_ELEMENTS: usize = 1_000;

/// What decides whether each rule of a set matches, in the order of the set.
#[derive(Debug, Clone)]
pub(crate) struct Compiled(pub(crate) Box<[Test]>);

/// What decides whether a rule matches.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    /// It is disabled, beyond the bounds, or not understood.
    Never,
    /// The event mentions the user.
    Mention,
    /// The event invites the user.
    Invite,
    /// [`Facts`] tell, by this index.
    Fact(usize),
    Room(OwnedRoomId),
    Sender(OwnedUserId),
    /// All of these hold.
    All(Box<[Condition]>),
}

#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Room(Glob),
    Members(RoomMemberCountIs),
    Notifies(NotificationPowerLevelsKey),
    Text { path: Box<[String]>, glob: Glob },
    DisplayName,
    Is { path: Box<[String]>, value: ScalarJsonValue },
    Contains { path: Box<[String]>, value: ScalarJsonValue },
}

/// An event whose properties are looked up, parsed when one is first asked for and only as long as rules are applied.
pub(crate) struct Properties<'a> {
    json: &'a [u8],
    parsed: Option<Value>,
}

impl Compiled {
    pub(crate) fn of(set: &Ruleset) -> Self {
        let (mut own, mut searching) = (0, 0);
        let tests = set.iter().map(|rule| {
            if rule.is_server_default() {
                return if rule.enabled() { predefined(rule.rule_id()) } else { Test::Never };
            }
            own += 1;
            let is_searching = bounds::is_searching(rule);
            searching += usize::from(is_searching);
            // Five kinds have rules.
            let is_beyond = own > 5 * MAX_RULES || is_searching && searching > MAX_SEARCHING_RULES;
            if is_beyond || !rule.enabled() { Test::Never } else { Test::of(rule) }
        });
        Self(tests.collect())
    }
}

fn predefined(id: &str) -> Test {
    let is = |known: PredefinedOverrideRuleId| id == known.as_str();
    if is(PredefinedOverrideRuleId::IsUserMention) {
        return Test::Mention;
    }
    if is(PredefinedOverrideRuleId::InviteForMe) {
        return Test::Invite;
    }
    PREDEFINED_IDS.iter().position(|known| known == id).map_or(Test::Never, Test::Fact)
}

impl Test {
    fn of(rule: AnyPushRuleRef<'_>) -> Self {
        match rule {
            AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => {
                if bounds::check_conditions(&rule.conditions).is_err() {
                    return Self::Never;
                }
                let conditions: Option<Vec<_>> = rule.conditions.iter().map(Condition::of).collect();
                let Some(mut conditions) = conditions else { return Self::Never };
                // What costs least is asked first.
                conditions.sort_by_key(Condition::cost);
                Self::All(conditions.into())
            }
            AnyPushRuleRef::Content(rule) => match bounds::check_pattern(&rule.pattern) {
                Ok(()) => Self::All([Condition::text("content.body", &rule.pattern)].into()),
                Err(_) => Self::Never,
            },
            AnyPushRuleRef::Room(rule) => Self::Room(rule.rule_id.clone()),
            AnyPushRuleRef::Sender(rule) => Self::Sender(rule.rule_id.clone()),
            _ => Self::Never,
        }
    }

    pub(crate) fn matches(
        &self,
        facts: &Facts,
        event: &mut Properties<'_>,
        reader: Reader<'_>,
        budget: &mut Budget,
    ) -> Result<bool, Spent> {
        budget.take(1)?;
        Ok(match self {
            Self::Never => false,
            Self::Mention => facts.mentions(reader.user),
            Self::Invite => facts.invites(reader.user),
            Self::Fact(index) => facts.has(*index),
            Self::Room(room) => **room == *reader.room,
            Self::Sender(sender) => facts.sender() == Some(sender.as_str()),
            Self::All(conditions) => {
                for condition in conditions {
                    if !condition.holds(facts, event, reader, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
        })
    }
}

impl Condition {
    /// `None` for a condition that is not known, which never holds.
    fn of(condition: &PushCondition) -> Option<Self> {
        let path = |key: &str| split_path(key).into_boxed_slice();
        #[expect(deprecated, reason = "older clients have rules with it")]
        Some(match condition {
            PushCondition::EventMatch(condition) => Self::text(&condition.key, &condition.pattern),
            PushCondition::ContainsDisplayName => Self::DisplayName,
            PushCondition::RoomMemberCount(condition) => Self::Members(condition.is),
            PushCondition::SenderNotificationPermission(condition) => Self::Notifies(condition.key.clone()),
            PushCondition::EventPropertyIs(condition) => {
                Self::Is { path: path(&condition.key), value: condition.value.clone() }
            }
            PushCondition::EventPropertyContains(condition) => {
                Self::Contains { path: path(&condition.key), value: condition.value.clone() }
            }
            _ => return None,
        })
    }

    fn text(key: &str, pattern: &str) -> Self {
        match key {
            "room_id" => Self::Room(Glob::ignoring_case(pattern)),
            "content.body" => Self::Text { path: split_path(key).into(), glob: Glob::of_words(pattern) },
            _ => Self::Text { path: split_path(key).into(), glob: Glob::ignoring_case(pattern) },
        }
    }

    fn cost(&self) -> u8 {
        match self {
            Self::Members(_) => 0,
            Self::Room(_) => 1,
            Self::Notifies(_) => 2,
            Self::Is { .. } => 3,
            Self::Contains { .. } => 4,
            Self::Text { .. } | Self::DisplayName => 5,
        }
    }

    fn holds(
        &self,
        facts: &Facts,
        event: &mut Properties<'_>,
        reader: Reader<'_>,
        budget: &mut Budget,
    ) -> Result<bool, Spent> {
        Ok(match self {
            Self::Room(glob) => {
                budget.take(glob.steps(reader.room.as_str()))?;
                glob.matches(reader.room.as_str())
            }
            Self::Members(is) => facts.has_members(is),
            Self::Notifies(key) => facts.may_notify(key),
            Self::Text { path, glob } => match event.find(path, budget)? {
                Some(Value::String(text)) => {
                    budget.take(glob.steps(text))?;
                    glob.matches(text)
                }
                _ => false,
            },
            Self::DisplayName => {
                // Without a name nothing contains it.
                let Some(name) = reader.display_name.filter(|name| !name.is_empty()) else {
                    return Ok(false);
                };
                let Some(Value::String(text)) = event.find(&[CONTENT, BODY], budget)? else {
                    return Ok(false);
                };
                let glob = Glob::of_literal_words(name);
                budget.take(glob.steps(text) + glob.steps(name))?;
                glob.matches(text)
            }
            Self::Is { path, value } => event.find(path, budget)?.is_some_and(|found| is(found, value)),
            Self::Contains { path, value } => match event.find(path, budget)? {
                Some(Value::Array(elements)) => {
                    budget.take(elements.len().min(MAX_ELEMENTS) as u64)?;
                    elements.iter().take(MAX_ELEMENTS).any(|element| is(element, value))
                }
                _ => false,
            },
        })
    }
}

const CONTENT: &str = "content";
const BODY: &str = "body";

fn is(found: &Value, value: &ScalarJsonValue) -> bool {
    match (found, value) {
        (Value::Null, ScalarJsonValue::Null) => true,
        (Value::Bool(found), ScalarJsonValue::Bool(value)) => found == value,
        (Value::Number(found), ScalarJsonValue::Integer(value)) => found.as_i64() == Some(i64::from(*value)),
        (Value::String(found), ScalarJsonValue::String(value)) => found == value,
        _ => false,
    }
}

impl<'a> Properties<'a> {
    pub(crate) const fn of(json: &'a [u8]) -> Self {
        Self { json, parsed: None }
    }

    /// Finds a property by the names on the way to it.
    fn find<N: AsRef<str>>(&mut self, path: &[N], budget: &mut Budget) -> Result<Option<&Value>, Spent> {
        if self.parsed.is_none() {
            budget.take(self.json.len() as u64)?;
            // What is no JSON has no properties.
            self.parsed = Some(serde_json::from_slice(self.json).unwrap_or_default());
        }
        budget.take(path.len() as u64)?;
        let mut found = self.parsed.as_ref();
        for name in path {
            found = found.and_then(Value::as_object).and_then(|object| object.get(name.as_ref()));
        }
        Ok(found)
    }
}
