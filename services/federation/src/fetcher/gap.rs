//! Fetches the events between those that are known here and one whose past is missing, by `/get_missing_events`.

use std::collections::{BTreeSet, HashMap, HashSet};

use ruma::OwnedEventId;

use super::{
    Failure,
    ask::Peer,
    order::{self, By},
    room::Room,
    saga::Parked,
};
use crate::checked::CheckedPdu;

/// Rounds of questions, and events, after which the gap stays one.
const MAX_ROUNDS: usize = 5;
const MAX_EVENTS: usize = 100;
/// Most events of one answer that are looked at, and most that a question names.
const MAX_ANSWER: usize = 100;
const MAX_NAMED: usize = 20;

/// Events before a parked one.
#[derive(Debug, Default)]
pub(super) struct Gap {
    /// The events: what is cited goes first.
    pub(super) events: Vec<CheckedPdu>,
    /// What they cite, and nobody has told.
    missing: BTreeSet<OwnedEventId>,
}

impl Gap {
    /// Events of which not all previous events are known, with those that are missing.
    pub(super) fn holes(&self) -> Vec<(&CheckedPdu, Vec<OwnedEventId>)> {
        let missing = |event: &CheckedPdu| -> Vec<OwnedEventId> {
            let prevs = event.pdu().prev_event_ids().iter();
            prevs.filter(|prev| self.missing.contains(*prev)).cloned().collect()
        };
        let holes = self.events.iter().map(|event| (event, missing(event)));
        holes.filter(|(_, missing)| !missing.is_empty()).collect()
    }
}

/// What was found so far.
pub(super) struct Walk {
    pub(super) found: HashMap<OwnedEventId, CheckedPdu>,
    /// Events that are cited and not found.
    pub(super) wanted: BTreeSet<OwnedEventId>,
}

impl Walk {
    /// Takes of what was offered that which leads on from what is wanted; true if there was something. `placed`: events
    /// at which the state is known here.
    pub(super) fn take(&mut self, offered: Vec<CheckedPdu>, placed: &HashSet<OwnedEventId>) -> bool {
        let mut offered: HashMap<OwnedEventId, CheckedPdu> =
            offered.into_iter().map(|event| (event.event_id().to_owned(), event)).collect();
        let mut open: Vec<OwnedEventId> =
            self.wanted.iter().filter(|id| offered.contains_key(*id)).cloned().collect();
        let leads_on = !open.is_empty();
        while let Some(id) = open.pop() {
            let Some(event) = offered.remove(&id) else { continue };
            self.wanted.remove(&id);
            for prev in event.pdu().prev_event_ids() {
                if placed.contains(prev) || self.found.contains_key(prev) || *prev == id {
                    continue;
                }
                if offered.contains_key(prev) {
                    open.push(prev.clone());
                } else {
                    self.wanted.insert(prev.clone());
                }
            }
            self.found.insert(id, event);
        }
        // What is found by now was cited before it was looked at.
        let found = &self.found;
        self.wanted.retain(|id| !found.contains_key(id));
        leads_on
    }

    /// The found events whose past is missing, least deep first.
    pub(super) fn edge(&self) -> Vec<OwnedEventId> {
        let cites =
            |event: &&CheckedPdu| event.pdu().prev_event_ids().iter().any(|prev| self.wanted.contains(prev));
        let mut edge: Vec<&CheckedPdu> = self.found.values().filter(cites).collect();
        edge.sort_by_key(|event| (event.pdu().depth(), event.event_id().to_owned()));
        edge.into_iter().map(|event| event.event_id().to_owned()).collect()
    }
}

/// Asks a server for what a parked event lacks of its past. Whoever sends an event has to tell at least what it cites.
pub(super) async fn fill(room: &Room<'_>, peer: Peer<'_>, parked: &Parked) -> Result<Gap, Failure> {
    let mut walk = Walk { found: HashMap::new(), wanted: parked.missing_prevs.clone() };
    for round in 0..MAX_ROUNDS {
        let edge = walk.edge();
        let latest: Vec<OwnedEventId> =
            std::iter::once(&parked.event_id).chain(&edge).take(MAX_NAMED).cloned().collect();
        let have = room.latest.iter().chain(&parked.known_prevs).chain(walk.found.keys());
        let mut earliest: Vec<OwnedEventId> = Vec::new();
        for id in have {
            if !latest.contains(id) && !earliest.contains(id) && earliest.len() < MAX_NAMED {
                earliest.push(id.clone());
            }
        }
        let mut answer = peer.missing_events(&earliest, &latest).await?;
        answer.truncate(MAX_ANSWER);
        let was_empty = answer.is_empty();
        let mut read = room.read(&answer);
        read.retain(|event| !walk.found.contains_key(event.event_id()));
        let offered = room.check(read).await;
        let cited: BTreeSet<&OwnedEventId> = offered
            .iter()
            .flat_map(|event| event.pdu().prev_event_ids())
            .filter(|id| !walk.found.contains_key(*id))
            .collect();
        let known = room.known(cited).await?;
        let placed = known.into_iter().filter(|(_, event)| event.placed).map(|(id, _)| id).collect();
        if !walk.take(offered, &placed) {
            match round {
                0 if was_empty => {
                    return Err(Failure::Refused(format!("{} tells no missing events", peer.server)));
                }
                0 => {
                    return Err(Failure::Invalid(format!(
                        "{} tells no missing event that is one",
                        peer.server
                    )));
                }
                _ => break,
            }
        }
        if walk.wanted.is_empty() || walk.found.len() >= MAX_EVENTS {
            break;
        }
    }
    if let Some(untold) = parked.missing_prevs.iter().find(|id| walk.wanted.contains(*id)) {
        return Err(Failure::Refused(format!("{} does not tell {untold}", peer.server)));
    }
    let events = order::sorted(walk.found.into_values().collect(), By::Graph);
    Ok(Gap { events, missing: walk.wanted })
}
