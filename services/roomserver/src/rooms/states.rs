//! Reads any state, a pair of tries, like the current one.

use std::{collections::BTreeMap, sync::Arc};

use plexus_proto::log::v1::HistoryVisibility;

use super::{
    entry_changes::EntryChanges,
    event::StoredEvent,
    ids::EventNid,
    loaded_data::LoadedData,
    room::Inner,
    rows::NodeRow,
    state::{MEMBER, key_of},
    state_cache::StateEvent,
    trie::{Change, Key, Missing, NewNodes, Trie, diff},
    work::{Stop, Work},
};

/// A state: members and the rest.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) members: Trie,
    pub(super) other: Trie,
}

/// Which state an event is looked at against.
#[derive(Debug, Clone)]
pub(super) enum StateRef {
    /// The current state of the room.
    Current,
    /// Another one.
    State(State),
}

/// How two states differ.
#[derive(Debug, Clone, Default)]
pub(super) struct Differences {
    pub(super) members: Vec<Change>,
    pub(super) other: Vec<Change>,
}

impl State {
    /// Hashes that tell the entries of the state from those of others; `None` if they are not loaded.
    pub(super) fn fingerprint(&self, loaded: &LoadedData) -> Option<(Option<u128>, Option<u128>)> {
        Some((self.members.hash(loaded).ok()?, self.other.hash(loaded).ok()?))
    }

    /// The state after a stored event.
    pub(super) fn after(event: &StoredEvent) -> Self {
        Self { members: Trie::stored(event.members_root), other: Trie::stored(event.other_root) }
    }

    /// The trie that holds entries of a type.
    pub(super) fn trie(&self, event_type: &str) -> &Trie {
        if event_type == MEMBER { &self.members } else { &self.other }
    }
}

impl Inner {
    /// The current state.
    pub(super) fn state(&self) -> State {
        State { members: self.members.clone(), other: self.other.clone() }
    }
}

impl Differences {
    pub(super) fn len(&self) -> usize {
        self.members.len() + self.other.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Change> {
        self.other.iter().chain(&self.members)
    }
}

impl Work<'_> {
    /// Reads an entry of a state.
    pub(super) fn state_at(
        &mut self,
        at: &StateRef,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Arc<StateEvent>>, Stop> {
        let state = match at {
            StateRef::Current => return self.state(event_type, state_key),
            StateRef::State(state) => state,
        };
        let key = key_of(event_type, state_key);
        let nid = match state.trie(event_type).get(key, self.loaded) {
            Ok(Some(nid)) => nid,
            Ok(None) => return Ok(None),
            Err(Missing(node)) => return Err(self.missing_nodes([node])),
        };
        // Most entries are those of the current state, which are parsed already.
        if let Some(Some(current)) = self.room.state_cache.get(key)
            && current.nid == nid
        {
            return Ok(Some(Arc::clone(current)));
        }
        let event = self.event(nid)?;
        Ok(Some(Arc::new(parse(&event)?)))
    }

    /// The history visibility in force in a state.
    pub(super) fn visibility_at(&mut self, at: &StateRef) -> Result<HistoryVisibility, Stop> {
        let event = self.state_at(at, "m.room.history_visibility", "")?;
        Ok(event.map_or(HistoryVisibility::Shared, |event| event.visibility))
    }

    /// The state that is meant.
    pub(super) fn state_of(&self, at: &StateRef) -> State {
        match at {
            StateRef::Current => self.room.state(),
            StateRef::State(state) => state.clone(),
        }
    }

    /// Whether two states are equal.
    pub(super) fn is_same(&mut self, a: &State, b: &State) -> Result<bool, Stop> {
        let pairs = [(&a.members, &b.members), (&a.other, &b.other)];
        let mut same = Ok(true);
        for (a, b) in pairs {
            if a.root() == b.root() {
                continue;
            }
            match (a.hash(self.loaded), b.hash(self.loaded)) {
                (Ok(a), Ok(b)) => same = same.map(|same| same && a == b),
                (a, b) => {
                    let missing = [a.err(), b.err()].into_iter().flatten();
                    same = Err(self.missing_nodes(missing.map(|Missing(nid)| nid)));
                }
            }
        }
        same
    }

    /// Tells how the second state differs from the first.
    pub(super) fn differences(&mut self, before: &State, after: &State) -> Result<Differences, Stop> {
        let members = diff(&before.members, &after.members, self.loaded);
        let other = diff(&before.other, &after.other, self.loaded);
        match (members, other) {
            (Ok(members), Ok(other)) => Ok(Differences { members, other }),
            (members, other) => {
                let missing = [members.err(), other.err()].into_iter().flatten().flatten();
                Err(self.missing_nodes(missing))
            }
        }
    }

    /// A state with other events in it.
    pub(super) fn with_changes(&mut self, state: &State, changes: &EntryChanges) -> Result<State, Stop> {
        let members = self.changed(&state.members, &changes.members)?;
        let other = self.changed(&state.other, &changes.other)?;
        Ok(State { members, other })
    }

    /// A state with one more event in it.
    pub(super) fn with_event(
        &mut self,
        state: &State,
        event_type: &str,
        state_key: &str,
        nid: EventNid,
    ) -> Result<State, Stop> {
        let mut changes = EntryChanges::default();
        let list = if event_type == MEMBER { &mut changes.members } else { &mut changes.other };
        list.insert(key_of(event_type, state_key), Some(nid));
        self.with_changes(state, &changes)
    }

    fn changed(&mut self, trie: &Trie, changes: &BTreeMap<Key, Option<EventNid>>) -> Result<Trie, Stop> {
        let mut new = NewNodes::new(&mut self.counters);
        let changed = trie.set_many(changes, self.loaded, &mut new);
        let made = std::mem::take(&mut new.nodes);
        match changed {
            Ok(changed) => {
                self.keep_nodes(made);
                Ok(changed)
            }
            Err(Missing(node)) => Err(self.missing_nodes([node])),
        }
    }

    /// Keeps nodes that were made.
    pub(super) fn keep_nodes(&mut self, made: Vec<(super::NodeNid, Arc<super::Node>)>) {
        let room_nid = self.room.identity.nid;
        self.rows.nodes.extend(made.into_iter().map(|(nid, node)| {
            let body = node.encode();
            NodeRow { room_nid, nid, node, body }
        }));
    }
}

/// Parses a stored event as a state entry.
pub(super) fn parse(event: &StoredEvent) -> Result<StateEvent, Stop> {
    StateEvent::parse(event)
        .map_err(|error| Stop::Poison(format!("stored event {} cannot be read: {error}", event.nid)))
}
