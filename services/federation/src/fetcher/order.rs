//! Orders events so that what is cited goes before what cites it.

use std::collections::{BTreeSet, HashMap};

use ruma::{EventId, OwnedEventId};

use crate::checked::CheckedPdu;

/// Which citations count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Auth events.
    Auth,
    /// Previous events, and auth events.
    Graph,
}

impl By {
    fn cited(self, event: &CheckedPdu) -> impl Iterator<Item = &OwnedEventId> {
        let prevs = if self == Self::Graph { event.pdu().prev_event_ids() } else { &[] };
        prevs.iter().chain(event.pdu().auth_event_ids())
    }
}

/// Sorts events: what is cited first, and of those that do not cite each other the least deep. IDs are hashes of what they
/// name, so there are no circles; what would be in one is left out.
pub(super) fn sorted(events: Vec<CheckedPdu>, by: By) -> Vec<CheckedPdu> {
    let mut by_id: HashMap<OwnedEventId, CheckedPdu> =
        events.into_iter().map(|event| (event.event_id().to_owned(), event)).collect();
    let mut open: HashMap<OwnedEventId, usize> = HashMap::new();
    let mut citing: HashMap<OwnedEventId, Vec<OwnedEventId>> = HashMap::new();
    for (id, event) in &by_id {
        let cited: BTreeSet<&OwnedEventId> =
            by.cited(event).filter(|cited| by_id.contains_key(*cited)).collect();
        open.insert(id.clone(), cited.len());
        for cited in cited {
            citing.entry(cited.clone()).or_default().push(id.clone());
        }
    }
    let depth = |by_id: &HashMap<OwnedEventId, CheckedPdu>, id: &EventId| {
        by_id.get(id).map_or(0, |event| event.pdu().depth())
    };
    let free = open.iter().filter(|(_, cited)| **cited == 0).map(|(id, _)| id);
    let mut free: BTreeSet<(i64, OwnedEventId)> = free.map(|id| (depth(&by_id, id), id.clone())).collect();
    let mut sorted = Vec::with_capacity(by_id.len());
    while let Some((_, id)) = free.pop_first() {
        for next in citing.remove(&id).unwrap_or_default() {
            if let Some(left) = open.get_mut(&next) {
                *left -= 1;
                if *left == 0 {
                    free.insert((depth(&by_id, &next), next));
                }
            }
        }
        sorted.extend(by_id.remove(&id));
    }
    sorted
}
