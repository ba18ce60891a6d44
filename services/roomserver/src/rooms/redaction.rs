//! Redacts events: finds the target, decides whether the redaction takes effect, and rewrites the event.

use std::sync::Arc;

use plexus_events::{canonical, redact};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{Intent, Redacted, output_room_event::Body},
};
use ruma::{EventId, OwnedEventId, UserId};

use super::{
    event::{StoredEvent, flags},
    ids::EventNid,
    insert_event::Inserted,
    rows::RedactionRow,
    state_cache::StateEvent,
    states::{State, StateRef},
    value::is_name,
    work::{Stop, Work, bytes},
};
use crate::error_chain::chain;

/// Type of redaction events.
const REDACTION: &str = "m.room.redaction";

/// A redaction that is allowed.
pub(super) struct Plan {
    target_id: OwnedEventId,
    /// What it takes effect on now; `None` if the target is not known, is of another room, or is redacted already.
    target: Option<Arc<StoredEvent>>,
}

/// Finds out what an event redacts, and puts it into the content where the room version wants it there.
pub(super) fn set_target(
    work: &Work<'_>,
    intent: &Intent,
    content: &mut canonical::Object,
) -> Result<Option<OwnedEventId>, Stop> {
    if intent.r#type != REDACTION || intent.state_key.is_some() {
        return Ok(None);
    }
    let in_content = work.rules().rules.redaction.content_field_redacts;
    let named = match (intent.redacts.as_str(), content.get("redacts")) {
        ("", Some(canonical::Value::String(named))) if in_content => named.clone(),
        ("", Some(_)) if in_content => return Err(bad_target("`redacts` is not a string")),
        ("", _) => return Ok(None),
        (named, _) => named.to_owned(),
    };
    if !is_name(&named) {
        return Err(bad_target("`redacts` is too long or has a NUL"));
    }
    let target = EventId::parse(&named).map_err(|error| bad_target(&format!("`redacts`: {error}")))?;
    if in_content {
        content.insert("redacts".to_owned(), canonical::Value::String(named));
    }
    Ok(Some(target))
}

fn bad_target(message: &str) -> Stop {
    Stop::Refuse(ErrorReason::InvalidParam, message.to_owned())
}

/// Decides whether a local user may redact an event: their own, or any with the power to redact.
///
/// The rules of the room versions let every user of a server redact every event of that server's users, and leave it to
/// the server to ask for more: this is where it does.
pub(super) fn plan(work: &mut Work<'_>, sender: &UserId, target_id: &EventId) -> Result<Plan, Stop> {
    let found = work.event_by_id(target_id)?;
    let powerful = work.with_power(|power| Ok(power.of_user(sender)? >= power.to_redact()?))?;

    match &found {
        // An event that is not known may be on its way; one of another room never comes to this one.
        Some(event) if event.room_nid != work.room.identity.nid => {
            return Err(Stop::Refuse(
                ErrorReason::NotFound,
                "the event to redact is not in the room".to_owned(),
            ));
        }
        Some(event) if event.event_type == "m.room.create" => {
            return Err(Stop::forbidden("the create event of a room cannot be redacted"));
        }
        Some(event) if !powerful && event.sender != sender => {
            return Err(Stop::forbidden("sender does not have enough power to redact this event"));
        }
        None if !powerful => {
            return Err(Stop::Refuse(ErrorReason::NotFound, "the event to redact is not known".to_owned()));
        }
        Some(_) | None => {}
    }
    let target = found.filter(|event| event.flags & flags::REDACTED == 0);
    Ok(Plan { target_id: target_id.to_owned(), target })
}

/// An event of another server has its place: it may redact another one, and others may have redacted it before it came.
pub(super) fn arrive(work: &mut Work<'_>, placed: &Inserted, before: &StateRef) -> Result<(), Stop> {
    let event = work.event(placed.nid)?;
    if let Some(target_id) = target_of(work, &event) {
        let known = work.event_by_id(&target_id)?.filter(|event| event.room_nid == work.room.identity.nid);
        let target = match known {
            Some(target) if takes_effect(work, &event, &target, before)? => Some(target),
            Some(_) | None => None,
        };
        carry_out(work, Plan { target_id, target }, event.nid)?;
    }
    for redaction in work.arrival(&placed.event_id)?.redactions {
        let redaction = work.event(redaction)?;
        let event = work.event(placed.nid)?;
        let at = StateRef::State(State::after(&redaction));
        let counts = redaction.lacks(flags::REJECTED | flags::SOFT_FAILED);
        if counts && takes_effect(work, &redaction, &event, &at)? {
            carry_out(work, Plan { target_id: event.event_id.clone(), target: Some(event) }, redaction.nid)?;
        }
    }
    Ok(())
}

/// What a redaction event redacts.
fn target_of(work: &Work<'_>, event: &StoredEvent) -> Option<OwnedEventId> {
    if event.event_type != REDACTION || event.state_key.is_some() {
        return None;
    }
    let object = canonical::parse_object(&event.json).ok()?;
    let holder = if work.rules().rules.redaction.content_field_redacts {
        object.get("content")?.as_object()?
    } else {
        &object
    };
    EventId::parse(holder.get("redacts")?.as_str().filter(|id| is_name(id))?).ok()
}

/// Whether a redaction that is part of the room takes effect on an event: if its sender has the power to redact, or is of
/// the same server as the sender of the event.
fn takes_effect(
    work: &mut Work<'_>,
    redaction: &StoredEvent,
    target: &StoredEvent,
    at: &StateRef,
) -> Result<bool, Stop> {
    if target.room_nid != redaction.room_nid
        || target.event_type == "m.room.create"
        || !target.lacks(flags::REDACTED)
    {
        return Ok(false);
    }
    if redaction.sender.server_name() == target.sender.server_name() {
        return Ok(true);
    }
    let powerful =
        work.with_power_at(at, |power| Ok(power.of_user(&redaction.sender)? >= power.to_redact()?));
    match powerful {
        // Power levels that cannot be read give nobody power.
        Err(Stop::Refuse(..)) => Ok(false),
        other => other,
    }
}

/// An entry of the current state takes less once it is redacted.
fn lighten(
    work: &mut Work<'_>,
    target: &StoredEvent,
    state_key: &str,
    redacted: &StateEvent,
) -> Result<(), Stop> {
    if let Some(current) = work.state(&target.event_type, state_key)?
        && current.nid == target.nid
    {
        work.weigh(&target.event_type, Some(&current), Some(redacted));
    }
    Ok(())
}

/// Carries out a redaction whose event was just stored.
pub(super) fn carry_out(work: &mut Work<'_>, plan: Plan, redaction: EventNid) -> Result<(), Stop> {
    work.rows.redactions.push(RedactionRow {
        redacts_id: plan.target_id,
        redaction_nid: redaction,
        room_nid: work.room.identity.nid,
        applied: plan.target.is_some(),
    });
    let Some(target) = plan.target else { return Ok(()) };
    let because = work.event(redaction)?;
    let json = redact::redact(&target.json, &because.json, work.rules()).map_err(|error| {
        Stop::Poison(format!("event {} cannot be redacted: {}", target.nid, chain(&error)))
    })?;
    let json = bytes(json);
    let redacted = Arc::new(StoredEvent {
        flags: target.flags | flags::REDACTED,
        json: json.clone(),
        ..StoredEvent::clone(&target)
    });
    if let Some(state_key) = &redacted.state_key {
        let parsed = StateEvent::parse(&redacted).map_err(|error| {
            Stop::Poison(format!("redacted event {} is malformed: {error}", redacted.nid))
        })?;
        lighten(work, &target, state_key, &parsed)?;
        work.refresh_state(&redacted.event_type, state_key, parsed);
    }
    let record = Redacted {
        event_id: redacted.event_id.to_string(),
        json,
        redaction_event_id: because.event_id.to_string(),
    };
    work.put_out(Some(redacted.nid), Body::Redacted(record));
    work.rows.rewritten.push(redacted);
    Ok(())
}
