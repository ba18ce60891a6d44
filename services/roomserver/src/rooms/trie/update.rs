//! Sets a key of a trie: the nodes on the path to it are made anew.

use std::sync::Arc;

use super::{
    super::ids::{Counters, EventNid, NodeNid},
    BITS, Key, LEAF_MAX, Link, Missing, Node, Nodes, Trie,
    node::{Body, Child, Children},
};

/// Takes what an update makes: hands out numeric IDs and keeps the new nodes, which are all reachable from the new root.
#[derive(Debug)]
pub(crate) struct NewNodes<'a> {
    /// Where numeric IDs come from.
    pub(crate) counters: &'a mut Counters,
    /// The new nodes.
    pub(crate) nodes: Vec<(NodeNid, Arc<Node>)>,
}

impl<'a> NewNodes<'a> {
    pub(crate) fn new(counters: &'a mut Counters) -> Self {
        Self { counters, nodes: Vec::new() }
    }

    pub(super) fn add(&mut self, node: Node) -> Child {
        let nid = self.counters.node();
        let (hash, len, node) = (node.hash(), node.len(), Arc::new(node));
        self.nodes.push((nid, Arc::clone(&node)));
        Child { link: Link::loaded(nid, node), hash, len }
    }
}

impl Trie {
    /// Returns the trie with an event at a key.
    pub(crate) fn set(
        &self,
        key: Key,
        event: EventNid,
        nodes: &impl Nodes,
        new: &mut NewNodes<'_>,
    ) -> Result<Self, Missing> {
        let Some(root) = &self.root else {
            return Ok(Self { root: Some(new.add(Node::leaf(vec![(key, event)])).link) });
        };
        if self.get(key, nodes)? == Some(event) {
            return Ok(self.clone());
        }
        // From here on nothing is missing: `get` has loaded the whole path.
        Ok(Self { root: Some(set(root, 0, key, event, nodes, new)?.link) })
    }
}

fn set(
    link: &Link,
    depth: u32,
    key: Key,
    event: EventNid,
    nodes: &impl Nodes,
    new: &mut NewNodes<'_>,
) -> Result<Child, Missing> {
    let before = link.load(nodes)?;
    let node = match before.body() {
        Body::Leaf(entries) => {
            let mut entries = entries.clone();
            match entries.binary_search_by_key(&key, |(key, _)| *key) {
                Ok(index) => entries[index].1 = event,
                Err(index) => entries.insert(index, (key, event)),
            }
            return Ok(build(entries, depth, new));
        }
        Body::Inner(children) => {
            let slot = key.slot(depth);
            let child = match children.get(slot) {
                Some(child) => set(&child.link, depth + 1, key, event, nodes, new)?,
                None => new.add(Node::leaf(vec![(key, event)])),
            };
            let mut children = children.clone();
            children.put(slot, Some(child));
            Node::inner_after(children, (link.nid, before), 1 << slot)
        }
    };
    Ok(new.add(node))
}

/// Makes the nodes that hold some entries, sorted by key and not none.
pub(super) fn build(entries: Vec<(Key, EventNid)>, depth: u32, new: &mut NewNodes<'_>) -> Child {
    // Keys are longer than the deepest level: two different keys part before the bits run out.
    if entries.len() <= LEAF_MAX || depth * BITS >= u128::BITS {
        return new.add(Node::leaf(entries));
    }
    let mut children = Children::default();
    for group in entries.chunk_by(|(a, _), (b, _)| a.slot(depth) == b.slot(depth)) {
        if let Some((key, _)) = group.first() {
            children.put(key.slot(depth), Some(build(group.to_vec(), depth + 1, new)));
        }
    }
    new.add(Node::inner(children))
}
