//! Push rules. They are kept, and told, as the account data `m.push_rules`; a user who changed nothing has none.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{DeletePushRule, EnablePushRule, PutPushRule, SetPushRuleActions},
};
use plexus_push::{EditError, Place, Rules};
use ruma::UserId;

use super::{
    apply::{Stop, Work, refuse},
    data,
};

/// Type of the account data that holds them.
pub(crate) const PUSH_RULES: &str = "m.push_rules";

/// Adds or replaces a rule.
pub(super) fn put(work: &mut Work<'_>, command: &PutPushRule) -> Result<(), Stop> {
    let PutPushRule { kind, rule_id, rule, before, after } = command;
    let place = Place { before: named(before), after: named(after) };
    edit(work, |rules| rules.put(kind, rule_id, rule, place))
}

/// Removes a rule.
pub(super) fn delete(work: &mut Work<'_>, command: &DeletePushRule) -> Result<(), Stop> {
    edit(work, |rules| rules.delete(&command.kind, &command.rule_id))
}

/// Turns a rule on or off.
pub(super) fn enable(work: &mut Work<'_>, command: &EnablePushRule) -> Result<(), Stop> {
    edit(work, |rules| rules.enable(&command.kind, &command.rule_id, command.enabled))
}

/// Sets what a rule does.
pub(super) fn set_actions(work: &mut Work<'_>, command: &SetPushRuleActions) -> Result<(), Stop> {
    edit(work, |rules| rules.set_actions(&command.kind, &command.rule_id, &command.actions))
}

fn named(id: &str) -> Option<&str> {
    (!id.is_empty()).then_some(id)
}

fn edit(work: &mut Work<'_>, change: impl FnOnce(&mut Rules) -> Result<(), EditError>) -> Result<(), Stop> {
    work.active_account()?;
    let user = UserId::parse(work.record.user_id.as_str())
        .map_err(|error| Stop::Poison(format!("user_id is not a user ID: {error}")))?;
    let mut rules = match work.user.contents.get(&(String::new(), PUSH_RULES.to_owned())) {
        Some(content) => Rules::parse(content, &user)
            .map_err(|error| Stop::Poison(format!("stored push rules cannot be read: {error}")))?,
        None => Rules::predefined(&user),
    };
    change(&mut rules).or_else(|error| {
        let reason = match &error {
            EditError::NotFound => ErrorReason::NotFound,
            EditError::Invalid(_) | EditError::TooMany => ErrorReason::InvalidParam,
        };
        refuse(reason, error.to_string())
    })?;
    let content =
        rules.content().map_err(|error| Stop::Poison(format!("push rules cannot be written: {error}")))?;
    data::set(work, "", PUSH_RULES, content.into())
}
