//! Raises the alarm for state resets: a key of the current state that changed although no event says so.
//!
//! State resolution may take an event out of the state: one that is no longer allowed, or one that lost against another
//! for its key. It must not lose one that nobody contests. So an alarm is raised if a key is removed, or goes back to an
//! event that the lost one had replaced, while
//! - the state after the event that arrives does not hold another event for the key: one that is there now, or that made
//!   way for what is, or that the rules forbid in the new state;
//! - and the rules would still allow the lost one: in the new state, and in the state after the event that arrives, which
//!   may have left it out where the rules forbade it.

use std::sync::Arc;

use ruma::state_res::Event as _;

use super::{
    event::StoredEvent,
    ids::EventNid,
    rows::StateResetRow,
    state_cache::StateEvent,
    state_change::ChangedEntry,
    states::{State, StateRef},
    work::{Stop, Work},
};

/// How many replaced events are followed back.
const MAX_REPLACED: usize = 32;
/// How many lost entries of one change are looked into.
const MAX_SUSPECTS: usize = 32;

impl Work<'_> {
    /// Looks whether the current state loses anything for no reason when an event arrives. `states` are the new one, and
    /// the one after the event.
    pub(super) fn detect_resets(
        &mut self,
        event: &StoredEvent,
        states: [&State; 2],
        entries: &[ChangedEntry],
    ) -> Result<(), Stop> {
        let states = states.map(|state| StateRef::State(state.clone()));
        let lost = entries.iter().filter_map(|entry| Some((entry, entry.before.as_ref()?)));
        for (entry, lost) in lost.take(MAX_SUSPECTS) {
            let now = entry.after.as_ref().map(|now| now.nid);
            let is_suspect = match now {
                None => true,
                Some(now) if now == event.nid => false,
                Some(now) => self.had_replaced(lost, now)?,
            };
            if !is_suspect
                || self.is_contested(lost, now, &states)?
                || !self.is_still_allowed(lost, &states)?
            {
                continue;
            }
            self.rows.state_resets.push(StateResetRow {
                room_nid: self.room.identity.nid,
                event_nid: event.nid,
                lost_nid: lost.nid,
                now_nid: now,
                latest_nids: self.room.forward_extremities.iter().map(|extremity| extremity.nid).collect(),
                detected_ts: self.record.produced_ts,
            });
        }
        Ok(())
    }

    /// Whether an event replaced another, directly or through others.
    fn had_replaced(&mut self, newer: &StateEvent, older: EventNid) -> Result<bool, Stop> {
        let mut nid = newer.nid;
        for _ in 0..MAX_REPLACED {
            match self.event(nid)?.replaces_nid {
                Some(replaced) if replaced == older => return Ok(true),
                Some(replaced) => nid = replaced,
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Whether the event that arrives has another event in place of the lost one, which is or lets come what is there
    /// now. If nothing is there, the rules must forbid that other one.
    fn is_contested(
        &mut self,
        lost: &StateEvent,
        now: Option<EventNid>,
        [new, after]: &[StateRef; 2],
    ) -> Result<bool, Stop> {
        let state_key = lost.pdu.state_key().unwrap_or_default();
        let held = self.state_at(after, &lost.pdu.event_type().to_string(), state_key)?;
        match held {
            Some(held) if held.nid == lost.nid => Ok(false),
            Some(held) => Ok(now.is_some() || self.check_against(&held.pdu, new)?.is_err()),
            None => Ok(false),
        }
    }

    /// Whether the rules allow an event in all of some states.
    fn is_still_allowed(&mut self, lost: &Arc<StateEvent>, states: &[StateRef]) -> Result<bool, Stop> {
        for at in states {
            if self.check_against(&lost.pdu, at)?.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
