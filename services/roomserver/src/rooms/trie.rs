//! State as a canonical copy-on-write hash trie.
//!
//! A key is the first half of the SHA-256 of (type, state key); a value is the event that holds it. A node with at most
//! [`LEAF_MAX`] entries is a leaf, any other has up to 64 children, one for each value of the next six bits of the key:
//! the shape depends on the entries alone, so that equal hashes mean equal state. An update writes the nodes on one
//! path; everything else is shared with the trie before it.
//!
//! An inner node of 64 children is large, and an update changes one of them: it is stored as a change of an older node that
//! is stored whole, until too much has changed.
//!
//! Nodes are loaded when they are needed: an operation that lacks one fails with [`Missing`], and is repeated when the
//! node is there.

use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

use super::ids::{EventNid, NodeNid};

mod codec;
mod diff;
mod many;
mod node;
#[cfg(test)]
mod remove;
mod update;

use self::node::Body;
pub(crate) use self::{
    codec::DecodeError,
    diff::{Change, diff},
    node::Node,
    update::NewNodes,
};

/// Most entries of a leaf.
pub(crate) const LEAF_MAX: usize = 64;
/// Bits of the key that choose a child.
const BITS: u32 = 6;

/// Where a state entry lies in a trie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u128);

impl Key {
    /// Computes the key of a state entry. The length of the type goes first, so that no two entries share an input.
    pub(crate) fn of(event_type: &str, state_key: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((event_type.len() as u64).to_be_bytes());
        hasher.update(event_type.as_bytes());
        hasher.update([0xff]);
        hasher.update(state_key.as_bytes());
        Self(first_half(&hasher.finalize()))
    }

    /// The child of a node at this depth under which the key lies.
    fn slot(self, depth: u32) -> u32 {
        let shift = u128::BITS.saturating_sub(BITS * (depth + 1));
        u32::try_from((self.0 >> shift) & 63).unwrap_or(0)
    }
}

/// Reads the first 16 bytes of a digest.
fn first_half(digest: &[u8]) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half)
}

/// A node that is not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) NodeNid);

/// Finds nodes that were loaded.
pub(crate) trait Nodes {
    /// Returns the node, if it is in memory.
    fn node(&self, nid: NodeNid) -> Option<Arc<Node>>;
}

impl<S: std::hash::BuildHasher> Nodes for std::collections::HashMap<NodeNid, Arc<Node>, S> {
    fn node(&self, nid: NodeNid) -> Option<Arc<Node>> {
        self.get(&nid).map(Arc::clone)
    }
}

/// A reference to a stored node, which may be in memory or not.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    nid: NodeNid,
    node: OnceLock<Arc<Node>>,
}

impl Link {
    fn unloaded(nid: NodeNid) -> Self {
        Self { nid, node: OnceLock::new() }
    }

    fn loaded(nid: NodeNid, node: Arc<Node>) -> Self {
        Self { nid, node: OnceLock::from(node) }
    }

    /// About how many bytes the node and those under it take, as far as they are in memory.
    fn loaded_bytes(&self) -> usize {
        self.node.get().map_or(0, |node| node.loaded_bytes())
    }

    fn load(&self, nodes: &impl Nodes) -> Result<&Arc<Node>, Missing> {
        if let Some(node) = self.node.get() {
            return Ok(node);
        }
        let node = nodes.node(self.nid).ok_or(Missing(self.nid))?;
        Ok(self.node.get_or_init(|| node))
    }
}

/// A trie; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trie {
    root: Option<Link>,
}

impl Trie {
    /// The trie with this root; empty if there is none.
    pub(crate) fn stored(root: Option<NodeNid>) -> Self {
        Self { root: root.map(Link::unloaded) }
    }

    /// The root; `None` if the trie is empty.
    pub(crate) fn root(&self) -> Option<NodeNid> {
        self.root.as_ref().map(|link| link.nid)
    }

    /// The root as a column holds it: 0 if the trie is empty.
    pub(crate) fn root_column(&self) -> i64 {
        self.root().map_or(0, |nid| nid.0)
    }

    /// Hash of the entries: equal if and only if these are. `None` if there are none.
    pub(crate) fn hash(&self, nodes: &impl Nodes) -> Result<Option<u128>, Missing> {
        self.root.as_ref().map(|root| Ok(root.load(nodes)?.hash())).transpose()
    }

    /// About how many bytes of it are in memory.
    pub(crate) fn loaded_bytes(&self) -> usize {
        self.root.as_ref().map_or(0, Link::loaded_bytes)
    }

    /// Number of entries.
    #[cfg(test)]
    pub(crate) fn len(&self, nodes: &impl Nodes) -> Result<usize, Missing> {
        self.root.as_ref().map_or(Ok(0), |root| Ok(root.load(nodes)?.len()))
    }

    /// Finds the event that holds a key.
    pub(crate) fn get(&self, key: Key, nodes: &impl Nodes) -> Result<Option<EventNid>, Missing> {
        let Some(mut link) = self.root.as_ref() else { return Ok(None) };
        for depth in 0.. {
            match link.load(nodes)?.body() {
                Body::Leaf(entries) => {
                    let found = entries.binary_search_by_key(&key, |(key, _)| *key);
                    return Ok(found.ok().map(|index| entries[index].1));
                }
                Body::Inner(children) => match children.get(key.slot(depth)) {
                    Some(child) => link = &child.link,
                    None => return Ok(None),
                },
            }
        }
        Ok(None)
    }

    /// Calls `visit` for every entry, in order of the keys.
    #[cfg(test)]
    pub(crate) fn for_each(
        &self,
        nodes: &impl Nodes,
        visit: &mut impl FnMut(Key, EventNid),
    ) -> Result<(), Missing> {
        self.root.as_ref().map_or(Ok(()), |root| walk(root, nodes, visit))
    }
}

fn walk(link: &Link, nodes: &impl Nodes, visit: &mut impl FnMut(Key, EventNid)) -> Result<(), Missing> {
    match link.load(nodes)?.body() {
        Body::Leaf(entries) => {
            for (key, nid) in entries {
                visit(*key, *nid);
            }
        }
        Body::Inner(children) => {
            for child in children.iter() {
                walk(&child.link, nodes, visit)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
