//! Changing a trie: the nodes on the path to a key are made anew.

use std::sync::Arc;

use super::{
    BITS, Key, LEAF_MAX, Link, Missing, Node, Nodes, Trie,
    node::{Body, Child, Children},
    super::ids::{Counters, EventNid, NodeNid},
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

    fn add(&mut self, node: Node) -> Child {
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

    /// Returns the trie without a key.
    pub(crate) fn remove(
        &self,
        key: Key,
        nodes: &impl Nodes,
        new: &mut NewNodes<'_>,
    ) -> Result<Self, Missing> {
        let Some(root) = &self.root else { return Ok(self.clone()) };
        if self.get(key, nodes)?.is_none() {
            return Ok(self.clone());
        }
        // A node that shrinks to a leaf needs all that is under it: see that it is there before making anything.
        collapsible(root, 0, key, nodes)?;
        Ok(Self { root: remove(root, 0, key, nodes, new)?.map(|child| child.link) })
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
    let node = match link.load(nodes)?.body() {
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
            Node::inner(children)
        }
    };
    Ok(new.add(node))
}

/// Makes the nodes that hold some entries, sorted by key and not none.
fn build(entries: Vec<(Key, EventNid)>, depth: u32, new: &mut NewNodes<'_>) -> Child {
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

/// Loads what `remove` will read, without changing anything.
fn collapsible(link: &Link, depth: u32, key: Key, nodes: &impl Nodes) -> Result<(), Missing> {
    let node = link.load(nodes)?;
    let Body::Inner(children) = node.body() else { return Ok(()) };
    if node.len() <= LEAF_MAX + 1 {
        for child in children.iter() {
            load_all(&child.link, nodes)?;
        }
        return Ok(());
    }
    children.get(key.slot(depth)).map_or(Ok(()), |child| collapsible(&child.link, depth + 1, key, nodes))
}

fn load_all(link: &Link, nodes: &impl Nodes) -> Result<(), Missing> {
    if let Body::Inner(children) = link.load(nodes)?.body() {
        for child in children.iter() {
            load_all(&child.link, nodes)?;
        }
    }
    Ok(())
}

fn remove(
    link: &Link,
    depth: u32,
    key: Key,
    nodes: &impl Nodes,
    new: &mut NewNodes<'_>,
) -> Result<Option<Child>, Missing> {
    let node = link.load(nodes)?;
    match node.body() {
        Body::Leaf(entries) => {
            let entries: Vec<_> = entries.iter().filter(|(held, _)| *held != key).copied().collect();
            Ok((!entries.is_empty()).then(|| new.add(Node::leaf(entries))))
        }
        Body::Inner(_) if node.len() <= LEAF_MAX + 1 => {
            let mut entries = Vec::with_capacity(LEAF_MAX);
            super::walk(link, nodes, &mut |held, event| {
                if held != key {
                    entries.push((held, event));
                }
            })?;
            Ok(Some(new.add(Node::leaf(entries))))
        }
        Body::Inner(children) => {
            let slot = key.slot(depth);
            let Some(child) = children.get(slot) else { return Ok(None) };
            let child = remove(&child.link, depth + 1, key, nodes, new)?;
            let mut children = children.clone();
            children.put(slot, child);
            Ok(Some(new.add(Node::inner(children))))
        }
    }
}
