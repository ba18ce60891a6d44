//! Removes a key from a trie.

use super::{
    Key, LEAF_MAX, Link, Missing, NewNodes, Node, Nodes, Trie,
    node::{Body, Child},
};

impl Trie {
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
            Ok(Some(new.add(Node::inner_after(children, (link.nid, node), 1 << slot))))
        }
    }
}
