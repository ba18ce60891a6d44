//! Redactions: where an event names its target, whether the redaction takes effect, and what it leaves.

use std::sync::Arc;

use plexus_events::{canonical, redact};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{Intent, Redacted, output_room_event::Body},
};
use ruma::{EventId, OwnedEventId, UserId};

use super::{
    event::{StoredEvent, flags},
    hot::StateEvent,
    ids::EventNid,
    intent::chain,
    outcome::RedactionRow,
    work::{Stop, Work, bytes},
};

/// Type of redaction events.
const REDACTION: &str = "m.room.redaction";

/// A redaction that is allowed.
pub(super) struct Plan {
    target_id: OwnedEventId,
    /// What it takes effect on now; `None` if the target is not known, is of another room, or is redacted already.
    target: Option<Arc<StoredEvent>>,
}

/// Finds out what an event redacts, and puts it into the content where the room version wants it there.
pub(super) fn place_target(
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
    let found = work.event_by_id(target_id);
    let powerful = work.with_power(|power| Ok(power.of_user(sender)? >= power.to_redact()?))?;
    let found = found.flatten().filter(|event| event.room_nid == work.room.identity.nid);
    match &found {
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

/// Carries out a redaction whose event was just stored.
pub(super) fn carry_out(work: &mut Work<'_>, plan: Plan, redaction: EventNid) -> Result<(), Stop> {
    work.rows.redactions.push(RedactionRow {
        redacts_id: plan.target_id,
        redaction_nid: redaction,
        room_nid: work.room.identity.nid,
        applied: plan.target.is_some(),
    });
    let Some(target) = plan.target else { return Ok(()) };
    let because = work.event(redaction);
    work.settle()?;
    let Some(because) = because else { return Ok(()) };
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
