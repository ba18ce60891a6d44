//! One server that something is to be sent to: what waits for it, what is under way, how it fails.
//!
//! What was read from the log waits in a queue, and goes out in order. When the server fails, or takes too long, the queue
//! becomes *rooms in which it is behind*, each with the position up to which it has everything; what comes for such a room
//! waits behind what it lacks, and is read from the room server when its turn comes. So a server that is away for a month
//! costs no more than the names of its rooms, and no room is ever told out of order.
//!
//! A server that cannot take a transaction as a whole is sent its rooms one by one, then fewer events at a time: what it
//! cannot take by itself is set aside, and holds up nothing else.
//!
//! It knows no clock and no network, so that tests can play every case.

mod finish;
mod kept;
mod outbox;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use ruma::{OwnedEventId, OwnedRoomId, RoomId};
use serde_json::Value;

use super::{
    Pdu, Vector,
    edus::Edus,
    transaction::{MAX_EDUS, MAX_PDUS, OUTBOX_EDUS},
};

pub(super) use kept::{Change, Row};
use outbox::Outbox;
pub(super) use outbox::Take;

/// Events that wait in memory for a server, at most, and bytes of events in a transaction.
const MAX_QUEUE: usize = 2_000;
const MAX_BYTES: usize = 4 << 20;
/// Rooms whose backlog goes into one transaction.
const MAX_ROOMS: usize = 20;
/// How soon a server that fails is tried again because it said something: not more often than this, in milliseconds.
const CONTACT: i64 = 30_000;

/// A room in which the server is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Behind {
    /// It has everything up to and including this `seq`.
    after: u64,
    /// The newest event that is known to wait.
    newest: u64,
    /// Events that it is sent at once.
    limit: usize,
    /// Whether it goes alone: a transaction that it was in was refused.
    alone: bool,
    /// How often its next event was refused by itself, and how often the server broke at it.
    refusals: u32,
    crashes: u32,
    /// When it is tried again.
    not_before: i64,
    /// Whether it was looked for what is too old to be sent.
    is_trimmed: bool,
}

impl Behind {
    fn new(after: u64, newest: u64) -> Self {
        Self {
            after,
            newest,
            limit: MAX_PDUS,
            alone: false,
            refusals: 0,
            crashes: 0,
            not_before: 0,
            is_trimmed: false,
        }
    }
}

/// What a transaction is to be made of.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Plan {
    /// From the queue.
    pub(super) pdus: Vec<Arc<Pdu>>,
    /// Rooms whose backlog is read, as far as there is place.
    pub(super) rooms: Vec<Backlog>,
    /// What is read of what waits that is not of rooms.
    pub(super) outbox: Option<Take>,
    /// Ephemeral data.
    pub(super) edus: Vec<Value>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.pdus.is_empty() && self.rooms.is_empty() && self.outbox.is_none() && self.edus.is_empty()
    }
}

/// A room whose backlog is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backlog {
    pub(super) room_id: OwnedRoomId,
    pub(super) after: u64,
    pub(super) limit: usize,
    /// Whether what is too old is to be left out.
    pub(super) trim: bool,
}

/// What was read of a backlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gathered {
    pub(super) room_id: OwnedRoomId,
    /// Everything up to this was looked at.
    pub(super) reached: u64,
    /// Whether there may be more.
    pub(super) more: bool,
    /// How many events there were, and the last of them.
    pub(super) pdus: usize,
    pub(super) last: Option<(u64, OwnedEventId)>,
}

/// An event that the server cannot take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SetAside {
    pub(super) room_id: OwnedRoomId,
    pub(super) event_id: OwnedEventId,
    pub(super) error: String,
}

/// A server that something is to be sent to.
#[derive(Debug, Default)]
pub(super) struct Destination {
    queue: VecDeque<Arc<Pdu>>,
    behind: HashMap<OwnedRoomId, Behind>,
    /// Rooms in which it is behind, in the order of their turns. One that caught up may still be there.
    order: VecDeque<OwnedRoomId>,
    edus: Edus,
    /// What waits that is not of rooms.
    outbox: Outbox,
    /// From the queue, under way.
    in_flight: Vec<Arc<Pdu>>,
    is_under_way: bool,
    /// Whether the next turn is that of a room that goes alone.
    alone_next: bool,
    failures: u32,
    first_failure_ts: i64,
    retry_ts: i64,
    error: String,
    last_success_ts: i64,
    /// When it was last tried because it said something.
    contact_ts: i64,
    /// What the room server does not know yet.
    is_kept: bool,
    is_changed: bool,
    changed_rooms: HashSet<OwnedRoomId>,
}

impl Destination {
    /// Adds an event that was read from the log.
    pub(super) fn add(&mut self, pdu: Arc<Pdu>) {
        if let Some(behind) = self.behind.get_mut(&pdu.room_id) {
            behind.newest = behind.newest.max(pdu.seq);
            return;
        }
        if self.failures > 0 {
            self.fall_behind(&pdu.room_id, pdu.seq.saturating_sub(1), pdu.seq);
            return;
        }
        self.queue.push_back(pdu);
        if self.queue.len() > MAX_QUEUE {
            self.spill();
        }
    }

    /// Notes a room in which the server lacks events.
    pub(super) fn fall_behind(&mut self, room_id: &RoomId, after: u64, newest: u64) {
        match self.behind.get_mut(room_id) {
            Some(behind) => {
                behind.after = behind.after.min(after);
                behind.newest = behind.newest.max(newest);
            }
            None => {
                self.behind.insert(room_id.to_owned(), Behind::new(after, newest));
                self.order.push_back(room_id.to_owned());
            }
        }
        self.changed_rooms.insert(room_id.to_owned());
    }

    /// Ephemeral data for it. A server that lacks events is not told any: they would be about what it does not know.
    pub(super) fn edus(&mut self) -> Option<&mut Edus> {
        (self.failures == 0 && self.behind.is_empty()).then_some(&mut self.edus)
    }

    /// When something is to be done: 0 for at once.
    pub(super) fn due(&self) -> Option<i64> {
        if self.is_under_way {
            return None;
        }
        let queue = (!self.queue.is_empty()).then_some(0);
        let edus = if self.failures == 0 { self.edus.due() } else { None };
        let rooms = self.behind.values().map(|behind| behind.not_before).min();
        let due = [queue, edus, rooms, self.outbox.due()].into_iter().flatten().min()?;
        Some(due.max(self.retry_ts))
    }

    /// Takes what goes out now.
    pub(super) fn next(&mut self, now: i64) -> Option<Plan> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let mut plan = Plan::default();
        let behind = &self.behind;
        self.order.retain(|room_id| behind.contains_key(room_id));
        if self.order.len() < behind.len() {
            let known: HashSet<OwnedRoomId> = self.order.iter().cloned().collect();
            self.order.extend(behind.keys().filter(|room_id| !known.contains(*room_id)).cloned());
        }
        let is_due = |room_id: &OwnedRoomId, alone: bool| {
            behind.get(room_id).is_some_and(|room| room.alone == alone && room.not_before <= now)
        };
        let alone = self.order.iter().position(|room_id| is_due(room_id, true));
        match alone {
            Some(index)
                if self.alone_next
                    || (self.queue.is_empty() && !self.order.iter().any(|it| is_due(it, false))) =>
            {
                self.alone_next = false;
                if let Some(room_id) = self.order.remove(index) {
                    plan.rooms.extend(self.backlog(room_id));
                }
            }
            _ if self.outbox.goes_alone() => plan.outbox = self.outbox.take(now),
            _ => {
                self.alone_next = true;
                plan.outbox = self.outbox.take(now);
                plan.pdus = take_queue(&mut self.queue);
                if plan.pdus.len() < MAX_PDUS {
                    let due: Vec<OwnedRoomId> =
                        self.order.iter().filter(|it| is_due(it, false)).take(MAX_ROOMS).cloned().collect();
                    let taken: HashSet<&OwnedRoomId> = due.iter().collect();
                    self.order.retain(|room_id| !taken.contains(room_id));
                    plan.rooms.extend(due.iter().cloned().filter_map(|room_id| self.backlog(room_id)));
                }
                if self.failures == 0 {
                    let taken = if plan.outbox.is_some() { OUTBOX_EDUS } else { 0 };
                    plan.edus = self.edus.take(MAX_EDUS.saturating_sub(taken));
                }
            }
        }
        if plan.is_empty() {
            self.retry_ts = now + 1_000;
            return None;
        }
        self.is_under_way = true;
        self.in_flight.clone_from(&plan.pdus);
        Some(plan)
    }

    fn backlog(&self, room_id: OwnedRoomId) -> Option<Backlog> {
        let behind = self.behind.get(&room_id)?;
        Some(Backlog { after: behind.after, limit: behind.limit, trim: !behind.is_trimmed, room_id })
    }

    /// What waits in memory becomes rooms in which the server is behind.
    fn spill(&mut self) {
        for pdu in std::mem::take(&mut self.queue) {
            self.spill_one(&pdu);
        }
    }

    fn spill_one(&mut self, pdu: &Pdu) {
        self.fall_behind(&pdu.room_id, pdu.seq.saturating_sub(1), pdu.seq);
    }

    /// The server said something: if it fails, it is tried now. True if so.
    pub(super) fn hear(&mut self, now: i64) -> bool {
        let is_soon = now.saturating_sub(self.contact_ts) < CONTACT;
        if self.failures == 0 || self.is_under_way || is_soon {
            return false;
        }
        self.contact_ts = now;
        self.hurry();
        true
    }

    /// Something waits for it that is not of rooms.
    pub(super) fn has_outbox(&mut self) {
        self.outbox.wait();
    }

    /// It is tried now.
    pub(super) fn hurry(&mut self) {
        self.retry_ts = 0;
        for behind in self.behind.values_mut() {
            behind.not_before = 0;
        }
        self.is_changed = true;
    }

    /// What it has not taken is given up.
    pub(super) fn forget(&mut self) {
        self.queue.clear();
        self.behind.clear();
        self.order.clear();
        self.edus.clear();
        self.outbox = Outbox::default();
        (self.failures, self.retry_ts, self.is_changed) = (0, 0, true);
    }

    /// For each partition, the last record that lies before everything that waits in memory or is under way, if that is
    /// before what is there.
    pub(super) fn hold_back(&self, positions: &mut Vector) {
        for pdu in self.in_flight.iter().chain(&self.queue) {
            if let Some(position) = positions.get_mut(pdu.partition) {
                *position = (*position).min(pdu.seq.saturating_sub(1));
            }
        }
    }

    /// True if nothing is known of it that would have to be remembered.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_under_way && !self.is_kept && self.failures == 0 && self.due().is_none()
    }

    /// Failures since the last success.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// When the first of them was.
    pub(super) fn failing_since(&self) -> Option<i64> {
        (self.failures > 0).then_some(self.first_failure_ts)
    }

    /// In how many rooms it is behind.
    pub(super) fn rooms_behind(&self) -> usize {
        self.behind.len()
    }
}

/// Takes from the front what fits into one transaction.
fn take_queue(queue: &mut VecDeque<Arc<Pdu>>) -> Vec<Arc<Pdu>> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while taken.len() < MAX_PDUS
        && let Some(pdu) = queue.front()
    {
        bytes += pdu.json.len();
        if bytes > MAX_BYTES && !taken.is_empty() {
            break;
        }
        taken.extend(queue.pop_front());
    }
    taken
}

#[cfg(test)]
mod tests;
