//! Receives finished events: runs the checks of the specification on receipt of a PDU, in its order, and inserts the event.
//!
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu)
//!
//! The format and the content hash are checked here; signatures were checked by whoever wrote the input. What fails a
//! check of authorization is kept, as rejected or as soft-failed: what cites it has to be judged, too. What cites events
//! that are missing is parked.

mod checks;
mod cited;

use std::sync::Arc;

use plexus_events::{Pdu, receive as events};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Accepted, Verdict, verdict},
    log::v1::{self, StateBefore, pdu::Kind},
};
use ruma::{OwnedEventId, OwnedUserId, state_res::Event as _};

pub(super) use self::checks::Stage;
use self::cited::{Cited, look_up};
use super::{
    event::{StoredEvent, flags},
    ids::ParkedNid,
    input::RoomInput,
    insert_event::{Disposition, EventInsert, Inserted, insert_event},
    outcome::rejected,
    redaction,
    room::ForwardExtremity,
    rows::{DecisionRow, EventRow},
    snapshot,
    states::{State, StateRef},
    work::{Stop, Work, bad_state, invalid, unsigned},
};
use crate::error_chain::chain;

/// Most servers that may be named as knowing what an event cites.
const MAX_VIA: usize = 20;

/// A finished event, read.
pub(super) struct Incoming {
    pub(super) id: OwnedEventId,
    pub(super) pdu: Pdu,
    json: Vec<u8>,
    event_type: String,
    sender: OwnedUserId,
}

/// Applies a finished event, which is that of an input or one of its batch.
pub(super) fn apply(work: &mut Work<'_>, input: &RoomInput, pdu: &v1::Pdu) -> Result<Verdict, Stop> {
    work.following = input.following;
    receive(work, pdu, input.parked)
}

/// Reads an event and checks what needs no state.
pub(super) fn read(work: &Work<'_>, json: &[u8]) -> Result<Incoming, Stop> {
    let received = events::parse(json, work.rules()).and_then(events::Unverified::trust_signatures);
    let received = received.map_err(|error| Stop::Refuse(ErrorReason::InvalidParam, chain(&error)))?;
    let id = received.pdu.id().to_owned();
    let is_create = id == work.room.identity.create_id;
    let of_this_room = match received.pdu.room_id() {
        Some(room_id) => room_id == work.room_id(),
        None => is_create,
    };
    if !of_this_room {
        return Err(Stop::Refuse(ErrorReason::InvalidParam, "the event is of another room".to_owned()));
    }
    Ok(Incoming {
        event_type: received.pdu.event_type().to_string(),
        sender: received.pdu.sender().to_owned(),
        id,
        json: received.json,
        pdu: received.pdu,
    })
}

/// Receives an event of whatever kind.
pub(super) fn receive(
    work: &mut Work<'_>,
    pdu: &v1::Pdu,
    parked: Option<ParkedNid>,
) -> Result<Verdict, Stop> {
    if pdu.via.len() > MAX_VIA {
        return Err(invalid("more than 20 servers in `via`"));
    }
    if !pdu.room_version.is_empty() && pdu.room_version != work.rules().id.as_str() {
        return Err(invalid("the room has another version"));
    }
    let incoming = read(work, &pdu.json)?;
    match pdu.kind() {
        Kind::Unspecified => Err(invalid("the kind of the event is not set")),
        Kind::Outlier if pdu.state_before.is_some() => Err(invalid("an outlier has no state before it")),
        Kind::Outlier => receive_outlier(work, &incoming),
        Kind::New => receive_in_graph(work, pdu, incoming, parked, Disposition::Extremity),
        Kind::Old => receive_in_graph(work, pdu, incoming, parked, Disposition::Backfilled),
    }
}

/// An event that is only wanted as an auth or state event.
fn receive_outlier(work: &mut Work<'_>, incoming: &Incoming) -> Result<Verdict, Stop> {
    let (known, cited) = look_up(work, incoming)?;
    if let Some(known) = known {
        return Ok(repeated(&known));
    }
    if !cited.missing_auth.is_empty() {
        return Err(Stop::Refuse(
            ErrorReason::BadState,
            format!("the event cites auth events that are not known, such as {}", cited.missing_auth[0]),
        ));
    }
    let refused = store_outlier(work, incoming, &cited.auth)?;
    work.note_arrived(&incoming.id, true)?;
    Ok(match refused {
        Some(rule) => forbidden(Stage::AuthEvents, &rule),
        None => accepted(&incoming.id, 0, false),
    })
}

/// Stores an event without a place in the graph; returns the rule that its auth events fail.
pub(super) fn store_outlier(
    work: &mut Work<'_>,
    incoming: &Incoming,
    auth_events: &[Arc<StoredEvent>],
) -> Result<Option<String>, Stop> {
    let refused = checks::check_auth_events(work, incoming, auth_events)?.err().map(|refused| refused.0);
    let nid = if incoming.id == work.room.identity.create_id {
        work.room.identity.create_nid
    } else {
        work.counters.event()
    };
    let local = incoming.sender.server_name() == work.env.server_name;
    let event = StoredEvent {
        nid,
        event_id: incoming.id.clone(),
        room_nid: work.room.identity.nid,
        event_type: incoming.event_type.clone(),
        state_key: incoming.pdu.state_key().map(str::to_owned),
        sender: incoming.sender.clone(),
        depth: incoming.pdu.depth(),
        flags: flags::OUTLIER
            | if refused.is_some() { flags::REJECTED } else { 0 }
            | if local { flags::LOCAL } else { 0 },
        auth_generation: generation(auth_events),
        members_root: None,
        other_root: None,
        seq: None,
        origin_server_ts: incoming.pdu.origin_server_ts().get().into(),
        auth_nids: auth_events.iter().map(|event| event.nid).collect(),
        prev_nids: Vec::new(),
        replaces_nid: None,
        json: super::work::bytes(incoming.json.clone()),
    };
    if let Some(rule) = &refused {
        decide(work, &event.event_id, Some(nid), Stage::AuthEvents, rule.clone());
    }
    work.rows.events.push(EventRow {
        event: Arc::new(event),
        received_ts: work.record.produced_ts,
        visibility: 0,
        txn_device_id: None,
        txn_id: None,
    });
    Ok(refused)
}

/// An event that has its place in the graph.
fn receive_in_graph(
    work: &mut Work<'_>,
    pdu: &v1::Pdu,
    incoming: Incoming,
    parked: Option<ParkedNid>,
    disposition: Disposition,
) -> Result<Verdict, Stop> {
    let parked_events = work.parked().map(drop);
    let (known, cited) = look_up(work, &incoming)?;
    parked_events?;
    work.expire_parked()?;
    if let Some(known) = known.as_ref().filter(|known| known.lacks(flags::OUTLIER)) {
        work.unpark(parked, &incoming.id)?;
        return Ok(repeated(known));
    }
    if let Some(state_before) = &pdu.state_before {
        if !cited.missing_auth.is_empty() {
            return Err(bad_state("the event cites auth events that are not known"));
        }
        work.unpark(parked, &incoming.id)?;
        let remote = snapshot::read(work, state_before)?;
        return check_and_insert(work, incoming, known, cited, (disposition, pdu.relay), Some(remote));
    }
    if work.room.forward_extremities.is_empty() {
        return Err(Stop::Refuse(ErrorReason::RoomUnknown, "the room is not known here".to_owned()));
    }
    if cited.missing_auth.is_empty() && cited.missing_prevs.is_empty() {
        work.unpark(parked, &incoming.id)?;
        return check_and_insert(work, incoming, known, cited, (disposition, pdu.relay), None);
    }
    if disposition == Disposition::Backfilled {
        return Err(bad_state("the state before the event is not known"));
    }
    work.park(pdu, &incoming.id, cited.missing_prevs, cited.missing_auth)
}

/// Runs the three checks of authorization, and inserts the event accordingly. `relay`: whether this server hands it on.
/// `remote`: the state before the event, as another server tells it.
fn check_and_insert(
    work: &mut Work<'_>,
    incoming: Incoming,
    known: Option<Arc<StoredEvent>>,
    cited: Cited,
    (disposition, relay): (Disposition, bool),
    remote: Option<snapshot::RemoteState>,
) -> Result<Verdict, Stop> {
    let prevs: Vec<ForwardExtremity> = cited.prevs.iter().map(|prev| prev.as_ref().into()).collect();
    let prev_nids: Vec<_> = prevs.iter().map(|prev| prev.nid).collect();
    let was_incipient = work.room.forward_extremities.is_empty();
    let disposition = match (&remote, disposition) {
        (Some(_), Disposition::Extremity) if !work.has_joined_local()? => Disposition::SoleExtremity,
        _ => disposition,
    };
    let before = match &remote {
        Some(remote) => {
            let mut states: Vec<State> = cited.prevs.iter().map(|prev| State::after(prev)).collect();
            states.insert(0, remote.state.clone());
            StateRef::State(work.resolve(&states)?)
        }
        None if !was_incipient && work.are_forward_extremities(&prev_nids) => StateRef::Current,
        None => {
            let states: Vec<State> = cited.prevs.iter().map(|prev| State::after(prev)).collect();
            StateRef::State(work.resolve(&states)?)
        }
    };
    let failed = checks::check(work, &incoming, &cited, &before, disposition)?;
    let visibility = work.visibility_at(&before)?;

    let final_disposition = match &failed {
        Some((Stage::CurrentState, _)) => Disposition::SoftFailed,
        Some(_) => Disposition::Rejected,
        None => disposition,
    };
    if let (Disposition::SoleExtremity, true, Some(remote)) = (final_disposition, was_incipient, &remote) {
        // From here on the room is what the snapshot tells; the event changes that like any other state.
        work.room.joined_members = remote.joined;
        work.room.invited_members = remote.invited;
        work.room.members = remote.state.members.clone();
        work.room.other = remote.state.other.clone();
        work.room.snapshot = Some(remote.token);
        // Whatever was looked at before was looked at in a room without a state.
        work.room.state_cache = Arc::default();
    }
    let nid = match &known {
        Some(known) => known.nid,
        None => work.counters.event(),
    };
    let event = EventInsert {
        nid,
        event_id: incoming.id.clone(),
        json: incoming.json.clone(),
        event_type: &incoming.event_type,
        state_key: incoming.pdu.state_key(),
        sender: &incoming.sender,
        depth: incoming.pdu.depth(),
        auth_generation: generation(&cited.auth),
        origin_server_ts: incoming.pdu.origin_server_ts().get().into(),
        auth_nids: cited.auth.iter().map(|event| event.nid).collect(),
        visibility,
        txn: None,
        was_outlier: known.is_some(),
        relay,
        gap_before: remote.is_some() && !cited.missing_prevs.is_empty(),
    };
    let inserted = insert_event(work, event, final_disposition, &before, &prevs)?;
    // While the room is only being joined, its chunks tell which rows of members and facts there are to be deleted.
    if let Some(remote) = &remote
        && !work.room.forward_extremities.is_empty()
    {
        work.rows.snapshots_used.push((work.room.identity.nid, remote.token));
    }
    let is_refused = matches!(final_disposition, Disposition::Rejected | Disposition::SoftFailed);
    // What lies before the timeline is looked for behind refused events, too.
    if !is_refused || disposition == Disposition::Backfilled {
        note_gaps(work, &inserted, &cited.missing_prevs);
    }
    if !is_refused {
        redaction::arrive(work, &inserted, &before)?;
    }
    fill_gap(work, &incoming.id)?;
    if let Some((stage, rule)) = &failed {
        decide(work, &incoming.id, Some(nid), *stage, rule.clone());
    }
    work.note_arrived(&incoming.id, false)?;
    Ok(match failed {
        None => accepted(&incoming.id, inserted.seq, false),
        Some((Stage::CurrentState, _)) => accepted(&incoming.id, 0, true),
        Some((stage, rule)) => forbidden(stage, &rule),
    })
}

/// Notes what an accepted event cites and nobody has.
fn note_gaps(work: &mut Work<'_>, inserted: &Inserted, missing: &[OwnedEventId]) {
    let room = work.room.identity.nid;
    for id in missing {
        work.room.has_gaps = true;
        work.rows.backward_refs.push((room, id.clone(), inserted.nid));
    }
}

/// The event is no longer missing.
fn fill_gap(work: &mut Work<'_>, id: &OwnedEventId) -> Result<(), Stop> {
    if work.room.has_gaps && work.arrival(id)?.referenced {
        work.rows.backward_refs_filled.push((work.room.identity.nid, id.clone()));
    }
    Ok(())
}

/// Keeps why an event was refused.
pub(super) fn decide(
    work: &mut Work<'_>,
    event_id: &OwnedEventId,
    event_nid: Option<super::EventNid>,
    stage: Stage,
    rule: String,
) {
    work.rows.decisions.push(DecisionRow {
        event_id: event_id.clone(),
        room_nid: work.room.identity.nid,
        event_nid,
        stage: stage.as_str(),
        rule,
        decided_ts: work.record.produced_ts,
    });
}

/// Generation of an event with these auth events.
fn generation(auth_events: &[Arc<StoredEvent>]) -> i32 {
    auth_events.iter().map(|event| event.auth_generation).max().map_or(0, |highest| highest.saturating_add(1))
}

fn accepted(id: &OwnedEventId, seq: i64, soft_failed: bool) -> Verdict {
    let accepted = Accepted {
        event_id: id.to_string(),
        seq: unsigned(seq),
        soft_failed,
        duplicate: false,
        results: Vec::new(),
        ..Accepted::default()
    };
    Verdict { outcome: Some(verdict::Outcome::Accepted(accepted)) }
}

/// The verdict on an event that is known already.
fn repeated(known: &StoredEvent) -> Verdict {
    if !known.lacks(flags::REJECTED) {
        return rejected(ErrorReason::Forbidden, "the event was rejected before");
    }
    let accepted = Accepted {
        event_id: known.event_id.to_string(),
        seq: unsigned(known.seq.unwrap_or(0)),
        soft_failed: !known.lacks(flags::SOFT_FAILED),
        duplicate: true,
        results: Vec::new(),
        ..Accepted::default()
    };
    Verdict { outcome: Some(verdict::Outcome::Accepted(accepted)) }
}

fn forbidden(stage: Stage, rule: &str) -> Verdict {
    rejected(ErrorReason::Forbidden, format!("{}: {rule}", stage.as_str()))
}

/// Applies a parked event with a state before it that was fetched.
pub(super) fn receive_with_state(
    work: &mut Work<'_>,
    pdu: &v1::Pdu,
    parked: ParkedNid,
    state_before: &StateBefore,
) -> Result<Verdict, Stop> {
    let pdu = v1::Pdu { state_before: Some(state_before.clone()), ..pdu.clone() };
    receive(work, &pdu, Some(parked))
}
