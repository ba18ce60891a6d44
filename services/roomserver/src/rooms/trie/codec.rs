//! Nodes as rows of `state_node` hold them.
//!
//! A leaf is 0, the number of entries, and for each the key and the event. An inner node is 1, a bit for each child, and
//! for each child its node, its hash and its number of entries. Numbers are big-endian.

use bytes::{Buf as _, Bytes};

use super::{
    super::ids::{EventNid, NodeNid},
    BITS, Key, LEAF_MAX, Link, Node,
    node::{Body, Child, Children},
};

const LEAF: u8 = 0;
const INNER: u8 = 1;

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
            Body::Inner(children) => {
                out.push(INNER);
                out.extend_from_slice(&children.bits().to_be_bytes());
                for child in children.iter() {
                    out.extend_from_slice(&child.link.nid.0.to_be_bytes());
                    out.extend_from_slice(&child.hash.to_be_bytes());
                    out.extend_from_slice(&u32::try_from(child.len).unwrap_or(u32::MAX).to_be_bytes());
                }
            }
        }
        out.into()
    }

    /// Decodes a node.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = body;
        let node = match rest.try_get_u8().map_err(|_| DecodeError)? {
            LEAF => Self::leaf(decode_entries(&mut rest)?),
            INNER => Self::inner(decode_children(&mut rest)?),
            _ => return Err(DecodeError),
        };
        if rest.is_empty() { Ok(node) } else { Err(DecodeError) }
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
        let nid = NodeNid(rest.try_get_i64().map_err(|_| DecodeError)?);
        let hash = rest.try_get_u128().map_err(|_| DecodeError)?;
        let len = rest.try_get_u32().map_err(|_| DecodeError)? as usize;
        children.put(slot, Some(Child { link: Link::unloaded(nid), hash, len }));
    }
    if children.len() > LEAF_MAX { Ok(children) } else { Err(DecodeError) }
}
