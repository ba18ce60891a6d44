//! Changes many keys at once: each node is made anew once, however many keys under it change.

use std::collections::BTreeMap;

use super::{
    super::ids::EventNid,
    Key, LEAF_MAX, Link, Missing, NewNodes, Node, Nodes, Trie,
    node::{Body, Child},
    update::build,
    walk,
};

type Changes = [(Key, Option<EventNid>)];

impl Trie {
    /// Returns the trie with some keys set to other events, or removed. If a node is missing, what was made so far is
    /// to be thrown away.
    pub(crate) fn set_many(
        &self,
        changes: &BTreeMap<Key, Option<EventNid>>,
        nodes: &impl Nodes,
        new: &mut NewNodes<'_>,
    ) -> Result<Self, Missing> {
        let mut real = Vec::with_capacity(changes.len());
        for (key, event) in changes {
            if self.get(*key, nodes)? != *event {
                real.push((*key, *event));
            }
        }
        if real.is_empty() {
            return Ok(self.clone());
        }
        Ok(Self { root: change(self.root.as_ref(), 0, &real, nodes, new)?.map(|child| child.link) })
    }

    /// Makes the trie of some entries.
    pub(crate) fn of_entries(entries: &BTreeMap<Key, EventNid>, new: &mut NewNodes<'_>) -> Self {
        if entries.is_empty() {
            return Self::default();
        }
        let entries = entries.iter().map(|(key, event)| (*key, *event)).collect();
        Self { root: Some(build(entries, 0, new).link) }
    }
}

fn change(
    link: Option<&Link>,
    depth: u32,
    changes: &Changes,
    nodes: &impl Nodes,
    new: &mut NewNodes<'_>,
) -> Result<Option<Child>, Missing> {
    let Some(link) = link else { return Ok(leaf_of(&[], depth, changes, new)) };
    let before = link.load(nodes)?;
    let children = match before.body() {
        Body::Leaf(entries) => return Ok(leaf_of(entries, depth, changes, new)),
        Body::Inner(children) => children,
    };
    let mut children = children.clone();
    let mut changed = 0;
    for group in changes.chunk_by(|(a, _), (b, _)| a.slot(depth) == b.slot(depth)) {
        let Some((key, _)) = group.first() else { continue };
        let slot = key.slot(depth);
        let child = change(children.get(slot).map(|child| &child.link), depth + 1, group, nodes, new)?;
        children.put(slot, child);
        changed |= 1 << slot;
    }
    if children.len() == 0 {
        return Ok(None);
    }
    if children.len() > LEAF_MAX {
        return Ok(Some(new.add(Node::inner_after(children, (link.nid, before), changed))));
    }
    let mut entries = Vec::with_capacity(children.len());
    for child in children.iter() {
        walk(&child.link, nodes, &mut |key, event| entries.push((key, event)))?;
    }
    Ok(Some(new.add(Node::leaf(entries))))
}

/// Makes what becomes of a leaf: both lists are sorted by key.
fn leaf_of(
    entries: &[(Key, EventNid)],
    depth: u32,
    changes: &Changes,
    new: &mut NewNodes<'_>,
) -> Option<Child> {
    let mut merged: BTreeMap<Key, EventNid> = entries.iter().copied().collect();
    for (key, event) in changes {
        match event {
            Some(event) => merged.insert(*key, *event),
            None => merged.remove(key),
        };
    }
    (!merged.is_empty()).then(|| build(merged.into_iter().collect(), depth, new))
}
