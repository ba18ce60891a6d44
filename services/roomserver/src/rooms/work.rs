//! One input at work: the room as it becomes, what is read, what is to be written.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use plexus_events::{Pdu, RoomRules};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::Verdict,
    log::v1::{InputRoomEvent, OutputRoomEvent, Receipt, output_room_event::Body},
};
use ruma::{EventId, OwnedServerName, RoomId};

use super::{
    apply::Env,
    event::StoredEvent,
    ids::{Counters, EventNid, NodeNid, ParkedNid},
    outcome::{Applied, Outcome, Output, Rows},
    room::{Inner, Room},
    source::{Arrival, Needs, Source},
};

/// Format version of output records.
const RECORD_VERSION: u32 = 1;

/// Why an input goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something has to be loaded.
    Need(Box<Needs>),
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
    pub(super) source: &'a Source,
    pub(super) counters: Counters,
    pub(super) env: &'a Env,
    pub(super) rows: Rows,
    pub(super) outputs: Vec<Output>,
    /// Receipts for records of the same batch.
    pub(super) amended: Vec<(i64, Receipt)>,
    pub(super) needs: Needs,
    /// Parked events that lack nothing any more.
    pub(super) unparked: BTreeSet<ParkedNid>,
    /// How many events follow this one in its batch.
    pub(super) following: u16,
    /// The event that is being given its place.
    pub(super) arriving: Option<Arc<StoredEvent>>,
    /// By how many the users of other servers who are joined have become more, since that was last told.
    pub(super) servers: BTreeMap<OwnedServerName, i64>,
    /// Auth events that were read.
    pub(super) pdus: HashMap<EventNid, Arc<Pdu>>,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        room: &Room,
        record: &'a InputRoomEvent,
        source: &'a Source,
        counters: Counters,
        env: &'a Env,
    ) -> Self {
        Self {
            room: Inner::clone(&room.inner),
            record,
            source,
            counters,
            env,
            rows: Rows::default(),
            outputs: Vec::new(),
            amended: Vec::new(),
            needs: Needs::default(),
            unparked: BTreeSet::new(),
            following: 0,
            arriving: None,
            servers: BTreeMap::new(),
            pdus: HashMap::new(),
        }
    }

    /// The rules of the room's version.
    pub(super) fn rules(&self) -> &'static RoomRules {
        self.room.identity.rules
    }

    /// Stops here if anything was found lacking.
    pub(super) fn settle(&mut self) -> Result<(), Stop> {
        if self.needs.is_empty() {
            Ok(())
        } else {
            Err(Stop::Need(Box::new(std::mem::take(&mut self.needs))))
        }
    }

    /// Counts steps, and stops here if the record has cost too much.
    pub(super) fn charge(&self, steps: usize) -> Result<(), Stop> {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        if self.source.effort.charge(steps) { Ok(()) } else { Err(Stop::Overrun) }
    }

    /// Notes nodes of the room's state tries as lacking.
    pub(super) fn need_nodes(&mut self, nids: impl IntoIterator<Item = NodeNid>) {
        for nid in nids {
            self.needs.node(self.room.identity.nid, nid);
        }
    }

    /// Finds an event by numeric ID, also one that this input has made. Notes it as lacking if it is not loaded.
    pub(super) fn event(&mut self, nid: EventNid) -> Option<Arc<StoredEvent>> {
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
            .or_else(|| self.source.events.get(&nid))
            .map(Arc::clone);
        if found.is_none() {
            self.needs.events.insert(nid);
        }
        found
    }

    /// Finds an event by its ID, also one that this input has made. `Some(None)`: there is none; `None`: it was noted
    /// as lacking.
    pub(super) fn event_by_id(&mut self, id: &EventId) -> Option<Option<Arc<StoredEvent>>> {
        let rewritten = self.rows.rewritten.iter().rev().find(|event| event.event_id == id);
        let rows = self.rows.placed.iter().chain(&self.rows.events);
        let made = || rows.map(|row| &row.event).find(|event| event.event_id == id);
        if let Some(event) = rewritten.or_else(made) {
            return Some(Some(Arc::clone(event)));
        }
        let found = self.source.events_by_id.get(id).cloned();
        if found.is_none() {
            self.needs.event_ids.insert(id.to_owned());
        }
        found
    }

    /// What is known of an event before it arrives. `None`: it was noted as lacking.
    pub(super) fn arrival(&mut self, id: &EventId) -> Option<Arrival> {
        let found = self.source.arrival(id);
        if found.is_none() {
            self.needs.arrivals.insert(id.to_owned());
        }
        found
    }

    /// Whether some user of this server is joined to the room.
    pub(super) fn has_joined_local(&mut self) -> Result<bool, Stop> {
        if self.room.latest.is_empty() {
            return Ok(false);
        }
        let nid = self.room.identity.nid;
        if let Some(joined) = self.source.joined_local.get(&nid) {
            return Ok(!joined.is_empty());
        }
        self.needs.joined_local.insert(nid);
        self.settle()?;
        Ok(false)
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
    pub(super) fn applied(mut self, verdict: Verdict) -> Outcome {
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

/// Our counters are never negative; protobuf has them unsigned.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Shares finished bytes.
pub(super) fn bytes(json: Vec<u8>) -> Bytes {
    Bytes::from(json)
}
