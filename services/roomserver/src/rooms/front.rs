//! The front of a room: its forward extremities.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    event::{StoredEvent, flags},
    ids::EventNid,
    room::Latest,
    states::State,
    work::{Stop, Work},
};

/// Most forward extremities an event of ours cites: the newest ones, and the newest of our own.
const MAX_CITED: usize = 10;
/// Most forward extremities of a room.
const MAX_LATEST: usize = 60;
/// How far back events that were refused are followed to what they cite.
const MAX_BEHIND: usize = 1000;
/// An extremity may go if it is this much older, in milliseconds and in depth…
const STALE: (i64, i64) = (24 * 60 * 60 * 1000, 100);
/// …or if its server has sent the newest event, this much deeper.
const SURPASSED: i64 = 20;

impl Work<'_> {
    /// The forward extremities that an event of ours cites.
    pub(super) fn cited(&self) -> Vec<Latest> {
        let mut latest = self.room.latest.clone();
        if latest.len() > MAX_CITED {
            latest.sort_by(|a, b| b.depth.cmp(&a.depth).then_with(|| b.nid.cmp(&a.nid)));
            let own = latest.iter().skip(MAX_CITED).filter(|latest| latest.local).max_by_key(|own| own.nid);
            let own = own.cloned();
            latest.truncate(MAX_CITED);
            latest.extend(own);
        }
        latest
    }

    /// Whether events are all that is at the front, and nothing else.
    pub(super) fn is_front(&self, events: &[EventNid]) -> bool {
        let (front, events): (BTreeSet<_>, BTreeSet<_>) =
            (self.room.latest.iter().map(|latest| latest.nid).collect(), events.iter().copied().collect());
        front == events
    }

    /// The forward extremities after an accepted event: what it cites is no longer one, nor what those of its previous
    /// events cite that were refused.
    pub(super) fn front_with(&mut self, event: Latest, prevs: &[Latest]) -> Result<Vec<Latest>, Stop> {
        let mut passed: BTreeSet<EventNid> = prevs.iter().map(|prev| prev.nid).collect();
        // A line has nothing behind what it cites but more of the line.
        let is_line = self.room.latest.iter().all(|latest| passed.contains(&latest.nid));
        if !is_line {
            self.pass_refused(&mut passed)?;
        }
        let mut front: Vec<_> =
            self.room.latest.iter().filter(|latest| !passed.contains(&latest.nid)).cloned().collect();
        if front.is_empty() || !self.is_referenced(&event)? {
            front.push(event);
        }
        Ok(front)
    }

    fn pass_refused(&mut self, passed: &mut BTreeSet<EventNid>) -> Result<(), Stop> {
        let mut open: Vec<EventNid> = passed.iter().copied().collect();
        while !open.is_empty() && passed.len() < MAX_BEHIND {
            let mut next = Vec::new();
            for nid in open {
                let Some(event) = self.event(nid) else { continue };
                if !event.lacks(flags::REJECTED | flags::SOFT_FAILED) {
                    next.extend(event.prev_nids.iter().copied().filter(|nid| passed.insert(*nid)));
                }
            }
            self.settle()?;
            open = next;
        }
        Ok(())
    }

    /// Whether an accepted event cites this one already.
    fn is_referenced(&mut self, event: &Latest) -> Result<bool, Stop> {
        if !self.room.has_gaps {
            return Ok(false);
        }
        let arrival = self.arrival(&event.event_id);
        self.settle()?;
        Ok(arrival.is_some_and(|arrival| arrival.referenced))
    }

    /// Resolves the states after all forward extremities, one of which is new. Extremities that have grown stale are
    /// left out, if nothing of the state depends on them.
    pub(super) fn resolve_front(
        &mut self,
        front: Vec<Latest>,
        new: &StoredEvent,
        after: &State,
    ) -> Result<(Vec<Latest>, State), Stop> {
        let mut events = BTreeMap::new();
        for latest in front.iter().filter(|latest| latest.nid != new.nid) {
            if let Some(event) = self.event(latest.nid) {
                events.insert(latest.nid, event);
            }
        }
        self.settle()?;
        let state_of = |latest: &Latest| match events.get(&latest.nid) {
            Some(event) => State::after(event),
            None => after.clone(),
        };
        let states: Vec<State> = front.iter().map(state_of).collect();
        let current = self.resolve(&states)?;
        // Stale are those whose state is not the current one: all of them go, or none.
        let mut upholding = Vec::new();
        for (latest, state) in front.iter().zip(&states) {
            let same = self.is_same(state, &current);
            self.settle()?;
            if same == Some(true) {
                upholding.push(latest.clone());
            }
        }
        if upholding.len() < front.len() && !upholding.is_empty() {
            let kept: BTreeSet<_> = upholding.iter().map(|latest| latest.nid).collect();
            let newest = front.iter().map(|latest| latest.depth).max().unwrap_or(new.depth);
            let now = self.record.produced_ts;
            let is_stale = |latest: &Latest| {
                !latest.local
                    && events.get(&latest.nid).is_some_and(|event| {
                        let old = event.origin_server_ts < now.saturating_sub(STALE.0)
                            && event.depth < newest.saturating_sub(STALE.1);
                        let surpassed = event.sender.server_name() == new.sender.server_name()
                            && event.depth < newest.saturating_sub(SURPASSED);
                        old || surpassed
                    })
            };
            if front.iter().filter(|latest| !kept.contains(&latest.nid)).all(is_stale) {
                return Ok((upholding, current));
            }
        }
        if front.len() <= MAX_LATEST {
            return Ok((front, current));
        }
        self.cut_front(front, new, &state_of)
    }

    /// Too many extremities, whoever made them: those that are least deep go, but for our own and the new one.
    fn cut_front(
        &mut self,
        mut front: Vec<Latest>,
        new: &StoredEvent,
        state_of: &dyn Fn(&Latest) -> State,
    ) -> Result<(Vec<Latest>, State), Stop> {
        front.sort_by(|a, b| {
            let first = |latest: &Latest| latest.local || latest.nid == new.nid;
            first(b).cmp(&first(a)).then_with(|| b.depth.cmp(&a.depth)).then_with(|| b.nid.cmp(&a.nid))
        });
        front.truncate(MAX_LATEST);
        let states: Vec<State> = front.iter().map(state_of).collect();
        let current = self.resolve(&states)?;
        Ok((front, current))
    }
}
