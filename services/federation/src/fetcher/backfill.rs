//! Fetches what lies before the timeline of a room, by `/backfill`, a page at a time and for each room one at a time.
//!
//! A page is a record: the room server gives its events their places from the last one on, next to what was there before.
//! So what is cited goes first, and where something is cited that is still missing, the state before the event goes ahead.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use moka::sync::Cache;
use parking_lot::Mutex;
use plexus_proto::{
    common::v1::ErrorReason,
    federation::v1::backfill_response::Outcome,
    log::v1::{StateBefore, pdu::Kind},
    room::v1::ListHistoryEndsRequest,
};
use plexus_service::refusal::{reason_of, refusal};
use ruma::{OwnedEventId, OwnedRoomId, RoomId, ServerName};
use tonic::{Code, Status};
use tracing::{Instrument as _, debug, info_span};

use super::{
    Failure, auth, candidates,
    gap::Walk,
    order::{self, By},
    room::Room,
    saga, snapshot, state,
};
use crate::{
    Federation,
    checked::CheckedPdu,
    receiver::transaction::split,
    upstream::{self, timed},
};

/// Events of a page.
const LIMIT: usize = 100;
/// Missing events that a page begins with, and events of it to which a state is fetched each.
const MAX_ENDS: usize = 5;
const MAX_HOLES: usize = 10;
/// Rooms of which a page is fetched at the same time.
const MAX_RUNNING: usize = 256;
/// Rooms that are remembered, and how long after a failure no server is asked: at first, and at most.
const ROOMS: u64 = 10_000;
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);
/// How long a page may take.
const DEADLINE: Duration = Duration::from_secs(120);

type Running = Shared<BoxFuture<'static, Result<Outcome, Status>>>;

/// Pages that are being fetched, and rooms where that did not work. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Backfills {
    running: Arc<Mutex<HashMap<OwnedRoomId, Running>>>,
    failed: Cache<OwnedRoomId, (Instant, Duration)>,
}

impl Default for Backfills {
    fn default() -> Self {
        let failed = Cache::builder().max_capacity(ROOMS).time_to_idle(MAX_PAUSE);
        Self { running: Arc::default(), failed: failed.build() }
    }
}

/// Fetches the next page. Whoever goes away does not stop it.
pub(crate) async fn backfill(federation: &Federation, room_id: OwnedRoomId) -> Result<Outcome, Status> {
    let running = {
        let mut running = federation.backfills.running.lock();
        match running.get(&room_id) {
            Some(running) => running.clone(),
            None if running.len() >= MAX_RUNNING => {
                let message = "Too many rooms are being fetched";
                return Err(refusal(Code::ResourceExhausted, ErrorReason::LimitExceeded, message));
            }
            None => {
                let begun = begin(federation.clone(), room_id.clone());
                running.insert(room_id, begun.clone());
                begun
            }
        }
    };
    running.await
}

fn begin(federation: Federation, room_id: OwnedRoomId) -> Running {
    let span = info_span!("backfill", room.id = %room_id);
    let work = async move {
        let _ended = Ended { federation: federation.clone(), room_id: room_id.clone() };
        let done = tokio::time::timeout(DEADLINE, page(&federation, &room_id)).await;
        done.unwrap_or(Ok(Outcome::Failed))
    };
    let work = tokio::spawn(work.instrument(span));
    work.map(|done| done.unwrap_or_else(|_| Err(Status::internal("a backfill failed")))).boxed().shared()
}

/// Takes the room off the list, however its page ends.
struct Ended {
    federation: Federation,
    room_id: OwnedRoomId,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.federation.backfills.running.lock().remove(&self.room_id);
    }
}

async fn page(federation: &Federation, room_id: &RoomId) -> Result<Outcome, Status> {
    let request = ListHistoryEndsRequest { room_id: room_id.to_string() };
    let ends = match upstream::graph(&federation.rooms).list_history_ends(timed(request)).await {
        Ok(answer) => answer.into_inner().ends,
        Err(status) if reason_of(&status) == Some(ErrorReason::RoomUnknown) => return Ok(Outcome::Complete),
        Err(status) => return Err(status),
    };
    let missing = ends.into_iter().filter_map(|end| OwnedEventId::try_from(end.event_id).ok());
    let missing: BTreeSet<OwnedEventId> = missing.take(MAX_ENDS).collect();
    if missing.is_empty() {
        return Ok(Outcome::Complete);
    }
    let failed = federation.backfills.failed.get(room_id);
    if failed.is_some_and(|(until, _)| until > Instant::now()) {
        return Ok(Outcome::Failed);
    }
    match from_somebody(federation, room_id, &missing).await {
        Ok(()) => {
            federation.backfills.failed.invalidate(room_id);
            Ok(Outcome::Fetched)
        }
        Err(error) => {
            debug!(room.id = %room_id, %error, "nobody tells what lies before the timeline");
            let pause = failed.map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(MAX_PAUSE));
            federation.backfills.failed.insert(room_id.to_owned(), (Instant::now() + pause, pause));
            Ok(Outcome::Failed)
        }
    }
}

async fn from_somebody(
    federation: &Federation,
    room_id: &RoomId,
    missing: &BTreeSet<OwnedEventId>,
) -> Result<(), Failure> {
    let Some(room) = Room::load(federation, room_id).await? else {
        return Err(Failure::Refused("the room is not known any more".to_owned()));
    };
    let mut last = Failure::Refused("there is nobody to ask".to_owned());
    for server in candidates::choose(&[], &room.servers, &federation.name) {
        let _turn = federation.fetches.turn(&server).await;
        match from_server(&room, &server, missing).await {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn from_server(
    room: &Room<'_>,
    server: &ServerName,
    missing: &BTreeSet<OwnedEventId>,
) -> Result<(), Failure> {
    let peer = room.peer(server);
    let from: Vec<OwnedEventId> = missing.iter().cloned().collect();
    let mut told = peer.backfill(&from, LIMIT).await?;
    told.truncate(LIMIT);
    let offered = room.check(room.read(&told)).await;
    let cited: BTreeSet<&OwnedEventId> =
        offered.iter().flat_map(|event| event.pdu().prev_event_ids()).collect();
    let known = room.known(cited).await?;
    let placed: HashSet<OwnedEventId> =
        known.into_iter().filter(|(_, event)| event.placed).map(|(id, _)| id).collect();
    let mut walk = Walk { found: HashMap::new(), wanted: missing.clone() };
    if !walk.take(offered, &placed) {
        return Err(Failure::Refused(format!("{server} tells nothing of what is missing")));
    }
    let events = newest(order::sorted(walk.found.into_values().collect(), By::Graph));

    let mut have: HashSet<OwnedEventId> = events.iter().map(|event| event.event_id().to_owned()).collect();
    let holes = holes(&events, &have, &placed);
    if holes.len() > MAX_HOLES {
        return Err(Failure::Refused(format!("the page has more than {MAX_HOLES} ends")));
    }
    let mut states = Vec::with_capacity(holes.len());
    for (event, missing) in holes {
        states.push((event.event_id().to_owned(), state::fetch(room, peer, event, &missing).await?));
    }
    for (_, state) in &states {
        have.extend(state.events.iter().map(|event| event.event_id().to_owned()));
    }
    let Some(last) = events.last().map(|event| event.event_id().to_owned()) else { return Ok(()) };
    let cited = events.iter().flat_map(|event| event.pdu().auth_event_ids()).cloned().collect();
    let auth_events = auth::collect(room, peer, &last, cited, &have).await?;

    let mut before: HashMap<OwnedEventId, StateBefore> = HashMap::new();
    for (event_id, state) in states {
        before.insert(event_id, snapshot::write(room, server, state).await?);
    }
    saga::write(room, server, Kind::Outlier, auth_events, &mut HashMap::new()).await?;
    saga::write(room, server, Kind::Old, events, &mut before).await
}

/// The newest of some events, which go in order, as many as fit into a record.
fn newest(mut events: Vec<CheckedPdu>) -> Vec<CheckedPdu> {
    events.reverse();
    let mut events = split(events).into_iter().next().unwrap_or_default();
    events.reverse();
    events
}

/// Events with previous events that are missing, and which.
fn holes<'e>(
    events: &'e [CheckedPdu],
    have: &HashSet<OwnedEventId>,
    placed: &HashSet<OwnedEventId>,
) -> Vec<(&'e CheckedPdu, Vec<OwnedEventId>)> {
    let missing = |event: &CheckedPdu| -> Vec<OwnedEventId> {
        let prevs = event.pdu().prev_event_ids().iter();
        prevs.filter(|prev| !have.contains(*prev) && !placed.contains(*prev)).cloned().collect()
    };
    let holes = events.iter().map(|event| (event, missing(event)));
    holes.filter(|(_, missing)| !missing.is_empty()).collect()
}
