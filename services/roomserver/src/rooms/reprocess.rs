//! Judges events again on behalf of an operator.
//!
//! Only what the order of arrival has decided can end otherwise: what was given up because something was missing, and
//! what the current state refused. Whatever else was refused ends the same way whenever it comes.

use std::sync::Arc;

use plexus_events::Pdu;
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{PduResult, Verdict},
    log::v1::{FetchRequest, NewEvent, Reprocess, StateDelta, output_room_event::Body},
};
use ruma::{EventId, OwnedEventId};

use super::{
    event::{StoredEvent, flags},
    insert_event::{Inserted, visibility_column},
    outcome::accepted,
    receive::{Stage, decide},
    redaction,
    rows::EventRow,
    states::{State, StateRef},
    work::{Stop, Work, bad_state, invalid, unsigned},
};

/// Applies the wish of an operator.
pub(super) fn apply(work: &mut Work<'_>, request: &Reprocess) -> Result<Verdict, Stop> {
    if request.event_id.is_empty() {
        return ask_for_all(work);
    }
    let id = EventId::parse(&request.event_id).map_err(|_| invalid("`event_id` is not an event ID"))?;
    one(work, &id)
}

/// Asks once more for what all parked events lack.
fn ask_for_all(work: &mut Work<'_>) -> Result<Verdict, Stop> {
    let parked: Vec<OwnedEventId> = work.list_parked()?;
    let mut results = Vec::with_capacity(parked.len());
    for id in &parked {
        results.extend(work.ask_anew(id)?.map(|verdict| result(id, verdict)));
    }
    Ok(with_results(results))
}

fn one(work: &mut Work<'_>, id: &OwnedEventId) -> Result<Verdict, Stop> {
    if let Some(verdict) = work.ask_anew(id)? {
        return Ok(with_results(vec![result(id, verdict)]));
    }
    let known = work.event_by_id(id)?.filter(|event| event.room_nid == work.room.identity.nid);
    match known {
        None => Ok(ask_for(work, id)),
        Some(event) if !event.lacks(flags::SOFT_FAILED) => show(work, &event),
        Some(event) if event.lacks(flags::REJECTED | flags::OUTLIER) => {
            Ok(accepted(Some(&event.event_id), event.seq.unwrap_or(0)))
        }
        Some(event) if !event.lacks(flags::REJECTED) => {
            Err(bad_state("the event was rejected: what it cites decides that, whenever it comes"))
        }
        Some(_) => Err(bad_state("the event is only known as an auth or state event")),
    }
}

/// Asks for an event that was given up, as if nothing had ever been known of it.
fn ask_for(work: &mut Work<'_>, id: &EventId) -> Verdict {
    work.rows.decisions_dropped.push(id.to_owned());
    let request = FetchRequest {
        missing_prev_event_ids: vec![id.to_string()],
        latest_event_ids: work.room.extremity_ids(),
        ..FetchRequest::default()
    };
    let seq = work.put_out(None, Body::Fetch(request));
    accepted(None, seq)
}

/// Puts a soft-failed message at the end of the timeline, if the current state allows it by now. It stays what it is in
/// the event graph: soft failure has never changed a state.
fn show(work: &mut Work<'_>, event: &Arc<StoredEvent>) -> Result<Verdict, Stop> {
    if event.state_key.is_some() {
        return Err(bad_state("a soft-failed state event counts as soon as an event cites it"));
    }
    let pdu = Pdu::from_checked(event.event_id.clone(), &event.json, false)
        .map_err(|error| Stop::Poison(format!("stored event {} cannot be read: {error}", event.nid)))?;
    if let Err(refused) = work.check_against(&pdu, &StateRef::Current)? {
        decide(work, &event.event_id, Some(event.nid), Stage::CurrentState, refused.0.clone());
        return Ok(super::outcome::rejected(ErrorReason::Forbidden, refused.0));
    }
    let before = StateRef::State(State::after(event));
    let visibility = work.visibility_at(&before)?;
    let seq = work.counters.next_seq;
    let record = NewEvent {
        event_id: event.event_id.to_string(),
        json: event.json.clone(),
        latest_event_ids: work.room.extremity_ids(),
        depth: unsigned(event.depth),
        delta: Some(StateDelta::default()),
        visibility: visibility.into(),
        txn: None,
        soft_failed: false,
        relay: false,
        gap_before: false,
        server_changes: None,
    };
    work.put_out(Some(event.nid), Body::NewEvent(record));
    let mut shown = StoredEvent::clone(event);
    shown.flags &= !flags::SOFT_FAILED;
    shown.seq = Some(seq);
    // The current state is not the state after it.
    work.room.forked = true;
    work.keep_state(seq);
    work.rows.placed.push(EventRow {
        event: Arc::new(shown),
        received_ts: work.record.produced_ts,
        visibility: visibility_column(visibility),
        txn_device_id: None,
        txn_id: None,
    });
    work.rows.decisions_dropped.push(event.event_id.clone());
    let placed = Inserted { nid: event.nid, event_id: event.event_id.clone(), seq };
    redaction::arrive(work, &placed, &before)?;
    Ok(accepted(Some(&event.event_id), seq))
}

fn result(id: &EventId, verdict: Verdict) -> PduResult {
    PduResult { event_id: id.to_string(), verdict: Some(verdict) }
}

fn with_results(results: Vec<PduResult>) -> Verdict {
    let mut verdict = accepted(None, 0);
    if let Some(plexus_proto::input::v1::verdict::Outcome::Accepted(accepted)) = &mut verdict.outcome {
        accepted.results = results;
    }
    verdict
}
