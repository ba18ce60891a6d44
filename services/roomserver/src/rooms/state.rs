//! Reads and changes the current state of a room.

use std::sync::{Arc, LazyLock};

use super::{
    ids::EventNid,
    state_cache::StateEvent,
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
    /// Reads an entry of the current state.
    pub(super) fn state(
        &mut self,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Arc<StateEvent>>, Stop> {
        let key = key_of(event_type, state_key);
        if let Some(known) = self.room.state_cache.get(key) {
            return Ok(known.clone());
        }
        let trie = if event_type == MEMBER { &self.room.members } else { &self.room.other };
        let nid = match trie.get(key, self.loaded) {
            Ok(nid) => nid,
            Err(Missing(node)) => {
                // The create event is known without the trie: it can be loaded in the same round.
                if event_type == "m.room.create" {
                    let _loaded_too = self.event(self.room.identity.create_nid);
                }
                return Err(self.missing_nodes([node]));
            }
        };
        let event = match nid {
            None => None,
            Some(nid) => {
                let event = self.event(nid)?;
                let parsed = StateEvent::parse(&event)
                    .map_err(|error| Stop::Poison(format!("stored event {nid} cannot be read: {error}")))?;
                Some(Arc::new(parsed))
            }
        };
        Arc::make_mut(&mut self.room.state_cache).put(key, event.clone(), is_common(key));
        Ok(event)
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
        let changed = match trie.set(key, event.nid, self.loaded, &mut new) {
            Ok(changed) => changed,
            Err(Missing(node)) => return Err(self.missing_nodes([node])),
        };
        let made = new.nodes;
        self.keep_nodes(made);
        if event_type == MEMBER {
            self.room.members = changed;
        } else {
            self.room.other = changed;
        }
        Arc::make_mut(&mut self.room.state_cache).put(key, Some(Arc::new(event)), is_common(key));
        Ok(())
    }

    /// Tells the cache that an event of the current state was redacted.
    pub(super) fn refresh_state(&mut self, event_type: &str, state_key: &str, event: StateEvent) {
        let key = key_of(event_type, state_key);
        let nid = event.nid;
        let state_cache = Arc::make_mut(&mut self.room.state_cache);
        if state_cache.get(key).is_some_and(|known| holds(known.as_deref(), nid)) {
            state_cache.put(key, Some(Arc::new(event)), is_common(key));
        }
        state_cache.forget_verdicts();
    }

    /// Tells the cache that an entry of the current state is another one now, or none.
    pub(super) fn note_state(&mut self, key: Key, event: Option<Arc<StateEvent>>) {
        Arc::make_mut(&mut self.room.state_cache).put(key, event, is_common(key));
    }
}

fn holds(event: Option<&StateEvent>, nid: EventNid) -> bool {
    event.is_some_and(|event| event.nid == nid)
}
