//! The seam to the authorization rules: all of ruma's checks are called from here.

use ruma::{
    EventId, UserId,
    events::{StateEventType, TimelineEventType},
    state_res,
};
use serde_json::value::RawValue;

use crate::{pdu::Pdu, version::RoomRules};

/// Says which rule refuses an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Lists the state entries that authorize an event: `auth_events` are those of them that exist.
///
/// # Errors
///
/// Fails if the content of a member event is malformed.
pub fn auth_types(
    event_type: &TimelineEventType,
    sender: &UserId,
    state_key: Option<&str>,
    content: &RawValue,
    rules: &RoomRules,
) -> Result<Vec<(StateEventType, String)>, Refused> {
    state_res::auth_types_for_event(event_type, sender, state_key, content, &rules.rules.authorization)
        .map_err(Refused)
}

/// Checks what needs no state: the form of a create event, and the auth events that any other event cites.
/// `fetch` finds these, and in room versions 12 and later also the create event.
///
/// # Errors
///
/// Fails with the rule that refuses the event.
pub fn check_independent<'a>(
    event: &Pdu,
    rules: &RoomRules,
    fetch: impl Fn(&EventId) -> Option<&'a Pdu>,
) -> Result<(), Refused> {
    state_res::check_state_independent_auth_rules(&rules.rules.authorization, event, fetch).map_err(Refused)
}

/// Checks an event against a state.
///
/// # Errors
///
/// Fails with the rule that refuses the event.
pub fn check_dependent<'a>(
    event: &Pdu,
    rules: &RoomRules,
    fetch: impl Fn(&StateEventType, &str) -> Option<&'a Pdu>,
) -> Result<(), Refused> {
    state_res::check_state_dependent_auth_rules(&rules.rules.authorization, event, fetch).map_err(Refused)
}
