//! The conflicted state subgraph of version 2.1: all paths of auth events between conflicting entries.

use std::collections::{HashMap, HashSet};

use super::{Conflicted, Links, Lookup, Reader, Unresolved};

/// Finds the conflicted state subgraph, its ends included. What it returns is of no use if the reader lacks something.
///
/// A path ends at a conflicting entry, so that nothing has to be looked at that is older than all of them.
pub(super) fn search<L: Lookup>(
    reader: &Reader<'_, L>,
    conflicted: &Conflicted<L::Nid>,
) -> Result<HashSet<L::Nid>, Unresolved<L::Nid>> {
    let mut below: HashMap<L::Nid, Links<L::Nid>> = HashMap::new();
    let mut next = Vec::new();
    for &nid in conflicted.events.keys() {
        let Some(links) = reader.links(nid) else { continue };
        next.push(nid);
        below.insert(nid, links);
    }
    let oldest = below.values().map(|links| links.generation).min().unwrap_or_default();
    while let Some(nid) = next.pop() {
        let auth = below[&nid].auth.clone();
        for &auth in &*auth {
            if below.contains_key(&auth) {
                continue;
            }
            let Some(links) = reader.links(auth) else { continue };
            if links.generation >= oldest {
                below.insert(auth, links);
                next.push(auth);
            }
        }
    }
    // Every event here is reached from a conflicting one; kept are those that lead to one, oldest first.
    let mut sorted: Vec<_> = below.iter().map(|(nid, links)| (links.generation, *nid)).collect();
    sorted.sort_unstable();
    let mut subgraph = HashSet::new();
    for (_, nid) in sorted {
        if conflicted.events.contains_key(&nid) || below[&nid].auth.iter().any(|auth| subgraph.contains(auth))
        {
            subgraph.insert(nid);
        }
    }
    Ok(subgraph)
}
