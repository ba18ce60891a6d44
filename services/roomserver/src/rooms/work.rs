//! An input at work: the room, look-ups, rows and output records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use plexus_events::RoomRules;
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::Verdict,
    log::v1::{InputRoomEvent, OutputRoomEvent, Receipt, output_room_event::Body},
};
use ruma::{EventId, OwnedServerName, RoomId, UserId};

use super::{
    event::StoredEvent,
    ids::{Counters, EventNid, NodeNid, ParkedNid},
    input::Env,
    load_request::{Arrival, LoadRequest},
    loaded_data::LoadedData,
    outcome::{Applied, Outcome, Output, Rows},
    room::{Inner, Room},
};

/// Format version of output records.
const RECORD_VERSION: u32 = 1;

/// Why an input goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something has to be loaded: [`Work::request`] tells what.
    Missing,
    /// It is refused.
    Refuse(ErrorReason, String),
    /// It can never be processed.
    Poison(String),
    /// It has cost more than its budget.
    Overrun,
}

impl Stop {
    /// A refusal by the rules.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::Refuse(ErrorReason::Forbidden, message.into())
    }
}

/// An input at work.
pub(super) struct Work<'a> {
    pub(super) room: Inner,
    pub(super) record: &'a InputRoomEvent,
    pub(super) loaded: &'a LoadedData,
    pub(super) counters: Counters,
    pub(super) env: &'a Env,
    pub(super) rows: Rows,
    pub(super) outputs: Vec<Output>,
    /// Receipts for records of the same batch.
    pub(super) amended: Vec<(i64, Receipt)>,
    pub(super) request: LoadRequest,
    /// Parked events that lack nothing any more.
    pub(super) unparked: BTreeSet<ParkedNid>,
    /// How many events follow this one in its batch.
    pub(super) following: u16,
    /// The event that is being given its place.
    pub(super) arriving: Option<Arc<StoredEvent>>,
    /// By how many the users of other servers who are joined have become more, since that was last told.
    pub(super) servers: BTreeMap<OwnedServerName, i64>,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        room: &Room,
        record: &'a InputRoomEvent,
        loaded: &'a LoadedData,
        counters: Counters,
        env: &'a Env,
    ) -> Self {
        Self {
            room: Inner::clone(&room.inner),
            record,
            loaded,
            counters,
            env,
            rows: Rows::default(),
            outputs: Vec::new(),
            amended: Vec::new(),
            request: LoadRequest::default(),
            unparked: BTreeSet::new(),
            following: 0,
            arriving: None,
            servers: BTreeMap::new(),
        }
    }

    /// The rules of the room's version.
    pub(super) fn rules(&self) -> &'static RoomRules {
        self.room.identity.rules
    }

    /// Decides, and tells what comes of it or what has to be loaded first.
    pub(super) fn run(
        mut self,
        decide: impl FnOnce(&mut Self) -> Result<Verdict, Stop>,
    ) -> Result<Outcome, Stop> {
        match decide(&mut self) {
            Ok(verdict) => Ok(self.applied(verdict)),
            Err(Stop::Missing) if self.request.is_empty() => {
                Err(Stop::Poison("something is missing and nothing to be loaded".to_owned()))
            }
            Err(Stop::Missing) => Ok(Outcome::Load(Box::new(self.request))),
            Err(stop) => Err(stop),
        }
    }

    /// Returns what a look-up has found, or has it loaded.
    pub(super) fn found<T>(
        &mut self,
        found: Option<T>,
        ask: impl FnOnce(&mut LoadRequest),
    ) -> Result<T, Stop> {
        found.ok_or_else(|| {
            ask(&mut self.request);
            Stop::Missing
        })
    }

    /// Counts steps, and stops here if the record has cost too much.
    pub(super) fn charge(&self, steps: usize) -> Result<(), Stop> {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        if self.loaded.effort.charge(steps) { Ok(()) } else { Err(Stop::Overrun) }
    }

    /// Has nodes of the room's state tries loaded.
    pub(super) fn missing_nodes(&mut self, nids: impl IntoIterator<Item = NodeNid>) -> Stop {
        for nid in nids {
            self.request.node(self.room.identity.nid, nid);
        }
        Stop::Missing
    }

    /// Returns an event by numeric ID, also one that this input has made.
    pub(super) fn event(&mut self, nid: EventNid) -> Result<Arc<StoredEvent>, Stop> {
        let rewritten = self.rows.rewritten.iter().rev().find(|event| event.nid == nid);
        let placed = || self.rows.placed.iter().map(|row| &row.event).find(|event| event.nid == nid);
        let made = || {
            let index = self.rows.events.binary_search_by_key(&nid, |row| row.event.nid).ok()?;
            Some(&self.rows.events.get(index)?.event)
        };
        let arriving = || self.arriving.as_ref().filter(|event| event.nid == nid);
        let found = rewritten
            .or_else(placed)
            .or_else(made)
            .or_else(arriving)
            .or_else(|| self.loaded.events.get(&nid))
            .map(Arc::clone);
        self.found(found, |request| {
            request.events.insert(nid);
        })
    }

    /// Finds an event by its ID, also one that this input has made.
    pub(super) fn event_by_id(&mut self, id: &EventId) -> Result<Option<Arc<StoredEvent>>, Stop> {
        let rewritten = self.rows.rewritten.iter().rev().find(|event| event.event_id == id);
        let rows = self.rows.placed.iter().chain(&self.rows.events);
        let made = || rows.map(|row| &row.event).find(|event| event.event_id == id);
        if let Some(event) = rewritten.or_else(made) {
            return Ok(Some(Arc::clone(event)));
        }
        self.found(self.loaded.events_by_id.get(id).cloned(), |request| {
            request.event_ids.insert(id.to_owned());
        })
    }

    /// Returns what is known of an event before it arrives.
    pub(super) fn arrival(&mut self, id: &EventId) -> Result<Arrival, Stop> {
        self.found(self.loaded.arrival(id), |request| {
            request.arrivals.insert(id.to_owned());
        })
    }

    /// Whether some user of this server is joined to the room.
    pub(super) fn has_joined_local(&mut self) -> Result<bool, Stop> {
        if self.room.forward_extremities.is_empty() {
            return Ok(false);
        }
        let nid = self.room.identity.nid;
        let joined = self.loaded.joined_local.get(&nid);
        self.found(joined.map(|joined| !joined.is_empty()), |request| {
            request.joined_local.insert(nid);
        })
    }

    /// Puts a record out and returns its `seq`.
    pub(super) fn put_out(&mut self, event_nid: Option<EventNid>, body: Body) -> i64 {
        let seq = self.counters.seq();
        let record = OutputRoomEvent {
            version: RECORD_VERSION,
            seq: unsigned(seq),
            prev_room_seq: unsigned(self.room.last_seq),
            epoch: 0,
            room_id: self.room.identity.room_id.to_string(),
            room_version: self.rules().id.to_string(),
            committed_ts: self.record.produced_ts,
            caused_by: self.record.input_id.clone(),
            traceparent: self.record.traceparent.clone(),
            partition: self.room.identity.partition,
            body: Some(body),
        };
        self.outputs.push(Output { seq, event_nid, record });
        self.room.last_seq = seq;
        seq
    }

    /// Ends the work.
    fn applied(mut self, verdict: Verdict) -> Outcome {
        let parked = self.rows.parked.len() + self.rows.unparked.len();
        if !self.outputs.is_empty() || self.rows.room_is_new || parked > 0 {
            self.rows.room = Some(self.room.row());
        }
        Outcome::Applied(Box::new(Applied {
            room: Room { inner: Arc::new(self.room) },
            rows: self.rows,
            outputs: self.outputs,
            amended: self.amended,
            verdict,
            counters: self.counters,
            unparked: self.unparked.into_iter().collect(),
        }))
    }

    /// The room's ID.
    pub(super) fn room_id(&self) -> &RoomId {
        &self.room.identity.room_id
    }
}

/// Looks all of something up before it stops, so that one round of loading brings whatever is missing.
pub(super) fn all<T>(look_ups: impl IntoIterator<Item = Result<T, Stop>>) -> Result<Vec<T>, Stop> {
    let (mut all, mut missing) = (Vec::new(), false);
    for found in look_ups {
        match found {
            Ok(found) => all.push(found),
            Err(Stop::Missing) => missing = true,
            Err(stop) => return Err(stop),
        }
    }
    if missing { Err(Stop::Missing) } else { Ok(all) }
}

/// Our counters are never negative; protobuf has them unsigned.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Shares finished bytes.
pub(super) fn bytes(json: Vec<u8>) -> Bytes {
    Bytes::from(json)
}

/// Reads the ID of a user of this server.
pub(super) fn local_user<'i>(work: &Work<'_>, user: &'i str) -> Result<&'i UserId, Stop> {
    let user = <&UserId>::try_from(user)
        .map_err(|error| Stop::Refuse(ErrorReason::InvalidParam, format!("user ID: {error}")))?;
    if user.server_name() == work.env.server_name {
        Ok(user)
    } else {
        Err(Stop::Refuse(ErrorReason::InvalidParam, "the user is not one of this server".to_owned()))
    }
}

/// Refuses what is not as it has to be.
pub(super) fn invalid(message: &str) -> Stop {
    Stop::Refuse(ErrorReason::InvalidParam, message.to_owned())
}

/// Refuses what does not fit the state of the room.
pub(super) fn bad_state(message: &str) -> Stop {
    Stop::Refuse(ErrorReason::BadState, message.to_owned())
}
