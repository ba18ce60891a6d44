//! Computes how two tries differ, by reading only nodes that do.

use super::{
    super::ids::{EventNid, NodeNid},
    BITS, Key, Link, Missing, Nodes, Trie,
    node::{Body, Child},
    walk,
};

/// One difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change {
    /// Key.
    pub(crate) key: Key,
    /// Event of the first trie.
    pub(crate) before: Option<EventNid>,
    /// Event of the second trie.
    pub(crate) after: Option<EventNid>,
}

/// Lists how the second trie differs from the first, in order of the keys. Fails with all nodes that are known to be
/// lacking, so that few rounds of loading bring everything.
pub(crate) fn diff(before: &Trie, after: &Trie, nodes: &impl Nodes) -> Result<Vec<Change>, Vec<NodeNid>> {
    let (mut changes, mut lacking) = (Vec::new(), Vec::new());
    look(before.root.as_ref(), after.root.as_ref(), nodes, &mut changes, &mut lacking);
    if lacking.is_empty() { Ok(changes) } else { Err(lacking) }
}

/// Compares, and goes on beside what is lacking.
fn look(
    before: Option<&Link>,
    after: Option<&Link>,
    nodes: &impl Nodes,
    changes: &mut Vec<Change>,
    lacking: &mut Vec<NodeNid>,
) {
    // Of two nodes that are both lacking, both are named.
    let both = [before, after].map(|link| link.and_then(|link| link.load(nodes).err()));
    let same = before.map(|link| link.nid) == after.map(|link| link.nid);
    if !same && both.iter().any(Option::is_some) {
        lacking.extend(both.into_iter().flatten().map(|Missing(nid)| nid));
    } else if let Err(Missing(nid)) = compare(before, after, nodes, changes, lacking) {
        lacking.push(nid);
    }
}

fn compare(
    before: Option<&Link>,
    after: Option<&Link>,
    nodes: &impl Nodes,
    changes: &mut Vec<Change>,
    lacking: &mut Vec<NodeNid>,
) -> Result<(), Missing> {
    let (before, after) = match (before, after) {
        (None, None) => return Ok(()),
        (Some(before), None) => {
            return walk(before, nodes, &mut |key, nid| {
                changes.push(Change { key, before: Some(nid), after: None });
            });
        }
        (None, Some(after)) => {
            return walk(after, nodes, &mut |key, nid| {
                changes.push(Change { key, before: None, after: Some(nid) });
            });
        }
        (Some(before), Some(after)) => (before, after),
    };
    if before.nid == after.nid {
        return Ok(());
    }
    let (old, new) = (before.load(nodes)?, after.load(nodes)?);
    if old.hash() == new.hash() {
        return Ok(());
    }
    if let (Body::Inner(old), Body::Inner(new)) = (old.body(), new.body()) {
        for slot in 0..1 << BITS {
            let (old, new) = (old.get(slot), new.get(slot));
            if old.map(|child| child.hash) != new.map(|child| child.hash) {
                look(old.map(link), new.map(link), nodes, changes, lacking);
            }
        }
        return Ok(());
    }
    // One of them is a leaf, so the other holds little more than that.
    let (mut old, mut new) = (Vec::new(), Vec::new());
    walk(before, nodes, &mut |key, nid| old.push((key, nid)))?;
    walk(after, nodes, &mut |key, nid| new.push((key, nid)))?;
    merge(&old, &new, changes);
    Ok(())
}

fn link(child: &Child) -> &Link {
    &child.link
}

/// Compares two sorted lists of entries.
fn merge(old: &[(Key, EventNid)], new: &[(Key, EventNid)], changes: &mut Vec<Change>) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let key = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some((key, _)), None) | (None, Some((key, _))) => *key,
            (Some((a, _)), Some((b, _))) => *a.min(b),
        };
        let before = old.next_if(|(held, _)| *held == key).map(|(_, nid)| *nid);
        let after = new.next_if(|(held, _)| *held == key).map(|(_, nid)| *nid);
        if before != after {
            changes.push(Change { key, before, after });
        }
    }
}
