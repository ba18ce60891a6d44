//! Resolves states: hands their differences to `plexus_events::resolve`, and puts the result into a trie.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, OnceLock},
};

use plexus_events::{
    Pdu,
    resolve::{Citing, Conflict, Links, Lookup, Unresolved, resolve},
};
use ruma::events::StateEventType;

use super::{
    entry_changes::EntryChanges,
    event::StoredEvent,
    ids::{EventNid, NodeNid},
    loaded_data::LoadedData,
    state::{MEMBER, key_of},
    states::State,
    trie::{Key, Missing},
    work::{Stop, Work, all},
};

impl Work<'_> {
    /// Resolves states; equal ones count once. Of no states, the result is the empty one.
    pub(super) fn resolve(&mut self, states: &[State]) -> Result<State, Stop> {
        let distinct = self.distinct(states)?;
        let Some(first) = distinct.first().cloned() else { return Ok(State::default()) };
        if distinct.len() == 1 {
            return Ok(first);
        }
        let fingerprints: Option<Vec<_>> =
            distinct.iter().map(|state| state.fingerprint(self.loaded)).collect();
        if let Some(changes) = fingerprints.as_ref().and_then(|states| self.loaded.effort.resolved(states)) {
            return self.with_changes(&first, &changes);
        }
        let keys = self.conflicting(&distinct)?;
        self.charge(keys.len())?;
        let (events, made) = (Made::of(self), self.loaded);
        let lookup = Projection {
            state: &first,
            made: &events,
            loaded: made,
            lacking: Mutex::default(),
            damaged: OnceLock::new(),
        };
        let values: Vec<Vec<Option<EventNid>>> = keys.into_values().collect();
        let conflict = Conflict {
            rules: self.rules(),
            create: self.room.identity.create_nid,
            keys: &values,
            explain: false,
        };
        let resolved = resolve(&conflict, &lookup);
        if let Some(why) = lookup.damaged.into_inner() {
            return Err(Stop::Poison(why));
        }
        let nodes = lookup.lacking.into_inner().unwrap_or_default();
        match resolved {
            Ok(resolved) => {
                let mut changes = EntryChanges::default();
                for ((event_type, state_key), nid) in resolved.entries {
                    let event_type = event_type.to_string();
                    let list = if event_type == MEMBER { &mut changes.members } else { &mut changes.other };
                    list.insert(key_of(&event_type, &state_key), nid);
                }
                let changes = Arc::new(changes);
                if let Some(states) = fingerprints {
                    self.loaded.effort.remember(states, Arc::clone(&changes));
                }
                self.with_changes(&first, &changes)
            }
            Err(Unresolved::Exhausted) => Err(Stop::Overrun),
            Err(Unresolved::Lacking(lacking)) => {
                self.request.links.extend(lacking.links);
                self.request.events.extend(lacking.events);
                self.request.citing.extend(lacking.citing);
                Err(self.missing_nodes(nodes))
            }
            Err(Unresolved::Damaged(why)) => Err(Stop::Poison(format!("state cannot be resolved: {why}"))),
        }
    }

    /// Leaves out the states that are equal to one before them.
    fn distinct(&mut self, states: &[State]) -> Result<Vec<State>, Stop> {
        let mut distinct: Vec<State> = Vec::with_capacity(states.len());
        let mut missing = Ok(());
        for state in states {
            match all(distinct.iter().map(|other| self.is_same(state, other))) {
                Ok(same) if same.contains(&true) => {}
                Ok(_) => distinct.push(state.clone()),
                Err(Stop::Missing) => missing = Err(Stop::Missing),
                Err(stop) => return Err(stop),
            }
        }
        missing.map(|()| distinct)
    }

    /// The keys in which states differ, with the event of each state.
    fn conflicting(&mut self, states: &[State]) -> Result<BTreeMap<Key, Vec<Option<EventNid>>>, Stop> {
        let Some((first, others)) = states.split_first() else { return Ok(BTreeMap::new()) };
        let (mut members, mut other): (BTreeSet<Key>, BTreeSet<Key>) = Default::default();
        for differences in all(others.iter().map(|state| self.differences(first, state)))? {
            members.extend(differences.members.iter().map(|change| change.key));
            other.extend(differences.other.iter().map(|change| change.key));
        }
        let mut keys = BTreeMap::new();
        let mut missing = Vec::new();
        let wanted =
            members.into_iter().map(|key| (key, true)).chain(other.into_iter().map(|key| (key, false)));
        for (key, is_member) in wanted {
            let mut values = Vec::with_capacity(states.len());
            for state in states {
                let trie = if is_member { &state.members } else { &state.other };
                match trie.get(key, self.loaded) {
                    Ok(value) => values.push(value),
                    Err(Missing(nid)) => missing.push(nid),
                }
            }
            keys.insert(key, values);
        }
        if missing.is_empty() { Ok(keys) } else { Err(self.missing_nodes(missing)) }
    }
}

/// Events that this input has made or changed.
struct Made {
    events: HashMap<EventNid, Arc<StoredEvent>>,
}

impl Made {
    fn of(work: &Work<'_>) -> Self {
        let rows = work.rows.events.iter().chain(&work.rows.placed).map(|row| &row.event);
        let events = rows
            .chain(&work.rows.rewritten)
            .chain(&work.arriving)
            .map(|event| (event.nid, Arc::clone(event)));
        Self { events: events.collect() }
    }
}

/// What resolution sees of the room.
struct Projection<'a> {
    /// Any of the states: asked for keys in which all agree.
    state: &'a State,
    made: &'a Made,
    loaded: &'a LoadedData,
    /// Nodes that were lacking.
    lacking: Mutex<BTreeSet<NodeNid>>,
    /// The first event that is stored and cannot be read. It was checked when it was stored: loading it again would not
    /// help, and would go on forever.
    damaged: OnceLock<String>,
}

impl Projection<'_> {
    fn stored(&self, nid: EventNid) -> Option<&Arc<StoredEvent>> {
        self.made.events.get(&nid).or_else(|| self.loaded.events.get(&nid))
    }
}

impl Lookup for Projection<'_> {
    type Nid = EventNid;

    fn links(&self, nid: EventNid) -> Option<Links<EventNid>> {
        match self.stored(nid) {
            Some(event) => {
                Some(Links { generation: event.auth_generation, auth: event.auth_nids.as_slice().into() })
            }
            None => self.loaded.links.get(&nid).cloned(),
        }
    }

    fn event(&self, nid: EventNid) -> Option<Arc<Pdu>> {
        let event = self.stored(nid)?;
        match self.loaded.parsed.parse(event) {
            Ok(pdu) => Some(pdu),
            Err(error) => {
                self.damaged
                    .get_or_init(|| format!("stored event {} cannot be read: {error}", event.event_id));
                None
            }
        }
    }

    fn state(&self, event_type: &StateEventType, state_key: &str) -> Option<Option<EventNid>> {
        let event_type = event_type.to_string();
        match self.state.trie(&event_type).get(key_of(&event_type, state_key), self.loaded) {
            Ok(nid) => Some(nid),
            Err(Missing(node)) => {
                if let Ok(mut lacking) = self.lacking.lock() {
                    lacking.insert(node);
                }
                None
            }
        }
    }

    fn may_go_on(&self) -> bool {
        self.loaded.effort.charge(1)
    }

    fn citing(&self, nid: EventNid) -> Option<Citing<EventNid>> {
        let stored = self.loaded.citing(nid)?;
        let Citing::Known(stored) = stored else { return Some(Citing::Unknown) };
        let made = self.made.events.values().filter(|event| event.state_key.is_some());
        let made = made.filter(|event| event.auth_nids.contains(&nid)).map(|event| event.nid);
        Some(Citing::Known(stored.iter().copied().chain(made).collect()))
    }
}
