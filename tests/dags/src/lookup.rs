//! What resolution reads, of a room in memory.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use plexus_events::{
    Pdu,
    resolve::{Citing, Conflict, Lacking, Links, Lookup, Resolved, StateKey, Unresolved, resolve},
};
use ruma::events::StateEventType;

use crate::room::{Nid, Room, State};

/// Everything is there.
pub struct Complete<'a> {
    /// The room.
    pub room: &'a Room,
    /// Any of the states.
    pub state: &'a State,
}

impl Lookup for Complete<'_> {
    type Nid = Nid;

    fn links(&self, nid: Nid) -> Option<Links<Nid>> {
        let event = self.room.event(nid);
        Some(Links { generation: event.generation, auth: Arc::clone(&event.auth) })
    }

    fn event(&self, nid: Nid) -> Option<Arc<Pdu>> {
        Some(Arc::clone(&self.room.event(nid).pdu))
    }

    fn state(&self, event_type: &StateEventType, state_key: &str) -> Option<Option<Nid>> {
        Some(self.state.get(&(event_type.clone(), state_key.to_owned())).copied())
    }

    fn citing(&self, nid: Nid) -> Option<Citing<Nid>> {
        Some(Citing::Known(self.room.citing[nid as usize].as_slice().into()))
    }
}

/// Nothing is there but what was loaded.
pub struct Gradual<'a> {
    complete: Complete<'a>,
    loaded: RefCell<Lacking<Nid>>,
}

impl Gradual<'_> {
    fn load(&self, lacking: Lacking<Nid>) {
        let mut loaded = self.loaded.borrow_mut();
        let all_new = lacking.links.is_disjoint(&loaded.links)
            && lacking.events.is_disjoint(&loaded.events)
            && lacking.state.is_disjoint(&loaded.state)
            && lacking.citing.is_disjoint(&loaded.citing);
        assert!(all_new && !lacking.is_empty(), "asked for what was loaded: {lacking:?}");
        loaded.links.extend(lacking.links);
        loaded.events.extend(lacking.events);
        loaded.state.extend(lacking.state);
        loaded.citing.extend(lacking.citing);
    }
}

fn if_in<K: Ord, V>(loaded: &BTreeSet<K>, key: &K, value: Option<V>) -> Option<V> {
    value.filter(|_| loaded.contains(key))
}

impl Lookup for Gradual<'_> {
    type Nid = Nid;

    fn links(&self, nid: Nid) -> Option<Links<Nid>> {
        if_in(&self.loaded.borrow().links, &nid, self.complete.links(nid))
    }

    fn event(&self, nid: Nid) -> Option<Arc<Pdu>> {
        if_in(&self.loaded.borrow().events, &nid, self.complete.event(nid))
    }

    fn state(&self, event_type: &StateEventType, state_key: &str) -> Option<Option<Nid>> {
        let key: StateKey = (event_type.clone(), state_key.to_owned());
        if_in(&self.loaded.borrow().state, &key, self.complete.state(event_type, state_key))
    }

    fn citing(&self, nid: Nid) -> Option<Citing<Nid>> {
        if_in(&self.loaded.borrow().citing, &nid, self.complete.citing(nid))
    }
}

/// Resolves while loading what is lacking; returns also how many rounds of loading there were, and what was loaded.
///
/// # Errors
///
/// Fails if the room is damaged.
pub fn resolve_gradually(
    conflict: &Conflict<'_, Nid>,
    room: &Room,
    state: &State,
) -> Result<(Resolved<Nid>, usize, Lacking<Nid>), Unresolved<Nid>> {
    let gradual = Gradual { complete: Complete { room, state }, loaded: RefCell::default() };
    let mut rounds = 0;
    loop {
        match resolve(conflict, &gradual) {
            Ok(resolved) => return Ok((resolved, rounds, gradual.loaded.into_inner())),
            Err(Unresolved::Lacking(lacking)) => gradual.load(lacking),
            Err(failed @ (Unresolved::Damaged(_) | Unresolved::Exhausted)) => return Err(failed),
        }
        rounds += 1;
    }
}
