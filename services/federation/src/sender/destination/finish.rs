//! Ends a transaction: moves the destination on, or backs off.

use std::collections::HashSet;

use ruma::OwnedRoomId;

use super::{Behind, Destination, Gathered, Plan, SetAside};
use crate::sender::{backoff, outcome::Outcome, transaction::MAX_PDUS};

/// How often an event is refused by itself before it is set aside, and how often a server may break at it.
const MAX_REFUSALS: u32 = 3;
const MAX_CRASHES: u32 = 10;
/// Pauses, in milliseconds: after a refusal, after a crash at most, and when we could not do it ourselves.
const AFTER_REFUSAL: i64 = 200;
const AFTER_CRASH: i64 = 200;
const MAX_AFTER_CRASH: i64 = 60_000;
const OURS: i64 = 2_000;

impl Destination {
    /// Notes how a transaction ended, and whether more waits that is not of rooms; returns what was set aside. `jitter` is between 0.8 and 1.4.
    pub(in crate::sender) fn finish(
        &mut self,
        plan: Plan,
        (gathered, has_more): (&[Gathered], bool),
        outcome: &Outcome,
        now: i64,
        jitter: f64,
    ) -> Vec<SetAside> {
        self.is_under_way = false;
        self.in_flight.clear();
        let mut set_aside = Vec::new();
        match outcome {
            Outcome::Delivered => {
                if self.failures > 0 {
                    self.is_changed = true;
                }
                (self.failures, self.first_failure_ts, self.retry_ts) = (0, 0, 0);
                (self.last_success_ts, self.error) = (now, String::new());
                self.advance(gathered);
                self.outbox.delivered(has_more);
            }
            Outcome::Nothing => {
                self.outbox.delivered(has_more);
                self.advance(gathered);
                // There is nothing to find out by.
                if self.behind.is_empty() && self.queue.is_empty() {
                    (self.failures, self.first_failure_ts, self.retry_ts) = (0, 0, 0);
                }
            }
            Outcome::Limited(wait) => {
                self.put_back(&plan);
                self.retry_ts = now + wait;
            }
            Outcome::Ours(_) => {
                self.put_back(&plan);
                self.retry_ts = now + OURS;
            }
            Outcome::Refused(error) => {
                self.refuse_outbox(&plan, gathered, now);
                self.spill_all(&plan);
                set_aside.extend(self.split(&plan, gathered, error, None, now));
            }
            Outcome::Crashed(error) => {
                self.refuse_outbox(&plan, gathered, now);
                self.spill_all(&plan);
                self.fail(error, now);
                // Most such servers break at one room: the others do not wait for it. One that breaks at all of them is broken.
                let doublings = self.failures.saturating_sub(2).min(16);
                self.retry_ts = now + AFTER_CRASH.saturating_mul(1 << doublings).min(MAX_AFTER_CRASH);
                set_aside.extend(self.split(&plan, gathered, error, Some(now), now));
            }
            Outcome::Unwilling(error) | Outcome::Unreachable(error) => {
                self.spill_all(&plan);
                self.fail(error, now);
                let is_unwilling = matches!(outcome, Outcome::Unwilling(_));
                let failing_for = now.saturating_sub(self.first_failure_ts);
                self.retry_ts = now + backoff::pause(self.failures, failing_for, is_unwilling, jitter);
            }
        }
        // Whatever was not delivered waits again.
        self.outbox.put_back();
        self.give_turns_back(&plan, gathered);
        set_aside
    }

    /// A transaction was refused: what is not of rooms may be why.
    fn refuse_outbox(&mut self, plan: &Plan, gathered: &[Gathered], now: i64) {
        let was_alone = plan.pdus.is_empty() && gathered.iter().all(|read| read.pdus == 0);
        self.outbox.refused(was_alone, now);
    }

    /// The server has what was read of backlogs.
    fn advance(&mut self, gathered: &[Gathered]) {
        for read in gathered {
            let Some(behind) = self.behind.get_mut(&read.room_id) else { continue };
            behind.after = behind.after.max(read.reached);
            (behind.refusals, behind.crashes, behind.not_before, behind.is_trimmed) = (0, 0, 0, true);
            if read.pdus > 0 {
                behind.limit = (behind.limit * 2).min(MAX_PDUS);
            }
            behind.alone &= behind.limit < MAX_PDUS;
            if !read.more && behind.after >= behind.newest {
                self.behind.remove(&read.room_id);
            }
            self.changed_rooms.insert(read.room_id.clone());
        }
    }

    fn fail(&mut self, error: &str, now: i64) {
        if self.failures == 0 {
            self.first_failure_ts = now;
        }
        self.failures = self.failures.saturating_add(1);
        self.error = error.chars().take(500).filter(|character| *character != '\0').collect();
        self.edus.clear();
        self.is_changed = true;
    }

    /// What was under way waits again, before everything else.
    fn put_back(&mut self, plan: &Plan) {
        for pdu in plan.pdus.iter().rev() {
            self.queue.push_front(pdu.clone());
        }
    }

    /// What was under way, and what waits, become rooms in which the server is behind.
    fn spill_all(&mut self, plan: &Plan) {
        for pdu in &plan.pdus {
            self.spill_one(pdu);
        }
        self.spill();
    }

    /// A transaction was refused as a whole: its rooms go one by one, then fewer of their events. An event that is refused
    /// by itself is set aside in the end. `crashed`: the server broke, so the room has a pause.
    fn split(
        &mut self,
        plan: &Plan,
        gathered: &[Gathered],
        error: &str,
        crashed: Option<i64>,
        now: i64,
    ) -> Option<SetAside> {
        let read = gathered.iter().filter(|read| read.pdus > 0);
        let rooms: HashSet<OwnedRoomId> = plan
            .pdus
            .iter()
            .map(|pdu| pdu.room_id.clone())
            .chain(read.clone().map(|read| read.room_id.clone()))
            .collect();
        let total = plan.pdus.len() + gathered.iter().map(|read| read.pdus).sum::<usize>();
        let is_one_room = rooms.len() == 1;
        let mut set_aside = None;
        for room_id in rooms {
            let Some(behind) = self.behind.get_mut(&room_id) else { continue };
            behind.alone = true;
            if !is_one_room {
                continue;
            }
            if crashed.is_some() {
                behind.crashes = behind.crashes.saturating_add(1);
                behind.not_before = now + backoff::room_pause(behind.crashes);
            }
            if total > 1 {
                behind.limit = (total / 2).max(1);
                continue;
            }
            behind.limit = 1;
            if crashed.is_none() {
                behind.refusals += 1;
                behind.not_before = now + AFTER_REFUSAL * i64::from(behind.refusals);
            }
            if behind.refusals >= MAX_REFUSALS || behind.crashes >= MAX_CRASHES {
                let live = plan.pdus.first().map(|pdu| (pdu.seq, pdu.event_id.clone()));
                let culprit = live.or_else(|| read.clone().find_map(|read| read.last.clone()));
                if let Some((seq, event_id)) = culprit {
                    set_aside =
                        Some(SetAside { room_id: room_id.clone(), event_id, error: error.to_owned() });
                    self.skip(&room_id, seq);
                }
            }
        }
        set_aside
    }

    fn skip(&mut self, room_id: &OwnedRoomId, seq: u64) {
        if let Some(behind) = self.behind.get_mut(room_id) {
            let newest = behind.newest;
            *behind = Behind { limit: 1, alone: true, ..Behind::new(behind.after.max(seq), newest) };
            behind.is_trimmed = true;
            self.changed_rooms.insert(room_id.clone());
        }
    }

    /// Rooms that were not read have the next turn, the others the last one.
    fn give_turns_back(&mut self, plan: &Plan, gathered: &[Gathered]) {
        for room in plan.rooms.iter().rev() {
            if !self.behind.contains_key(&room.room_id) || self.order.contains(&room.room_id) {
                continue;
            }
            if gathered.iter().any(|read| read.room_id == room.room_id) {
                self.order.push_back(room.room_id.clone());
            } else {
                self.order.push_front(room.room_id.clone());
            }
        }
    }
}
