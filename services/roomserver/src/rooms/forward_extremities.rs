//! Forward extremities: which ones an event cites, replaces and leaves.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    event::{StoredEvent, flags},
    ids::EventNid,
    room::ForwardExtremity,
    states::State,
    work::{Stop, Work, all},
};

/// Most forward extremities an event of ours cites: the newest ones, and the newest of our own.
const MAX_PREV_EVENTS: usize = 10;
/// Most forward extremities of a room.
const MAX_FORWARD_EXTREMITIES: usize = 60;
/// How far back events that were refused are followed to what they cite.
const MAX_BEHIND: usize = 1000;
/// An extremity may go if it is this much older, in milliseconds and in depth…
const STALE: (i64, i64) = (24 * 60 * 60 * 1000, 100);
/// …or if its server has sent the newest event, this much deeper.
const SURPASSED: i64 = 20;

impl Work<'_> {
    /// The forward extremities that an event of ours cites.
    pub(super) fn cited(&self) -> Vec<ForwardExtremity> {
        let mut latest = self.room.forward_extremities.clone();
        if latest.len() > MAX_PREV_EVENTS {
            latest.sort_by(|a, b| b.depth.cmp(&a.depth).then_with(|| b.nid.cmp(&a.nid)));
            let own = latest
                .iter()
                .skip(MAX_PREV_EVENTS)
                .filter(|extremity| extremity.local)
                .max_by_key(|own| own.nid);
            let own = own.cloned();
            latest.truncate(MAX_PREV_EVENTS);
            latest.extend(own);
        }
        latest
    }

    /// Whether events are all forward extremities, and nothing else.
    pub(super) fn are_forward_extremities(&self, events: &[EventNid]) -> bool {
        let (extremities, events): (BTreeSet<_>, BTreeSet<_>) = (
            self.room.forward_extremities.iter().map(|extremity| extremity.nid).collect(),
            events.iter().copied().collect(),
        );
        extremities == events
    }

    /// The forward extremities after an accepted event: what it cites is no longer one, nor what those of its previous
    /// events cite that were refused.
    pub(super) fn extremities_with(
        &mut self,
        event: ForwardExtremity,
        prevs: &[ForwardExtremity],
    ) -> Result<Vec<ForwardExtremity>, Stop> {
        let mut passed: BTreeSet<EventNid> = prevs.iter().map(|prev| prev.nid).collect();
        // A line has nothing behind what it cites but more of the line.
        let is_line = self.room.forward_extremities.iter().all(|extremity| passed.contains(&extremity.nid));
        if !is_line {
            self.pass_refused(&mut passed)?;
        }
        let mut extremities: Vec<_> = self
            .room
            .forward_extremities
            .iter()
            .filter(|extremity| !passed.contains(&extremity.nid))
            .cloned()
            .collect();
        if extremities.is_empty() || !self.is_referenced(&event)? {
            extremities.push(event);
        }
        Ok(extremities)
    }

    fn pass_refused(&mut self, passed: &mut BTreeSet<EventNid>) -> Result<(), Stop> {
        let mut open: Vec<EventNid> = passed.iter().copied().collect();
        while !open.is_empty() && passed.len() < MAX_BEHIND {
            let mut next = Vec::new();
            for event in all(open.into_iter().map(|nid| self.event(nid)))? {
                if !event.lacks(flags::REJECTED | flags::SOFT_FAILED) {
                    next.extend(event.prev_nids.iter().copied().filter(|nid| passed.insert(*nid)));
                }
            }
            open = next;
        }
        Ok(())
    }

    /// Whether an accepted event cites this one already.
    fn is_referenced(&mut self, event: &ForwardExtremity) -> Result<bool, Stop> {
        if !self.room.has_gaps {
            return Ok(false);
        }
        Ok(self.arrival(&event.event_id)?.referenced)
    }

    /// Resolves the states after all forward extremities, one of which is new. Extremities that have grown stale are
    /// left out, if nothing of the state depends on them.
    pub(super) fn resolve_extremities(
        &mut self,
        extremities: Vec<ForwardExtremity>,
        new: &StoredEvent,
        after: &State,
    ) -> Result<(Vec<ForwardExtremity>, State), Stop> {
        let others = extremities.iter().filter(|extremity| extremity.nid != new.nid);
        let events = all(others.map(|extremity| self.event(extremity.nid)))?;
        let events: BTreeMap<_, _> = events.into_iter().map(|event| (event.nid, event)).collect();
        let state_of = |extremity: &ForwardExtremity| match events.get(&extremity.nid) {
            Some(event) => State::after(event),
            None => after.clone(),
        };
        let states: Vec<State> = extremities.iter().map(state_of).collect();
        let current = self.resolve(&states)?;
        // Stale are those whose state is not the current one: all of them go, or none.
        let mut upholding = Vec::new();
        for (extremity, state) in extremities.iter().zip(&states) {
            if self.is_same(state, &current)? {
                upholding.push(extremity.clone());
            }
        }
        if upholding.len() < extremities.len() && !upholding.is_empty() {
            let kept: BTreeSet<_> = upholding.iter().map(|extremity| extremity.nid).collect();
            let newest = extremities.iter().map(|extremity| extremity.depth).max().unwrap_or(new.depth);
            let now = self.record.produced_ts;
            let is_stale = |extremity: &ForwardExtremity| {
                !extremity.local
                    && events.get(&extremity.nid).is_some_and(|event| {
                        let old = event.origin_server_ts < now.saturating_sub(STALE.0)
                            && event.depth < newest.saturating_sub(STALE.1);
                        let surpassed = event.sender.server_name() == new.sender.server_name()
                            && event.depth < newest.saturating_sub(SURPASSED);
                        old || surpassed
                    })
            };
            if extremities.iter().filter(|extremity| !kept.contains(&extremity.nid)).all(is_stale) {
                return Ok((upholding, current));
            }
        }
        if extremities.len() <= MAX_FORWARD_EXTREMITIES {
            return Ok((extremities, current));
        }
        self.cut_extremities(extremities, new, &state_of)
    }

    /// Too many extremities, whoever made them: those that are least deep go, but for our own and the new one.
    fn cut_extremities(
        &mut self,
        mut extremities: Vec<ForwardExtremity>,
        new: &StoredEvent,
        state_of: &dyn Fn(&ForwardExtremity) -> State,
    ) -> Result<(Vec<ForwardExtremity>, State), Stop> {
        extremities.sort_by(|a, b| {
            let first = |extremity: &ForwardExtremity| extremity.local || extremity.nid == new.nid;
            first(b).cmp(&first(a)).then_with(|| b.depth.cmp(&a.depth)).then_with(|| b.nid.cmp(&a.nid))
        });
        extremities.truncate(MAX_FORWARD_EXTREMITIES);
        let states: Vec<State> = extremities.iter().map(state_of).collect();
        let current = self.resolve(&states)?;
        Ok((extremities, current))
    }
}
