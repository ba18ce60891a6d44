//! Shows a part of the graph to `plexus_events::resolve`.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use plexus_events::{
    Pdu,
    resolve::{Citing, Links, Lookup},
};
use ruma::events::StateEventType;

use super::{Reader, State};
use crate::rooms::{EventNid, Key, Missing, NodeNid};

/// A part of the graph, as far as it is loaded.
pub(super) struct Projection<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) state: &'a State,
    /// Nodes that were lacking.
    pub(super) lacking: Mutex<BTreeSet<NodeNid>>,
}

impl Lookup for Projection<'_> {
    type Nid = EventNid;

    fn links(&self, nid: EventNid) -> Option<Links<EventNid>> {
        self.reader.links.get(&nid).cloned()
    }

    fn event(&self, nid: EventNid) -> Option<Arc<Pdu>> {
        self.reader.events.get(&nid).map(Arc::clone)
    }

    fn state(&self, event_type: &StateEventType, state_key: &str) -> Option<Option<EventNid>> {
        let event_type = event_type.to_string();
        match self.state.trie(&event_type).get(Key::of(&event_type, state_key), &self.reader.nodes) {
            Ok(nid) => Some(nid),
            Err(Missing(node)) => {
                self.lacking.lock().ok()?.insert(node);
                None
            }
        }
    }

    /// Also those that came later. They are in none of the states, and nothing that is leads to them.
    fn citing(&self, nid: EventNid) -> Option<Citing<EventNid>> {
        self.reader.citing.get(&nid).cloned()
    }
}
