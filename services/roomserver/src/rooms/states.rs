//! State at any point: a pair of tries, read like the current one.

use std::{collections::BTreeMap, sync::Arc};

use plexus_proto::log::v1::HistoryVisibility;

use super::{
    event::StoredEvent,
    hot::StateEvent,
    ids::EventNid,
    outcome::NodeRow,
    room::Inner,
    state::{MEMBER, key_of},
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
pub(super) enum At {
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

/// Keys to set or to remove.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    pub(super) members: BTreeMap<Key, Option<EventNid>>,
    pub(super) other: BTreeMap<Key, Option<EventNid>>,
}

impl State {
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
    /// Reads an entry of a state. `Some(None)`: there is none; `None`: something is lacking.
    pub(super) fn state_at(
        &mut self,
        at: &At,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Option<Arc<StateEvent>>>, Stop> {
        let state = match at {
            At::Current => return self.state(event_type, state_key),
            At::State(state) => state,
        };
        let key = key_of(event_type, state_key);
        let nid = match state.trie(event_type).get(key, self.source) {
            Ok(Some(nid)) => nid,
            Ok(None) => return Ok(Some(None)),
            Err(Missing(node)) => {
                self.need_nodes([node]);
                return Ok(None);
            }
        };
        // Most entries are those of the current state, which are parsed already.
        if let Some(Some(current)) = self.room.hot.get(key)
            && current.nid == nid
        {
            return Ok(Some(Some(Arc::clone(current))));
        }
        let Some(event) = self.event(nid) else { return Ok(None) };
        Ok(Some(Some(Arc::new(parse(&event)?))))
    }

    /// The history visibility in force in a state.
    pub(super) fn visibility_at(&mut self, at: &At) -> Result<Option<HistoryVisibility>, Stop> {
        let found = self.state_at(at, "m.room.history_visibility", "")?;
        Ok(found.map(|event| event.map_or(HistoryVisibility::Shared, |event| event.visibility)))
    }

    /// The state that is meant.
    pub(super) fn state_of(&self, at: &At) -> State {
        match at {
            At::Current => self.room.state(),
            At::State(state) => state.clone(),
        }
    }

    /// Whether two states are equal. `None`: something is lacking.
    pub(super) fn is_same(&mut self, a: &State, b: &State) -> Option<bool> {
        let pairs = [(&a.members, &b.members), (&a.other, &b.other)];
        let mut same = Some(true);
        for (a, b) in pairs {
            if a.root() == b.root() {
                continue;
            }
            match (a.hash(self.source), b.hash(self.source)) {
                (Ok(a), Ok(b)) => same = same.map(|same| same && a == b),
                (a, b) => {
                    let lacking = [a.err(), b.err()].into_iter().flatten();
                    self.need_nodes(lacking.map(|Missing(nid)| nid));
                    same = None;
                }
            }
        }
        same
    }

    /// How the second state differs from the first. `None`: something is lacking.
    pub(super) fn differences(&mut self, before: &State, after: &State) -> Option<Differences> {
        let members = diff(&before.members, &after.members, self.source);
        let other = diff(&before.other, &after.other, self.source);
        match (members, other) {
            (Ok(members), Ok(other)) => Some(Differences { members, other }),
            (members, other) => {
                let lacking = [members.err(), other.err()].into_iter().flatten().flatten();
                self.need_nodes(lacking);
                None
            }
        }
    }

    /// A state with other events in it.
    pub(super) fn with_changes(&mut self, state: &State, changes: &Changes) -> Result<State, Stop> {
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
        let mut changes = Changes::default();
        let list = if event_type == MEMBER { &mut changes.members } else { &mut changes.other };
        list.insert(key_of(event_type, state_key), Some(nid));
        self.with_changes(state, &changes)
    }

    fn changed(&mut self, trie: &Trie, changes: &BTreeMap<Key, Option<EventNid>>) -> Result<Trie, Stop> {
        let mut new = NewNodes::new(&mut self.counters);
        let changed = trie.set_many(changes, self.source, &mut new);
        let made = std::mem::take(&mut new.nodes);
        match changed {
            Ok(changed) => {
                self.keep_nodes(made);
                Ok(changed)
            }
            Err(Missing(node)) => {
                self.need_nodes([node]);
                self.settle()?;
                Err(Stop::Poison("a node is lacking and nothing to be loaded".to_owned()))
            }
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
