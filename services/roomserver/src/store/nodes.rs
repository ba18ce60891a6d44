//! Reads nodes of state tries, some of which are stored as changes of others.

use std::collections::HashMap;

use bytes::Bytes;

use super::StoreError;
use crate::rooms::{Node, NodeNid};

/// Bodies by node.
pub(crate) type Bodies = HashMap<i64, Bytes>;

/// The nodes whose bodies are lacking to decode these.
pub(crate) fn lacking(bodies: &Bodies) -> Vec<i64> {
    let bases = bodies.values().filter_map(|body| Node::base_of(body));
    let mut lacking: Vec<i64> = bases.map(|nid| nid.0).filter(|nid| !bodies.contains_key(nid)).collect();
    lacking.sort_unstable();
    lacking.dedup();
    lacking
}

/// Decodes one of the nodes; `None` if it is not there.
pub(crate) fn decode(nid: NodeNid, bodies: &Bodies) -> Result<Option<Node>, StoreError> {
    let Some(body) = bodies.get(&nid.0) else { return Ok(None) };
    let decoded = Node::decode(body, |base| bodies.get(&base.0).map(AsRef::as_ref));
    decoded.map(Some).map_err(|error| StoreError::Corrupt { what: format!("state node {nid} ({error})") })
}
