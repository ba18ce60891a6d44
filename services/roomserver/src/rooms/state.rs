//! The current state of the room at work: reading and changing it.

use std::sync::{Arc, LazyLock};

use super::{
    hot::StateEvent,
    ids::EventNid,
    trie::{Key, Missing, NewNodes},
    work::{Stop, Work},
};

/// Type of member events, which have a trie of their own.
pub(super) const MEMBER: &str = "m.room.member";

/// Keys that nearly every input asks for.
static CREATE: LazyLock<Key> = LazyLock::new(|| Key::of("m.room.create", ""));
static POWER_LEVELS: LazyLock<Key> = LazyLock::new(|| Key::of("m.room.power_levels", ""));
static JOIN_RULES: LazyLock<Key> = LazyLock::new(|| Key::of("m.room.join_rules", ""));
static HISTORY_VISIBILITY: LazyLock<Key> = LazyLock::new(|| Key::of("m.room.history_visibility", ""));

/// Whether nearly every input asks for the entry.
fn is_common(key: Key) -> bool {
    [*CREATE, *POWER_LEVELS, *JOIN_RULES, *HISTORY_VISIBILITY].contains(&key)
}

/// Where an entry lies.
pub(super) fn key_of(event_type: &str, state_key: &str) -> Key {
    match (event_type, state_key) {
        ("m.room.create", "") => *CREATE,
        ("m.room.power_levels", "") => *POWER_LEVELS,
        ("m.room.join_rules", "") => *JOIN_RULES,
        ("m.room.history_visibility", "") => *HISTORY_VISIBILITY,
        _ => Key::of(event_type, state_key),
    }
}

impl Work<'_> {
    /// Reads a state entry. `Some(None)`: the state has none; `None`: something is lacking, and noted in `needs`.
    pub(super) fn state(
        &mut self,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Option<Arc<StateEvent>>>, Stop> {
        let key = key_of(event_type, state_key);
        if let Some(known) = self.room.hot.get(key) {
            return Ok(Some(known.clone()));
        }
        let trie = if event_type == MEMBER { &self.room.members } else { &self.room.other };
        let nid = match trie.get(key, self.source) {
            Ok(nid) => nid,
            Err(Missing(node)) => {
                self.need_nodes([node]);
                // The create event is known without the trie: it can be loaded in the same round.
                if event_type == "m.room.create" {
                    self.event(self.room.identity.create_nid);
                }
                return Ok(None);
            }
        };
        let event = match nid {
            None => None,
            Some(nid) => {
                let Some(event) = self.event(nid) else { return Ok(None) };
                let parsed = StateEvent::parse(&event)
                    .map_err(|error| Stop::Poison(format!("stored event {nid} cannot be read: {error}")))?;
                Some(Arc::new(parsed))
            }
        };
        Arc::make_mut(&mut self.room.hot).put(key, event.clone(), is_common(key));
        Ok(Some(event))
    }

    /// Reads a state entry that is there if there is one: everything was loaded before.
    pub(super) fn state_now(
        &mut self,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Arc<StateEvent>>, Stop> {
        let found = self.state(event_type, state_key)?;
        self.settle()?;
        Ok(found.flatten())
    }

    /// Puts an event into the current state.
    pub(super) fn set_state(
        &mut self,
        event_type: &str,
        state_key: &str,
        event: StateEvent,
    ) -> Result<(), Stop> {
        let key = key_of(event_type, state_key);
        let trie = if event_type == MEMBER { &self.room.members } else { &self.room.other };
        let mut new = NewNodes::new(&mut self.counters);
        let changed = match trie.set(key, event.nid, self.source, &mut new) {
            Ok(changed) => changed,
            Err(Missing(node)) => {
                self.need_nodes([node]);
                return self.settle();
            }
        };
        let made = new.nodes;
        self.keep_nodes(made);
        if event_type == MEMBER {
            self.room.members = changed;
        } else {
            self.room.other = changed;
        }
        Arc::make_mut(&mut self.room.hot).put(key, Some(Arc::new(event)), is_common(key));
        Ok(())
    }

    /// Tells the cache that an event of the current state was redacted.
    pub(super) fn refresh_state(&mut self, event_type: &str, state_key: &str, event: StateEvent) {
        let key = key_of(event_type, state_key);
        let nid = event.nid;
        let hot = Arc::make_mut(&mut self.room.hot);
        if hot.get(key).is_some_and(|known| holds(known.as_deref(), nid)) {
            hot.put(key, Some(Arc::new(event)), is_common(key));
        }
        hot.forget_verdicts();
    }

    /// Tells the cache that an entry of the current state is another one now, or none.
    pub(super) fn note_state(&mut self, key: Key, event: Option<Arc<StateEvent>>) {
        Arc::make_mut(&mut self.room.hot).put(key, event, is_common(key));
    }
}

fn holds(event: Option<&StateEvent>, nid: EventNid) -> bool {
    event.is_some_and(|event| event.nid == nid)
}
