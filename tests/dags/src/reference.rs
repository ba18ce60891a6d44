//! Resolution as the specification writes it, over whole states: by ruma's `resolve`, with searches of the graph that
//! know no shortcut.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use plexus_events::resolve::StateKey;
use ruma::{
    EventId, OwnedEventId,
    state_res::{self, Event as _, StateMap, utils::event_id_set::EventIdSet},
};

use crate::room::{Nid, Room, State};

/// Whether the auth chain of a state includes the events of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// It does, as in Synapse.
    OwnEvents,
    /// Only if another of them cites it: the letter of the specification.
    Letter,
}

/// The full auth chain of events.
#[must_use]
pub fn auth_chain(room: &Room, events: impl IntoIterator<Item = Nid>, chain: Chain) -> BTreeSet<Nid> {
    let events: Vec<Nid> = events.into_iter().collect();
    let mut found: BTreeSet<Nid> = BTreeSet::new();
    let mut next = events.clone();
    while let Some(nid) = next.pop() {
        next.extend(room.event(nid).auth.iter().filter(|auth| found.insert(**auth)));
    }
    if chain == Chain::OwnEvents {
        found.extend(events);
    }
    found
}

/// The values of the keys in which states differ, each with its values in all of the states.
#[must_use]
pub fn conflicts(states: &[&State]) -> BTreeMap<StateKey, Vec<Option<Nid>>> {
    let keys: BTreeSet<&StateKey> = states.iter().flat_map(|state| state.keys()).collect();
    let values = |key: &StateKey| -> Vec<_> { states.iter().map(|state| state.get(key).copied()).collect() };
    keys.into_iter()
        .map(|key| (key.clone(), values(key)))
        .filter(|(_, values)| values.iter().any(|value| *value != values[0]))
        .collect()
}

/// Union minus intersection of the states' full auth chains.
#[must_use]
pub fn auth_difference(room: &Room, states: &[&State], chain: Chain) -> BTreeSet<Nid> {
    let chains: Vec<_> =
        states.iter().map(|state| auth_chain(room, state.values().copied(), chain)).collect();
    let union: BTreeSet<Nid> = chains.iter().flatten().copied().collect();
    union.into_iter().filter(|nid| !chains.iter().all(|chain| chain.contains(nid))).collect()
}

/// All events on paths between conflicting ones: what is behind one and in front of one.
#[must_use]
pub fn subgraph(room: &Room, conflicting: &BTreeSet<Nid>) -> BTreeSet<Nid> {
    let behind = |nid: Nid| auth_chain(room, [nid], Chain::OwnEvents);
    let reached: BTreeSet<Nid> = conflicting.iter().flat_map(|nid| behind(*nid)).collect();
    reached.into_iter().filter(|nid| !behind(*nid).is_disjoint(conflicting)).collect()
}

/// Resolves with ruma.
///
/// # Panics
///
/// Panics if ruma cannot, which it always can with events that were accepted.
#[must_use]
pub fn resolve(room: &Room, states: &[&State], chain: Chain) -> State {
    let id = |nid: Nid| room.event(nid).pdu.event_id().clone();
    let maps: Vec<StateMap<OwnedEventId>> =
        states.iter().map(|state| state.iter().map(|(key, nid)| (key.clone(), id(*nid))).collect()).collect();
    let chains = states
        .iter()
        .map(|state| {
            auth_chain(room, state.values().copied(), chain).into_iter().map(id).collect::<EventIdSet<_>>()
        })
        .collect();
    let fetch = |id: &EventId| room.numbers.get(id).map(|nid| &*room.event(*nid).pdu);
    let fetch_subgraph = |conflicting: &StateMap<Vec<OwnedEventId>>| {
        let nids = conflicting.values().flatten().map(|id| room.numbers[id]).collect();
        Some(subgraph(room, &nids).into_iter().map(id).collect::<EventIdSet<_>>())
    };
    let rules = &room.rules.rules;
    let resolved: HashMap<_, _> = state_res::resolve(
        &rules.authorization,
        &room.rules.state_resolution(),
        &maps,
        chains,
        fetch,
        fetch_subgraph,
    )
    .expect("ruma resolves");
    resolved.into_iter().map(|(key, id)| (key, room.numbers[&id])).collect()
}
