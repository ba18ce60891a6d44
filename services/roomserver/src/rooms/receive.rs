//! Finished events: the checks of the specification on receipt of a PDU, in its order.
//!
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu)
//!
//! The format and the content hash are checked here; signatures were checked by whoever wrote the input. What fails a
//! check of authorization is kept, as rejected or as soft-failed: what cites it has to be judged, too. What cites events
//! that are missing is parked.

use std::sync::Arc;

use plexus_events::{Pdu, auth, receive as events};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Accepted, Verdict, verdict},
    log::v1::{self, StateBefore, pdu::Kind},
};
use ruma::{OwnedEventId, OwnedUserId, state_res::Event as _};

use super::{
    apply::RoomInput,
    event::{StoredEvent, flags},
    ids::ParkedNid,
    intent::chain,
    outcome::{DecisionRow, Outcome, rejected},
    place::{self, Draft, Place, Placed, Standing},
    redaction,
    room::Latest,
    snapshot,
    states::{At, State},
    work::{Stop, Work, unsigned},
};

/// Most servers that may be named as knowing what an event cites.
const MAX_VIA: usize = 20;

/// Which check an event failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Against its auth events.
    AuthEvents,
    /// Against the state before it.
    StateBefore,
    /// Against the current state.
    CurrentState,
    /// It was parked, and what it waited for did not come.
    Missing,
}

impl Stage {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AuthEvents => "auth_events",
            Self::StateBefore => "state_before",
            Self::CurrentState => "current_state",
            Self::Missing => "missing",
        }
    }
}

/// A finished event, read.
pub(super) struct Incoming {
    pub(super) id: OwnedEventId,
    pub(super) pdu: Pdu,
    json: Vec<u8>,
    event_type: String,
    sender: OwnedUserId,
}

/// Applies a finished event, which is that of an input or one of its batch.
pub(super) fn apply(mut work: Work<'_>, input: &RoomInput, pdu: &v1::Pdu) -> Result<Outcome, Stop> {
    work.following = input.following;
    let verdict = receive(&mut work, pdu, input.parked)?;
    Ok(work.applied(verdict))
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
        Kind::New => receive_placed(work, pdu, incoming, parked, Standing::Front),
        Kind::Old => receive_placed(work, pdu, incoming, parked, Standing::Old),
    }
}

/// What an event cites, as far as it is stored.
struct Cited {
    auth: Vec<Arc<StoredEvent>>,
    prevs: Vec<Arc<StoredEvent>>,
    missing_auth: Vec<OwnedEventId>,
    missing_prevs: Vec<OwnedEventId>,
}

/// Looks up an event and what it cites: in one round of loading.
fn look_up(work: &mut Work<'_>, incoming: &Incoming) -> Result<(Option<Arc<StoredEvent>>, Cited), Stop> {
    let mut cited =
        Cited { auth: Vec::new(), prevs: Vec::new(), missing_auth: Vec::new(), missing_prevs: Vec::new() };
    let room = work.room.identity.nid;
    let known = work.event_by_id(&incoming.id);
    work.arrival(&incoming.id);
    for id in incoming.pdu.auth_event_ids() {
        match work.event_by_id(id) {
            Some(Some(event)) if event.room_nid == room => cited.auth.push(event),
            // An event of another room authorizes nothing; it cannot be had for this one.
            Some(Some(_)) => return Err(invalid("an auth event is of another room")),
            Some(None) => cited.missing_auth.push(id.clone()),
            None => {}
        }
    }
    for id in incoming.pdu.prev_event_ids() {
        match work.event_by_id(id) {
            Some(Some(event)) if event.room_nid != room => {
                return Err(invalid("a previous event is of another room"));
            }
            Some(Some(event)) if event.lacks(flags::OUTLIER) => cited.prevs.push(event),
            Some(_) => cited.missing_prevs.push(id.clone()),
            None => {}
        }
    }
    work.settle()?;
    let known = known.flatten();
    if known.as_ref().is_some_and(|known| known.room_nid != room) {
        return Err(invalid("the event is known as one of another room"));
    }
    Ok((known, cited))
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
    let refused = check_auth_events(work, incoming, auth_events)?.err().map(|refused| refused.0);
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
    work.rows.events.push(super::outcome::EventRow {
        event: Arc::new(event),
        received_ts: work.record.produced_ts,
        visibility: 0,
        txn_device_id: None,
        txn_id: None,
    });
    Ok(refused)
}

/// An event that has its place in the graph.
fn receive_placed(
    work: &mut Work<'_>,
    pdu: &v1::Pdu,
    incoming: Incoming,
    parked: Option<ParkedNid>,
    standing: Standing,
) -> Result<Verdict, Stop> {
    if work.parked()?.is_none() {
        work.needs_parked();
    }
    let (known, cited) = look_up(work, &incoming)?;
    work.settle()?;
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
        let told = snapshot::read(work, state_before)?;
        return check_and_place(work, incoming, known, cited, (standing, pdu.relay), Some(told));
    }
    if work.room.latest.is_empty() {
        return Err(Stop::Refuse(ErrorReason::RoomUnknown, "the room is not known here".to_owned()));
    }
    if cited.missing_auth.is_empty() && cited.missing_prevs.is_empty() {
        work.unpark(parked, &incoming.id)?;
        return check_and_place(work, incoming, known, cited, (standing, pdu.relay), None);
    }
    if standing == Standing::Old {
        return Err(bad_state("the state before the event is not known"));
    }
    work.park(pdu, &incoming.id, cited.missing_prevs, cited.missing_auth)
}

/// The three checks of authorization, and what comes of them. `relay`: whether this server hands the event on. `told`: the state before the event, from elsewhere.
fn check_and_place(
    work: &mut Work<'_>,
    incoming: Incoming,
    known: Option<Arc<StoredEvent>>,
    cited: Cited,
    (standing, relay): (Standing, bool),
    told: Option<snapshot::Told>,
) -> Result<Verdict, Stop> {
    let prevs: Vec<Latest> = cited.prevs.iter().map(|prev| latest(prev)).collect();
    let prev_nids: Vec<_> = prevs.iter().map(|prev| prev.nid).collect();
    let was_incipient = work.room.latest.is_empty();
    let standing = match (&told, standing) {
        (Some(_), Standing::Front) if !work.has_joined_local()? => Standing::OnlyFront,
        _ => standing,
    };
    let before = match &told {
        Some(told) => {
            let mut states: Vec<State> = cited.prevs.iter().map(|prev| State::after(prev)).collect();
            states.insert(0, told.state.clone());
            At::State(work.resolve(&states)?)
        }
        None if !was_incipient && work.is_front(&prev_nids) => At::Current,
        None => {
            let states: Vec<State> = cited.prevs.iter().map(|prev| State::after(prev)).collect();
            At::State(work.resolve(&states)?)
        }
    };
    let failed = check(work, &incoming, &cited, &before, standing)?;
    let visibility = work.visibility_at(&before)?;
    work.settle()?;
    let visibility = visibility.unwrap_or_default();

    let final_standing = match &failed {
        Some((Stage::CurrentState, _)) => Standing::SoftFailed,
        Some(_) => Standing::Rejected,
        None => standing,
    };
    if let (Standing::OnlyFront, true, Some(told)) = (final_standing, was_incipient, &told) {
        // From here on the room is what the snapshot tells; the event changes that like any other state.
        work.room.joined_members = told.joined;
        work.room.invited_members = told.invited;
        work.room.members = told.state.members.clone();
        work.room.other = told.state.other.clone();
        work.room.snapshot = Some(told.token);
        // Whatever was looked at before was looked at in a room without a state.
        work.room.hot = Arc::default();
    }
    let nid = match &known {
        Some(known) => known.nid,
        None => work.counters.event(),
    };
    let draft = Draft {
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
        gap_before: told.is_some() && !cited.missing_prevs.is_empty(),
    };
    let placed =
        place::place(work, draft, Place { standing: final_standing, before: before.clone(), prevs: &prevs })?;
    // While the room is only being joined, its chunks tell which rows of members and facts there are to be deleted.
    if let Some(told) = &told
        && !work.room.latest.is_empty()
    {
        work.rows.snapshots_used.push((work.room.identity.nid, told.token));
    }
    if !matches!(final_standing, Standing::Rejected | Standing::SoftFailed) {
        note_gaps(work, &placed, &cited.missing_prevs);
        redaction::arrive(work, &placed, &before)?;
    }
    fill_gap(work, &incoming.id);
    if let Some((stage, rule)) = &failed {
        decide(work, &incoming.id, Some(nid), *stage, rule.clone());
    }
    work.note_arrived(&incoming.id, false)?;
    Ok(match failed {
        None => accepted(&incoming.id, placed.seq, false),
        Some((Stage::CurrentState, _)) => accepted(&incoming.id, 0, true),
        Some((stage, rule)) => forbidden(stage, &rule),
    })
}

/// Runs the checks of authorization; returns the first that fails.
fn check(
    work: &mut Work<'_>,
    incoming: &Incoming,
    cited: &Cited,
    before: &At,
    standing: Standing,
) -> Result<Option<(Stage, String)>, Stop> {
    let is_create = incoming.event_type == "m.room.create";
    if is_create && incoming.id != work.room.identity.create_id {
        return Ok(Some((Stage::AuthEvents, "the room has another create event".to_owned())));
    }
    if let At::Current = before
        && check_ordinary(work, incoming, cited)?
    {
        return Ok(None);
    }
    if let Err(refused) = check_auth_events(work, incoming, &cited.auth)? {
        return Ok(Some((Stage::AuthEvents, refused.0)));
    }
    if let Err(refused) = work.check_against(&incoming.pdu, before)? {
        return Ok(Some((Stage::StateBefore, refused.0)));
    }
    let (At::State(state), Standing::Front) = (before, standing) else { return Ok(None) };
    // What cites all of the front was just checked against the current state. Where something in between is missing, the
    // current state may be long out of date, and what is told of the state before the event counts as much.
    let current = if cited.missing_prevs.is_empty() {
        At::Current
    } else {
        let current = work.room.state();
        At::State(work.resolve(&[current, state.clone()])?)
    };
    match work.check_against(&incoming.pdu, &current)? {
        Ok(()) => Ok(None),
        Err(refused) => Ok(Some((Stage::CurrentState, refused.0))),
    }
}

/// Whether an event is an ordinary message that cites the current state as its auth events, and known to be allowed: then
/// all three checks are the same one, whose verdict is remembered.
fn check_ordinary(work: &mut Work<'_>, incoming: &Incoming, cited: &Cited) -> Result<bool, Stop> {
    if incoming.pdu.state_key().is_some() || !super::intent::is_ordinary(incoming.pdu.event_type()) {
        return Ok(false);
    }
    let authors = work.message_authors(&incoming.sender, &At::Current)?;
    work.settle()?;
    let Some(authors) = authors else { return Ok(false) };
    let (mut ours, mut theirs) =
        (authors.nids(), cited.auth.iter().map(|event| event.nid).collect::<Vec<_>>());
    ours.sort_unstable();
    theirs.sort_unstable();
    if ours != theirs {
        return Ok(false);
    }
    match work.check_message(&incoming.event_type, &authors, || Ok(incoming.pdu.clone())) {
        Ok(()) => Ok(true),
        // The full checks tell at which stage.
        Err(Stop::Refuse(..)) => Ok(false),
        Err(stop) => Err(stop),
    }
}

/// Checks an event against the auth events it cites.
fn check_auth_events(
    work: &mut Work<'_>,
    incoming: &Incoming,
    auth_events: &[Arc<StoredEvent>],
) -> Result<Result<(), auth::Refused>, Stop> {
    let rules = work.rules();
    let is_create = incoming.id == work.room.identity.create_id;
    let create = if is_create {
        None
    } else {
        let create = work.create_event()?;
        work.settle()?;
        create
    };
    let mut parsed = Vec::with_capacity(auth_events.len());
    for event in auth_events {
        parsed.push(work.pdu_of(event)?);
    }
    let create = create.as_ref().map(|create| &create.pdu);
    let independent = auth::check_independent(&incoming.pdu, rules, |id| {
        parsed.iter().map(AsRef::as_ref).chain(create).find(|event| event.id() == id)
    });
    if let Err(refused) = independent {
        return Ok(Err(refused));
    }
    if is_create {
        return Ok(Ok(()));
    }
    // The create event counts as held where the version does not let it be cited.
    let implied = create.filter(|_| rules.room_id_is_create_hash());
    Ok(auth::check_dependent(&incoming.pdu, rules, |event_type, state_key| {
        parsed.iter().map(AsRef::as_ref).chain(implied).find(|event| {
            event.state_key() == Some(state_key) && *event.event_type() == event_type.to_string().into()
        })
    }))
}

impl Work<'_> {
    /// A stored event as the rules look at it.
    fn pdu_of(&mut self, event: &StoredEvent) -> Result<Arc<Pdu>, Stop> {
        if let Some(known) = self.pdus.get(&event.nid) {
            return Ok(Arc::clone(known));
        }
        let rejected = event.flags & flags::REJECTED != 0;
        let pdu = Pdu::from_checked(event.event_id.clone(), &event.json, rejected)
            .map_err(|error| Stop::Poison(format!("stored event {}: {error}", event.nid)))?;
        let pdu = Arc::new(pdu);
        self.pdus.insert(event.nid, Arc::clone(&pdu));
        Ok(pdu)
    }
}

/// Notes what an accepted event cites and nobody has.
fn note_gaps(work: &mut Work<'_>, placed: &Placed, missing: &[OwnedEventId]) {
    let room = work.room.identity.nid;
    for id in missing {
        work.room.has_gaps = true;
        work.rows.backward_refs.push((room, id.clone(), placed.nid));
    }
}

/// The event is no longer missing.
fn fill_gap(work: &mut Work<'_>, id: &OwnedEventId) {
    if work.room.has_gaps && work.arrival(id).is_some_and(|arrival| arrival.referenced) {
        work.rows.backward_refs_filled.push((work.room.identity.nid, id.clone()));
    }
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

fn latest(event: &StoredEvent) -> Latest {
    Latest {
        nid: event.nid,
        event_id: event.event_id.clone(),
        depth: event.depth,
        local: event.flags & flags::LOCAL != 0,
    }
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

pub(super) fn invalid(message: &str) -> Stop {
    Stop::Refuse(ErrorReason::InvalidParam, message.to_owned())
}

pub(super) fn bad_state(message: &str) -> Stop {
    Stop::Refuse(ErrorReason::BadState, message.to_owned())
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
