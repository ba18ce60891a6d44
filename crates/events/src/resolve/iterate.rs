//! The iterative auth checks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use ruma::{
    events::{StateEventType, TimelineEventType},
    state_res::Event as _,
};

use super::{Conflicted, Lookup, Reader, Round, StateKey, Step, Unresolved, key_of};
use crate::{auth, pdu::Pdu};

/// Asks for all that the checks of these events may read.
pub(super) fn preload<L: Lookup>(
    reader: &Reader<'_, L>,
    conflicted: &Conflicted<L::Nid>,
    full: &BTreeSet<L::Nid>,
) -> Result<(), Unresolved<L::Nid>> {
    // Asking notes what is lacking; the answers are not needed yet.
    let load = |nid: L::Nid| drop(reader.event(nid));
    load(reader.conflict.create);
    for &nid in full {
        for &auth in reader.links(nid).iter().flat_map(|links| &*links.auth) {
            load(auth);
        }
        let Some(event) = reader.event(nid) else { continue };
        let key = key_of(&event)?;
        if !conflicted.has_key(&key) {
            reader.state(&key);
        }
        if starts_empty(reader) {
            continue;
        }
        for key in auth_keys(reader, &event).unwrap_or_default() {
            if !conflicted.has_key(&key) {
                reader.state(&key).flatten().into_iter().for_each(load);
            }
        }
    }
    // The mainline starts at these if they are not in conflict.
    let power_levels = (StateEventType::RoomPowerLevels, String::new());
    if !starts_empty(reader) && !conflicted.has_key(&power_levels) {
        reader.state(&power_levels).flatten().into_iter().for_each(load);
    }
    Ok(())
}

fn starts_empty<L: Lookup>(reader: &Reader<'_, L>) -> bool {
    reader.conflict.rules.state_resolution().begin_iterative_auth_checks_with_empty_state_map
}

fn auth_keys<L: Lookup>(reader: &Reader<'_, L>, event: &Pdu) -> Result<Vec<StateKey>, auth::Refused> {
    let rules = reader.conflict.rules;
    auth::auth_types(event.event_type(), event.sender(), event.state_key(), event.content(), rules)
}

type Finished<N> = Result<(BTreeMap<StateKey, Option<N>>, Vec<Step<N>>), Unresolved<N>>;

/// The checks under way.
pub(super) struct Iteration<'a, L: Lookup> {
    reader: &'a Reader<'a, L>,
    conflicted: &'a Conflicted<L::Nid>,
    /// Entries set so far; version 2 has the unconflicted state map below them.
    state: HashMap<StateKey, L::Nid>,
    steps: Vec<Step<L::Nid>>,
}

impl<'a, L: Lookup> Iteration<'a, L> {
    pub(super) fn new(reader: &'a Reader<'a, L>, conflicted: &'a Conflicted<L::Nid>) -> Self {
        Self { reader, conflicted, state: HashMap::new(), steps: Vec::new() }
    }

    /// Applies events in order.
    pub(super) fn run(&mut self, events: &[L::Nid], round: Round) -> Result<(), Unresolved<L::Nid>> {
        for &nid in events {
            let event = self.reader.loaded(nid)?;
            let verdict = self.check(nid, &event)?;
            let key = key_of(&event)?;
            if verdict.is_ok() {
                self.state.insert(key.clone(), nid);
            }
            if self.reader.conflict.explain {
                let refused = verdict.err().map(|refused| refused.0);
                self.steps.push(Step { event: nid, key, round, refused });
            }
        }
        Ok(())
    }

    /// Checks an event against the state so far, with its own auth events where that lacks something.
    fn check(&self, nid: L::Nid, event: &Pdu) -> Result<Result<(), auth::Refused>, Unresolved<L::Nid>> {
        if event.rejected() {
            return Ok(Err(auth::Refused("the event was rejected before".to_owned())));
        }
        let rules = self.reader.conflict.rules;
        let mut authors: Vec<Arc<Pdu>> = Vec::with_capacity(8);
        // The first one found counts: the state's entries come before the event's own auth events.
        let keys = match auth_keys(self.reader, event) {
            Ok(keys) => keys,
            Err(refused) => return Ok(Err(refused)),
        };
        for key in &keys {
            let Some(entry) = self.entry(key)? else { continue };
            let entry = self.reader.loaded(entry)?;
            if !entry.rejected() {
                authors.push(entry);
            }
        }
        let links = self.reader.links(nid).ok_or_else(|| self.reader.stop())?;
        for &auth in &*links.auth {
            let auth = self.reader.loaded(auth)?;
            if !auth.rejected() {
                authors.push(auth);
            }
        }
        if rules.room_id_is_create_hash() && *event.event_type() != TimelineEventType::RoomCreate {
            authors.push(self.reader.loaded(self.reader.conflict.create)?);
        }
        let find = |event_type: &StateEventType, state_key: &str| {
            let wanted = TimelineEventType::from(event_type.clone());
            let mut authors = authors.iter();
            authors
                .find(|held| held.state_key() == Some(state_key) && *held.event_type() == wanted)
                .map(|held| &**held)
        };
        Ok(auth::check_dependent(event, rules, find))
    }

    fn entry(&self, key: &StateKey) -> Result<Option<L::Nid>, Unresolved<L::Nid>> {
        if let Some(&nid) = self.state.get(key) {
            return Ok(Some(nid));
        }
        if starts_empty(self.reader) || self.conflicted.has_key(key) {
            return Ok(None);
        }
        self.reader.state(key).ok_or_else(|| self.reader.stop())
    }

    /// The power levels event of the state so far.
    pub(super) fn power_levels(&self) -> Result<Option<L::Nid>, Unresolved<L::Nid>> {
        self.entry(&(StateEventType::RoomPowerLevels, String::new()))
    }

    /// Leaves out what an unconflicted entry replaces.
    pub(super) fn finish(mut self) -> Finished<L::Nid> {
        let mut entries = BTreeMap::new();
        for key in self.conflicted.by_key.keys() {
            entries.insert(key.clone(), self.state.remove(key));
        }
        for (key, nid) in self.state {
            if self.reader.state(&key).ok_or_else(|| self.reader.stop())?.is_none() {
                entries.insert(key, Some(nid));
            }
        }
        Ok((entries, self.steps))
    }
}
