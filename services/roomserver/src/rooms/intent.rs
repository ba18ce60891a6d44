//! Builds, checks, signs and inserts events of local users.

use std::sync::Arc;

use plexus_events::{BuildError, Draft, Pdu, canonical};
use plexus_proto::{common::v1::ErrorReason, input::v1::Verdict, log::v1::Intent};
use ruma::{EventId, OwnedEventId, UserId, events::TimelineEventType};
use serde_json::value::RawValue;

use super::{
    auth_events::is_ordinary,
    insert_event::{Disposition, EventInsert, insert_event},
    outcome::accepted,
    profile, redaction,
    relations::Related,
    room::ForwardExtremity,
    state::MEMBER,
    state_cache::StateEvent,
    states::{State, StateRef},
    value::is_name,
    work::{Stop, Work, all, local_user},
};
use crate::error_chain::chain;

/// Most bytes of a content before it is made canonical; what is longer cannot fit into an event.
const MAX_CONTENT_BYTES: usize = 256 * 1024;

/// What became of an intent.
pub(super) struct Sent {
    /// The event, or the one that already says the same.
    pub(super) event_id: OwnedEventId,
    /// `seq` of its output record.
    pub(super) seq: i64,
}

impl From<&Arc<StateEvent>> for Sent {
    fn from(event: &Arc<StateEvent>) -> Self {
        Self { event_id: event.event_id.clone(), seq: event.seq }
    }
}

/// Applies an intent.
pub(super) fn apply(work: &mut Work<'_>, intent: &Intent) -> Result<Verdict, Stop> {
    #[cfg(test)]
    super::slow::decide(work, intent)?;
    let sent = send(work, intent)?;
    Ok(accepted(Some(&sent.event_id), sent.seq))
}

/// Builds, checks and stores the event of an intent.
pub(super) fn send(work: &mut Work<'_>, intent: &Intent) -> Result<Sent, Stop> {
    let sender = local_user(work, &intent.sender)?;
    let state_key = intent.state_key.as_deref();
    if intent.content.len() > MAX_CONTENT_BYTES {
        return Err(Stop::Refuse(ErrorReason::TooLarge, "the content is too large".to_owned()));
    }
    if intent.txn.iter().any(|txn| !is_name(&txn.device_id) || !is_name(&txn.txn_id)) {
        let message = "the ID of the device or of the transaction is too long or has a NUL";
        return Err(Stop::Refuse(ErrorReason::InvalidParam, message.to_owned()));
    }
    let mut content = canonical::parse_object(&intent.content)
        .map_err(|error| Stop::Refuse(ErrorReason::BadJson, format!("content: {}", error.detail())))?;
    let redacts = redaction::set_target(work, intent, &mut content)?;
    let mut profile_version = None;
    if intent.r#type == MEMBER {
        if intent.with_profile {
            profile_version = profile::complete(work, state_key, &mut content)?;
        }
        super::restricted::authorize_join(work, sender, state_key, &mut content)?;
    }
    if intent.r#type == "m.room.canonical_alias" && state_key == Some("") {
        super::aliases::check_canonical_alias(work, &content)?;
    }
    let event_type = TimelineEventType::from(intent.r#type.as_str());
    let ordinary = state_key.is_none() && is_ordinary(&event_type);
    let related = match Related::of(work.room.identity.nid, sender, &intent.r#type, &content) {
        // To say the same state again is no repeated annotation.
        Related::Annotates(_) if state_key.is_some() => Related::Freely,
        related => related,
    };

    // All that is needed is looked up before anything stops, so that one round of loading brings all of it.
    let (prev_events, before) = cite(work)?;
    let auth_events = if ordinary {
        work.message_auth_events(sender, &before)
    } else {
        let text = raw(canonical::object_to_vec(&content))?;
        work.event_auth_events(&event_type, sender, state_key, &text, &before)
    };
    let visibility = work.visibility_at(&before);
    let replaced = match state_key {
        Some(state_key) => work.state_at(&before, &intent.r#type, state_key),
        None => Ok(None),
    };
    // What the target is used for comes after the event is known to be allowed.
    let target = redacts.as_deref().map(|target| work.event_by_id(target)).transpose();
    let relation = related.look_up(work);
    let (auth_events, visibility, replaced) = (auth_events?, visibility?, replaced?);
    target.and(relation)?;

    if intent.r#type != MEMBER {
        work.require_joined(sender)?;
    }
    super::local_rules::check(work, intent, &content)?;
    related.check(work)?;
    let unchanged = replaced
        .as_ref()
        .filter(|current| intent.skip_if_unchanged && is_unchanged(current, sender, &content));
    // Who leaves twice asks for nothing, though the rules refuse to let somebody leave who has left.
    if let Some(current) = unchanged.filter(|current| is_own_leave(current, sender, state_key)) {
        return Ok(current.into());
    }
    let redaction = redacts.as_deref().map(|target| redaction::plan(work, sender, target)).transpose()?;

    let (auth_ids, top_level_redacts) = (auth_events.ids(), top_level(work, redacts.as_deref()));
    let room_id = work.room_id().to_owned();
    let prev_ids: Vec<_> = prev_events.iter().map(|extremity| extremity.event_id.clone()).collect();
    let draft = Draft {
        room_id: Some(&room_id),
        sender,
        event_type: &intent.r#type,
        state_key,
        content,
        redacts: top_level_redacts,
        prev_events: &prev_ids,
        auth_events: &auth_ids,
        depth: work.room.depth.saturating_add(1).min(plexus_events::MAX_INTEGER),
        origin_server_ts: intent.origin_server_ts,
    };
    let depth = draft.depth;
    let hashed = draft.hash(work.rules()).map_err(refuse_build)?;
    let event_id = hashed.event_id().to_owned();
    let pdu = || {
        Pdu::from_checked(event_id.clone(), &hashed.unsigned_json(), false)
            .map_err(|error| Stop::Refuse(ErrorReason::InvalidParam, chain(&error)))
    };
    if ordinary {
        work.check_message(&intent.r#type, &auth_events, pdu)?;
    } else {
        let pdu = pdu()?;
        work.check(&pdu, &auth_events)
            .map_err(|stop| explain_member(stop, &intent.r#type, replaced.as_deref(), &pdu))?;
    }
    check_replaced(intent, replaced.as_deref())?;
    // Only now: who may not send the event is not told that it is there.
    if let Some(current) = unchanged {
        return Ok(current.into());
    }
    if let Some(state_key) = state_key {
        let membership = (intent.r#type == MEMBER).then(|| membership_of(&intent.content)).flatten();
        let size = hashed.unsigned_json().len();
        let key = (intent.r#type.as_str(), state_key);
        work.check_weight(sender, key, membership.as_deref(), (replaced.as_deref(), size))?;
    }
    let built = hashed.sign(&work.env.server_name, &work.env.signing_key).map_err(refuse_build)?;
    let event = EventInsert {
        nid: work.counters.event(),
        event_id: built.event_id,
        json: built.json,
        event_type: &intent.r#type,
        state_key,
        sender,
        depth,
        auth_generation: auth_events.generation(),
        origin_server_ts: intent.origin_server_ts,
        auth_nids: auth_events.nids(),
        visibility,
        txn: intent.txn.clone(),
        was_outlier: false,
        relay: true,
        gap_before: false,
    };
    let sent = insert_event(work, event, Disposition::Extremity, &before, &prev_events)?;
    if let Some(redaction) = redaction {
        redaction::carry_out(work, redaction, sent.nid)?;
    }
    related.keep(work, sent.nid);
    if let (Some(version), Some(Ok(user))) = (profile_version, state_key.map(<&UserId>::try_from)) {
        work.mark_profile(user, version);
    }
    Ok(Sent { event_id: sent.event_id, seq: sent.seq })
}

/// The events to cite, and the state before the new event: the current one, if all forward extremities are cited.
fn cite(work: &mut Work<'_>) -> Result<(Vec<ForwardExtremity>, StateRef), Stop> {
    let cited = work.cited();
    if cited.len() == work.room.forward_extremities.len() {
        return Ok((cited, StateRef::Current));
    }
    let events = all(cited.iter().map(|extremity| work.event(extremity.nid)))?;
    let states: Vec<State> = events.iter().map(|event| State::after(event)).collect();
    let state = work.resolve(&states)?;
    Ok((cited, StateRef::State(state)))
}

/// `membership` of a content.
fn membership_of(content: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Content {
        membership: Option<String>,
    }
    serde_json::from_slice::<Content>(content).ok()?.membership
}

fn is_unchanged(current: &StateEvent, sender: &UserId, content: &canonical::Object) -> bool {
    use ruma::state_res::Event as _;
    current.pdu.sender() == sender
        && current.pdu.content_text().as_bytes() == canonical::object_to_vec(content)
}

/// Refuses an event that was meant for another state than the current one.
fn check_replaced(intent: &Intent, current: Option<&StateEvent>) -> Result<(), Stop> {
    let expected = intent.replaces_event_id.as_str();
    if !expected.is_empty() && current.is_none_or(|current| current.event_id != expected) {
        return Err(Stop::Refuse(ErrorReason::BadState, "the state has changed meanwhile".to_owned()));
    }
    let membership = current.and_then(|current| current.membership.as_deref()).unwrap_or("leave");
    if !intent.from_memberships.is_empty() && intent.from_memberships.iter().all(|from| from != membership) {
        return Err(Stop::Refuse(
            ErrorReason::BadState,
            format!("the membership of the user is {membership}"),
        ));
    }
    Ok(())
}

fn is_own_leave(current: &StateEvent, sender: &UserId, state_key: Option<&str>) -> bool {
    current.membership.as_deref() == Some("leave") && state_key == Some(sender.as_str())
}

/// What goes into the event's own `redacts`: versions 11 and later have it in the content.
fn top_level<'r>(work: &Work<'_>, redacts: Option<&'r EventId>) -> Option<&'r EventId> {
    redacts.filter(|_| !work.rules().rules.redaction.content_field_redacts)
}

/// Gives a refused change of membership the reason clients can act on.
fn explain_member(stop: Stop, event_type: &str, current: Option<&StateEvent>, event: &Pdu) -> Stop {
    use ruma::state_res::Event as _;
    let own = event.state_key() == Some(event.sender().as_str());
    let banned = current.and_then(|event| event.membership.as_deref()) == Some("ban");
    match stop {
        Stop::Refuse(ErrorReason::Forbidden, message) if event_type == MEMBER && own && banned => {
            Stop::Refuse(ErrorReason::Banned, message)
        }
        stop => stop,
    }
}

pub(super) fn refuse_build(error: BuildError) -> Stop {
    let reason = match &error {
        BuildError::FieldTooLarge(_) | BuildError::TooLarge | BuildError::TooMany(_) => ErrorReason::TooLarge,
        BuildError::OutOfRange(_) | BuildError::RoomId => ErrorReason::InvalidParam,
        BuildError::Content(_) | BuildError::Serialize(_) => ErrorReason::BadJson,
        BuildError::Version(_) => ErrorReason::UnsupportedRoomVersion,
    };
    Stop::Refuse(reason, chain(&error))
}

fn raw(json: Vec<u8>) -> Result<Box<RawValue>, Stop> {
    let text =
        String::from_utf8(json).map_err(|error| Stop::Refuse(ErrorReason::BadJson, error.to_string()))?;
    RawValue::from_string(text).map_err(|error| Stop::Refuse(ErrorReason::BadJson, error.to_string()))
}
