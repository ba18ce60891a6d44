//! Changing rules.

use std::hash::Hash;

use indexmap::{Equivalent, IndexSet};
use ruma::{
    OwnedRoomId, OwnedUserId,
    push::{
        Action, ConditionalPushRule, NewConditionalPushRule, NewPatternedPushRule, NewSimplePushRule,
        PatternedPushRule, PushCondition, RemovePushRuleError, RuleKind, Ruleset, SimplePushRule,
    },
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    Rules,
    bounds::{self, MAX_ACTIONS, MAX_RULES, MAX_SEARCHING_RULES},
};

/// Most bytes of a rule ID.
const MAX_ID_BYTES: usize = 255;
/// What older versions of the specification had. Clients find them again as they left them; they do nothing.
const HISTORICAL: [&str; 2] = ["dont_notify", "coalesce"];

/// Why rules cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is no such rule.
    #[error("the push rule was not found")]
    NotFound,
    /// What was asked makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There are too many rules.
    #[error("there are too many push rules")]
    TooMany,
}

/// Where a rule is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place<'a> {
    /// Right before this rule: next more important.
    pub before: Option<&'a str>,
    /// Right after this rule: next less important.
    pub after: Option<&'a str>,
}

/// The parts of a rule that users send.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    actions: &'a RawValue,
    #[serde(default)]
    conditions: Vec<PushCondition>,
    pattern: Option<String>,
}

impl Rules {
    /// Adds a rule, or replaces the one of that ID; whether that is enabled stays as it is. `body` is what the client
    /// sent.
    pub fn put(&mut self, kind: &str, id: &str, body: &[u8], place: Place<'_>) -> Result<(), EditError> {
        let kind = kind_of(kind)?;
        check_id(id)?;
        for other in [place.before, place.after].into_iter().flatten() {
            if other.starts_with('.') {
                return invalid("a rule cannot be placed by a predefined one");
            }
        }
        let body: Body<'_> = serde_json::from_slice(body)
            .map_err(|error| EditError::Invalid(format!("the rule does not fit: {error}")))?;
        let actions = read_actions(body.actions.get().as_bytes())?;
        bounds::check_conditions(&body.conditions).or_else(invalid)?;
        body.pattern.as_deref().map_or(Ok(()), bounds::check_pattern).or_else(invalid)?;
        let mut changed = self.ruleset().clone();
        let set = &mut changed;
        match kind {
            RuleKind::Override => {
                let new = NewConditionalPushRule::new(id.to_owned(), body.conditions, actions);
                // `.m.rule.master` stays the first of all.
                let kept = set.override_.get(id).map(|rule| rule.enabled);
                let mut rule = ConditionalPushRule::from(new);
                rule.enabled = kept.unwrap_or(true);
                insert(&mut set.override_, rule, id, 1, place)
            }
            RuleKind::Underride => {
                let new = NewConditionalPushRule::new(id.to_owned(), body.conditions, actions);
                let kept = set.underride.get(id).map(|rule| rule.enabled);
                let mut rule = ConditionalPushRule::from(new);
                rule.enabled = kept.unwrap_or(true);
                insert(&mut set.underride, rule, id, 0, place)
            }
            RuleKind::Content => {
                let Some(pattern) = body.pattern else { return invalid("the rule has no `pattern`") };
                let new = NewPatternedPushRule::new(id.to_owned(), pattern, actions);
                let kept = set.content.get(id).map(|rule| rule.enabled);
                let mut rule = PatternedPushRule::from(new);
                rule.enabled = kept.unwrap_or(true);
                insert(&mut set.content, rule, id, 0, place)
            }
            RuleKind::Room => {
                let room = OwnedRoomId::try_from(id)
                    .map_err(|_| EditError::Invalid("the rule ID is not a room ID".to_owned()))?;
                let kept = set.room.get(id).map(|rule| rule.enabled);
                let mut rule = SimplePushRule::from(NewSimplePushRule::new(room, actions));
                rule.enabled = kept.unwrap_or(true);
                insert(&mut set.room, rule, id, 0, place)
            }
            RuleKind::Sender => {
                let user = OwnedUserId::try_from(id)
                    .map_err(|_| EditError::Invalid("the rule ID is not a user ID".to_owned()))?;
                let kept = set.sender.get(id).map(|rule| rule.enabled);
                let mut rule = SimplePushRule::from(NewSimplePushRule::new(user, actions));
                rule.enabled = kept.unwrap_or(true);
                insert(&mut set.sender, rule, id, 0, place)
            }
            _ => Err(EditError::NotFound),
        }?;
        let searching = |set: &Ruleset| {
            set.iter().filter(|rule| !rule.is_server_default() && bounds::is_searching(*rule)).count()
        };
        // What is beyond the bound already may still be changed.
        let after = searching(&changed);
        if after > MAX_SEARCHING_RULES && after > searching(self.ruleset()) {
            return Err(EditError::TooMany);
        }
        *self.edit() = changed;
        Ok(())
    }

    /// Removes a rule of the user's.
    pub fn delete(&mut self, kind: &str, id: &str) -> Result<(), EditError> {
        self.edit().remove(kind_of(kind)?, id).map_err(|error| match error {
            RemovePushRuleError::ServerDefault => {
                EditError::Invalid("a predefined rule cannot be removed".to_owned())
            }
            _ => EditError::NotFound,
        })
    }

    /// Turns a rule on or off.
    pub fn enable(&mut self, kind: &str, id: &str, enabled: bool) -> Result<(), EditError> {
        self.edit().set_enabled(kind_of(kind)?, id, enabled).map_err(|_| EditError::NotFound)
    }

    /// Sets what a rule does; `actions` is the JSON text of a list.
    pub fn set_actions(&mut self, kind: &str, id: &str, actions: &[u8]) -> Result<(), EditError> {
        let actions = read_actions(actions)?;
        self.edit().set_actions(kind_of(kind)?, id, actions).map_err(|_| EditError::NotFound)
    }
}

fn invalid<T>(message: &str) -> Result<T, EditError> {
    Err(EditError::Invalid(message.to_owned()))
}

fn kind_of(kind: &str) -> Result<RuleKind, EditError> {
    Ok(match kind {
        "override" => RuleKind::Override,
        "content" => RuleKind::Content,
        "room" => RuleKind::Room,
        "sender" => RuleKind::Sender,
        "underride" => RuleKind::Underride,
        _ => return Err(EditError::NotFound),
    })
}

fn check_id(id: &str) -> Result<(), EditError> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return invalid("the rule ID must have 1 to 255 bytes");
    }
    if id.starts_with('.') {
        return invalid("rule IDs that begin with a dot are reserved for predefined rules");
    }
    if id.contains(['/', '\\', '\0']) {
        return invalid("the rule ID must not contain slashes");
    }
    Ok(())
}

/// Reads a list of actions.
fn read_actions(json: &[u8]) -> Result<Vec<Action>, EditError> {
    let values: Vec<Value> = serde_json::from_slice(json)
        .map_err(|error| EditError::Invalid(format!("`actions` does not fit: {error}")))?;
    if values.len() > MAX_ACTIONS {
        return invalid("a rule must not have more than 16 actions");
    }
    let mut actions = Vec::with_capacity(values.len());
    for value in values {
        match &value {
            Value::String(name) if name == "notify" || HISTORICAL.contains(&name.as_str()) => {}
            Value::Object(fields) if fields.get("set_tweak").is_some_and(Value::is_string) => {}
            _ => return invalid("an action is neither `notify` nor a tweak"),
        }
        let action = serde_json::from_value(value)
            .map_err(|error| EditError::Invalid(format!("an action does not fit: {error}")))?;
        actions.push(action);
    }
    Ok(actions)
}

/// Puts a rule into its place. Only one that is new or has a place is moved.
fn insert<R>(
    set: &mut IndexSet<R>,
    rule: R,
    id: &str,
    first: usize,
    place: Place<'_>,
) -> Result<(), EditError>
where
    R: Hash + Eq + Clone,
    str: Equivalent<R>,
{
    let known = set.get_index_of(id);
    // Those that are predefined are few, and count too.
    if known.is_none() && set.len() >= MAX_RULES {
        return Err(EditError::TooMany);
    }
    let mut rest = set.clone();
    if let Some(known) = known {
        rest.shift_remove_index(known);
    }
    let find = |other: &str| match rest.get_index_of(other) {
        Some(index) => Ok(index),
        None => Err(EditError::Invalid(format!("before/after rule not found: {other}"))),
    };
    let after = place.after.map(find).transpose()?.map(|index| index + 1);
    let before = place.before.map(find).transpose()?;
    if let (Some(after), Some(before)) = (after, before)
        && before < after
    {
        return invalid("`before` names a rule that is more important than `after`");
    }
    let index = before.or(after).or(known).unwrap_or(first).min(rest.len());
    rest.shift_insert(index, rule);
    *set = rest;
    Ok(())
}
