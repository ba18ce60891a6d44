//! Fetches for the parked events of a room: one after the other, oldest first.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use plexus_events::{Pdu, receive};
use plexus_input::Lane;
use plexus_proto::{
    log::v1::{FetchDone, PduBatch, StateBefore, fetch_done, input_room_event::Body, pdu::Kind},
    room::v1::OpenFetch,
};
use plexus_s2s::now_ms;
use ruma::{OwnedEventId, RoomId, ServerName};
use tracing::{debug, info};

use super::{Failure, auth, candidates, gap, room::Room, snapshot, state};
use crate::{Federation, checked::CheckedPdu, metrics, receiver::transaction::split};

/// Events of a gap to which a state is fetched each.
const MAX_HOLES: usize = 3;
/// Attempts for an event in one saga: what was fetched and changed nothing does so for ever.
const MAX_ATTEMPTS: u32 = 3;
/// Pages of parked events that are looked through.
const MAX_PAGES: usize = 50;
/// How long it takes until an attempt is repeated: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const MAX_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// A parked event, and what it lacks.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) event_id: OwnedEventId,
    /// Previous events that are missing, and not parked themselves.
    pub(super) missing_prevs: BTreeSet<OwnedEventId>,
    /// Previous events at which the state is known.
    pub(super) known_prevs: Vec<OwnedEventId>,
    missing_auth: BTreeSet<OwnedEventId>,
}

impl Parked {
    fn read(fetch: &OpenFetch, room: &Room<'_>) -> Option<Self> {
        let ids = |ids: &[String]| ids.iter().filter_map(|id| id.as_str().try_into().ok()).collect();
        let received =
            receive::parse(&fetch.json, room.rules).and_then(receive::Unverified::trust_signatures);
        let pdu: Pdu = received.ok()?.pdu;
        let missing_prevs: BTreeSet<OwnedEventId> = ids(&fetch.missing_prev_event_ids);
        let parked: BTreeSet<OwnedEventId> = ids(&fetch.parked_event_ids);
        let is_known = |id: &&OwnedEventId| !missing_prevs.contains(*id) && !parked.contains(*id);
        Some(Self {
            event_id: fetch.event_id.as_str().try_into().ok()?,
            known_prevs: pdu.prev_event_ids().iter().filter(is_known).cloned().collect(),
            missing_auth: ids(&fetch.missing_auth_event_ids),
            missing_prevs,
        })
    }
}

/// Works on a room until nothing is left that could be fetched now. Returns when there is something again, if that is known.
pub(super) async fn run(federation: &Federation, room_id: &RoomId) -> Result<Option<i64>, Failure> {
    let mut attempts: HashMap<String, u32> = HashMap::new();
    loop {
        let Some(room) = Room::load(federation, room_id).await? else { return Ok(None) };
        let fetch = match next(&room).await? {
            Next::Now(fetch) => fetch,
            Next::Later(when) => return Ok(when),
        };
        let count = attempts.entry(fetch.event_id.clone()).or_default();
        *count += 1;
        let outcome = if *count > MAX_ATTEMPTS {
            Err(Failure::Refused("what was fetched does not lead to what is known".to_owned()))
        } else {
            attempt(&room, &fetch).await
        };
        conclude(&room, &fetch, outcome).await?;
    }
}

enum Next {
    Now(Box<OpenFetch>),
    Later(Option<i64>),
}

/// The oldest parked event for which something is to be fetched by now, or when there is one.
async fn next(room: &Room<'_>) -> Result<Next, Failure> {
    let (mut after, mut later) = (0, None);
    for _ in 0..MAX_PAGES {
        let page = room.open_fetches(after).await?;
        for fetch in page.fetches {
            if fetch.not_before_ts <= now_ms() {
                return Ok(Next::Now(Box::new(fetch)));
            }
            later = Some(later.map_or(fetch.not_before_ts, |when: i64| when.min(fetch.not_before_ts)));
        }
        after = page.next;
        if after == 0 {
            break;
        }
    }
    Ok(Next::Later(later))
}

/// Tries to fetch what a parked event lacks: from one server after the other, as long as they say that they do not have
/// it, or do not answer.
async fn attempt(room: &Room<'_>, fetch: &OpenFetch) -> Result<(), Failure> {
    let Some(parked) = Parked::read(fetch, room) else {
        return Err(Failure::Refused("the parked event cannot be read".to_owned()));
    };
    let (mut refused, mut unreachable) = ("there is nobody to ask".to_owned(), None);
    for server in candidates::choose(&fetch.via, &room.servers, &room.federation.name) {
        let _turn = room.federation.fetches.turn(&server).await;
        match fetch_from(room, &server, &parked).await {
            Ok(()) => return Ok(()),
            Err(Failure::Refused(why)) => refused = why,
            Err(Failure::Unreachable(why)) => unreachable = Some(why),
            // To ask others at once is what whoever tells nonsense may want.
            Err(error @ Failure::Invalid(_)) => return Err(error),
        }
    }
    Err(unreachable.map_or(Failure::Refused(refused), Failure::Unreachable))
}

/// Fetches from one server, and writes what it tells once all of it is there.
async fn fetch_from(room: &Room<'_>, server: &ServerName, parked: &Parked) -> Result<(), Failure> {
    let peer = room.peer(server);
    let gap = if parked.missing_prevs.is_empty() {
        gap::Gap::default()
    } else {
        gap::fill(room, peer, parked).await?
    };
    let holes = gap.holes();
    if holes.len() > MAX_HOLES {
        return Err(Failure::Refused(format!("the gap has more than {MAX_HOLES} ends")));
    }
    let mut states = Vec::with_capacity(holes.len());
    for (event, missing) in holes {
        states.push((event.event_id().to_owned(), state::fetch(room, peer, event, &missing).await?));
    }
    let mut have: HashSet<OwnedEventId> =
        gap.events.iter().map(|event| event.event_id().to_owned()).collect();
    for (_, state) in &states {
        have.extend(state.events.iter().map(|event| event.event_id().to_owned()));
    }
    let cited = gap.events.iter().flat_map(|event| event.pdu().auth_event_ids());
    let cited = cited.chain(&parked.missing_auth).cloned().collect();
    let auth_events = auth::collect(room, peer, &parked.event_id, cited, &have).await?;

    let mut before: HashMap<OwnedEventId, StateBefore> = HashMap::new();
    for (event_id, state) in states {
        before.insert(event_id, snapshot::write(room, server, state).await?);
    }
    write(room, server, Kind::Outlier, auth_events, &mut HashMap::new()).await?;
    write(room, server, Kind::New, gap.events, &mut before).await
}

/// Writes events in their order. One that the rules refuse is stored as such, and the others go on.
pub(super) async fn write(
    room: &Room<'_>,
    server: &ServerName,
    kind: Kind,
    events: Vec<CheckedPdu>,
    before: &mut HashMap<OwnedEventId, StateBefore>,
) -> Result<(), Failure> {
    for events in split(events) {
        let pdus = events.iter().map(|event| {
            let mut pdu = event.to_input(kind, server);
            pdu.state_before = before.remove(event.event_id());
            pdu
        });
        let pdus = pdus.collect();
        room.submit(Lane::Live, Body::Pdus(PduBatch { pdus })).await?;
    }
    Ok(())
}

/// Tells the room server how an attempt has ended.
async fn conclude(room: &Room<'_>, fetch: &OpenFetch, outcome: Result<(), Failure>) -> Result<(), Failure> {
    let (event_id, room_id) = (&fetch.event_id, room.room_id);
    let done = |outcome: fetch_done::Outcome, reason: String| FetchDone {
        event_id: event_id.clone(),
        outcome: outcome.into(),
        reason,
        ..FetchDone::default()
    };
    let done = match outcome {
        Ok(()) => {
            metrics::fetch("fetched");
            debug!(event.id = event_id, room.id = %room_id, "what an event lacked was fetched");
            None
        }
        Err(Failure::Refused(why) | Failure::Invalid(why)) => {
            metrics::fetch("given up");
            info!(event.id = event_id, room.id = %room_id, why, "an event is given up, as nobody tells what it cites");
            Some(done(fetch_done::Outcome::GaveUp, why))
        }
        Err(Failure::Unreachable(why)) => {
            metrics::fetch("deferred");
            debug!(event.id = event_id, room.id = %room_id, why, "what an event lacks cannot be fetched now");
            let not_before_ts = now_ms().saturating_add(pause_ms(fetch.attempt));
            Some(FetchDone { not_before_ts, ..done(fetch_done::Outcome::Deferred, why) })
        }
    };
    if let Some(done) = done {
        room.submit(Lane::Live, Body::FetchDone(done)).await?;
    }
    if let Ok(event_id) = <&ruma::EventId>::try_from(event_id.as_str()) {
        room.federation.fetches.end(event_id);
    }
    Ok(())
}

/// How long it takes until an attempt is repeated, in milliseconds.
fn pause_ms(attempt: u32) -> i64 {
    let pause = (FIRST_PAUSE * 2_u32.pow(attempt.min(16))).min(MAX_PAUSE);
    i64::try_from(pause.mul_f64(rand::random_range(0.9..1.1)).as_millis()).unwrap_or(i64::MAX)
}

/// Fetches events that an operator asks for, and nothing waits for.
pub(super) async fn fetch_named(
    federation: &Federation,
    room_id: &RoomId,
    event_ids: Vec<OwnedEventId>,
) -> Result<(), Failure> {
    let Some(room) = Room::load(federation, room_id).await? else { return Ok(()) };
    let mut last = Ok(());
    for server in candidates::choose(&[], &room.servers, &federation.name) {
        match room.fetch_each(room.peer(&server), event_ids.iter().cloned()).await {
            Ok(events) => return write(&room, &server, Kind::New, events, &mut HashMap::new()).await,
            Err(error) => last = Err(error),
        }
    }
    last
}
