//! Nodes: leaves with entries, and inner nodes with children.

use sha2::{Digest as _, Sha256};

use super::{
    super::ids::{EventNid, NodeNid},
    Key, Link, first_half,
};

/// Most children in which a node may differ from its base.
const MAX_DIFFERING: u32 = 16;

/// A node of a trie. It never changes.
#[derive(Debug)]
pub(crate) struct Node {
    body: Body,
    hash: u128,
    len: usize,
    base: Option<Base>,
}

/// The node that another one is stored as a change of. It is itself stored whole, so that two reads always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    /// The node.
    pub(super) nid: NodeNid,
    /// A bit for each child that differs from what it was there, was not there, or is not any more.
    pub(super) differing: u64,
}

#[derive(Debug)]
pub(super) enum Body {
    /// Entries, sorted by key.
    Leaf(Vec<(Key, EventNid)>),
    /// Children by the next six bits of the key.
    Inner(Children),
}

/// Children of an inner node: those that exist, in order, and a bit for each of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Children {
    bits: u64,
    list: Vec<Child>,
}

/// A child, with what its parent knows of it.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) link: Link,
    pub(super) hash: u128,
    pub(super) len: usize,
}

impl Node {
    /// About how many bytes it takes, with the nodes under it that are in memory.
    pub(super) fn loaded_bytes(&self) -> usize {
        let body = match &self.body {
            Body::Leaf(entries) => size_of_val(entries.as_slice()),
            Body::Inner(children) => {
                let under = children.list.iter().map(|child| child.link.loaded_bytes());
                size_of_val(children.list.as_slice()) + under.sum::<usize>()
            }
        };
        size_of::<Self>() + body
    }

    /// Makes a leaf of entries sorted by key.
    pub(super) fn leaf(entries: Vec<(Key, EventNid)>) -> Self {
        let mut hasher = Sha256::new();
        let mut bytes = Vec::with_capacity(1 + entries.len() * 24);
        bytes.push(0);
        for (key, nid) in &entries {
            bytes.extend_from_slice(&key.0.to_be_bytes());
            bytes.extend_from_slice(&nid.0.to_be_bytes());
        }
        hasher.update(&bytes);
        let hash = first_half(&hasher.finalize());
        Self { len: entries.len(), body: Body::Leaf(entries), hash, base: None }
    }

    /// Makes an inner node.
    pub(super) fn inner(children: Children) -> Self {
        let mut bytes = Vec::with_capacity(9 + children.list.len() * 16);
        bytes.push(1);
        bytes.extend_from_slice(&children.bits.to_be_bytes());
        for child in &children.list {
            bytes.extend_from_slice(&child.hash.to_be_bytes());
        }
        let hash = first_half(&Sha256::digest(&bytes));
        let len = children.list.iter().map(|child| child.len).sum();
        Self { len, body: Body::Inner(children), hash, base: None }
    }

    /// Makes an inner node that differs from an older one in some children: it is stored as a change, if that is small.
    pub(super) fn inner_after(children: Children, (nid, before): (NodeNid, &Self), changed: u64) -> Self {
        let base = match before.base {
            Some(base) => Base { differing: base.differing | changed, ..base },
            None => Base { nid, differing: changed },
        };
        let differing = base.differing.count_ones();
        let small = differing <= MAX_DIFFERING && 2 * differing <= children.bits.count_ones();
        Self { base: small.then_some(base), ..Self::inner(children) }
    }

    /// An inner node as it was stored: as a change of another one.
    pub(super) fn inner_on(children: Children, base: Base) -> Self {
        Self { base: Some(base), ..Self::inner(children) }
    }

    /// What it is stored as a change of, if it is.
    pub(super) fn base(&self) -> Option<Base> {
        self.base
    }

    pub(super) fn body(&self) -> &Body {
        &self.body
    }

    /// Hash of the entries under the node: equal if and only if these are equal (and the nodes are equally deep).
    pub(crate) fn hash(&self) -> u128 {
        self.hash
    }

    /// Number of entries under the node.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Entries, if the node is a leaf.
    pub(crate) fn entries(&self) -> &[(Key, EventNid)] {
        match &self.body {
            Body::Leaf(entries) => entries,
            Body::Inner(_) => &[],
        }
    }

    /// Children, if the node is an inner one.
    pub(crate) fn children(&self) -> impl Iterator<Item = NodeNid> {
        let list: &[Child] = match &self.body {
            Body::Leaf(_) => &[],
            Body::Inner(children) => &children.list,
        };
        list.iter().map(|child| child.link.nid)
    }
}

impl Children {
    pub(super) fn get(&self, slot: u32) -> Option<&Child> {
        self.index(slot).ok().and_then(|index| self.list.get(index))
    }

    /// Sets or removes the child of a slot.
    pub(super) fn put(&mut self, slot: u32, child: Option<Child>) {
        match (self.index(slot), child) {
            (Ok(index), Some(child)) => self.list[index] = child,
            (Ok(index), None) => {
                self.list.remove(index);
                self.bits &= !(1 << slot);
            }
            (Err(index), Some(child)) => {
                self.list.insert(index, child);
                self.bits |= 1 << slot;
            }
            (Err(_), None) => {}
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Child> {
        self.list.iter()
    }

    /// Those of some slots that exist, in order.
    pub(super) fn of_slots(&self, slots: u64) -> impl Iterator<Item = &Child> {
        (0..u64::BITS).filter(move |slot| slots & (1 << slot) != 0).filter_map(|slot| self.get(slot))
    }

    pub(super) fn bits(&self) -> u64 {
        self.bits
    }

    pub(super) fn len(&self) -> usize {
        self.list.iter().map(|child| child.len).sum()
    }

    /// Where the child of a slot is in the list, or where it would be.
    fn index(&self, slot: u32) -> Result<usize, usize> {
        let below = (self.bits & ((1_u64 << slot) - 1)).count_ones() as usize;
        if self.bits & (1 << slot) == 0 { Err(below) } else { Ok(below) }
    }
}
