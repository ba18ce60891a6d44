//! Encodes nodes as rows of `state_node`.
//!
//! A leaf is 0, the number of entries, and for each the key and the event. An inner node is 1, a bit for each child, and
//! for each child its node, its hash and its number of entries. An inner node that is a change of another one is 2, that
//! node, a bit for each child, a bit for each that differs, and those children that differ. Numbers are big-endian.

use bytes::{Buf as _, Bytes};

use super::{
    super::ids::{EventNid, NodeNid},
    BITS, Key, LEAF_MAX, Link, Node,
    node::{Base, Body, Child, Children},
};

const LEAF: u8 = 0;
const INNER: u8 = 1;
const CHANGED: u8 = 2;

/// A body that does not hold a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed node of a state trie")]
pub(crate) struct DecodeError;

impl Node {
    /// Encodes the node.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(16 + self.len().min(64) * 28);
        match self.body() {
            Body::Leaf(entries) => {
                out.push(LEAF);
                out.push(u8::try_from(entries.len()).unwrap_or(u8::MAX));
                for (key, nid) in entries {
                    out.extend_from_slice(&key.0.to_be_bytes());
                    out.extend_from_slice(&nid.0.to_be_bytes());
                }
            }
            Body::Inner(children) => match self.base() {
                None => {
                    out.push(INNER);
                    out.extend_from_slice(&children.bits().to_be_bytes());
                    children.iter().for_each(|child| encode_child(child, &mut out));
                }
                Some(Base { nid, differing }) => {
                    out.push(CHANGED);
                    out.extend_from_slice(&nid.0.to_be_bytes());
                    out.extend_from_slice(&children.bits().to_be_bytes());
                    out.extend_from_slice(&differing.to_be_bytes());
                    children.of_slots(differing).for_each(|child| encode_child(child, &mut out));
                }
            },
        }
        out.into()
    }

    /// The node whose body it takes to decode this one, too.
    pub(crate) fn base_of(mut body: &[u8]) -> Option<NodeNid> {
        if body.try_get_u8().ok()? != CHANGED {
            return None;
        }
        body.try_get_i64().ok().map(NodeNid)
    }

    /// Decodes a node; `find` finds the body of [`Self::base_of`].
    pub(crate) fn decode<'b>(
        body: &'b [u8],
        find: impl FnOnce(NodeNid) -> Option<&'b [u8]>,
    ) -> Result<Self, DecodeError> {
        let mut rest = body;
        let node = match rest.try_get_u8().map_err(|_| DecodeError)? {
            LEAF => Self::leaf(decode_entries(&mut rest)?),
            INNER => Self::inner(decode_children(&mut rest)?),
            CHANGED => {
                let nid = NodeNid(rest.try_get_i64().map_err(|_| DecodeError)?);
                decode_change(&mut rest, nid, find(nid).ok_or(DecodeError)?)?
            }
            _ => return Err(DecodeError),
        };
        if rest.is_empty() { Ok(node) } else { Err(DecodeError) }
    }
}

fn encode_child(child: &Child, out: &mut Vec<u8>) {
    out.extend_from_slice(&child.link.nid.0.to_be_bytes());
    out.extend_from_slice(&child.hash.to_be_bytes());
    out.extend_from_slice(&u32::try_from(child.len).unwrap_or(u32::MAX).to_be_bytes());
}

fn decode_change(rest: &mut &[u8], nid: NodeNid, mut base: &[u8]) -> Result<Node, DecodeError> {
    if base.try_get_u8() != Ok(INNER) {
        return Err(DecodeError);
    }
    let mut children = decode_children(&mut base)?;
    let bits = rest.try_get_u64().map_err(|_| DecodeError)?;
    let differing = rest.try_get_u64().map_err(|_| DecodeError)?;
    if !base.is_empty() || (children.bits() ^ bits) & !differing != 0 {
        return Err(DecodeError);
    }
    for slot in (0..1 << BITS).filter(|slot| differing & (1_u64 << slot) != 0) {
        let child = if bits & (1 << slot) == 0 { None } else { Some(decode_child(rest)?) };
        children.put(slot, child);
    }
    if children.len() > LEAF_MAX {
        Ok(Node::inner_on(children, Base { nid, differing }))
    } else {
        Err(DecodeError)
    }
}

fn decode_entries(rest: &mut &[u8]) -> Result<Vec<(Key, EventNid)>, DecodeError> {
    let count = usize::from(rest.try_get_u8().map_err(|_| DecodeError)?);
    if count == 0 || count > LEAF_MAX {
        return Err(DecodeError);
    }
    let mut entries: Vec<(Key, EventNid)> = Vec::with_capacity(count);
    for _ in 0..count {
        let key = Key(rest.try_get_u128().map_err(|_| DecodeError)?);
        let nid = EventNid(rest.try_get_i64().map_err(|_| DecodeError)?);
        if entries.last().is_some_and(|(last, _)| *last >= key) {
            return Err(DecodeError);
        }
        entries.push((key, nid));
    }
    Ok(entries)
}

fn decode_children(rest: &mut &[u8]) -> Result<Children, DecodeError> {
    let bits = rest.try_get_u64().map_err(|_| DecodeError)?;
    let mut children = Children::default();
    for slot in (0..1 << BITS).filter(|slot| bits & (1_u64 << slot) != 0) {
        children.put(slot, Some(decode_child(rest)?));
    }
    if children.len() > LEAF_MAX { Ok(children) } else { Err(DecodeError) }
}

fn decode_child(rest: &mut &[u8]) -> Result<Child, DecodeError> {
    let nid = NodeNid(rest.try_get_i64().map_err(|_| DecodeError)?);
    let hash = rest.try_get_u128().map_err(|_| DecodeError)?;
    let len = rest.try_get_u32().map_err(|_| DecodeError)? as usize;
    Ok(Child { link: Link::unloaded(nid), hash, len })
}
