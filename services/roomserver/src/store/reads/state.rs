//! State tries as stored: looking up keys and listing entries, a level of nodes in one round trip.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use diesel::{
    Queryable,
    sql_types::{Array, Binary, Int8, Text},
};
use diesel_async::AsyncPgConnection;

use super::query::query;
use crate::{
    rooms::{Key, Missing, Node, NodeNid, Trie},
    store::{StoreError, nodes},
};

/// Bytes of nodes kept in memory.
const CACHED_BYTES: u64 = 16 * 1024 * 1024;
/// What an entry of the cache costs beside its body.
const OVERHEAD: usize = 128;
/// Nodes asked for in one statement.
const NODES: usize = 1024;

#[derive(Debug, Clone, Queryable)]
pub(crate) struct NodeRow {
    node_nid: i64,
    body: Vec<u8>,
}

query! {
    /// Lists nodes of a room.
    fn list_nodes<'a>(room_nid: i64 as Int8, node_nids: [i64] as Array<Int8>) -> NodeRow as (Int8, Binary) =
        "SELECT node_nid, body FROM state_node WHERE room_nid = ? AND node_nid = ANY(?)";
}

query! {
    /// Lists those of the events that are of some types, in numeric order.
    fn choose_types<'a>(event_nids: [i64] as Array<Int8>, types: [String] as Array<Text>) -> (i64,) as (Int8) =
        "SELECT event_nid FROM events WHERE event_nid = ANY(?) AND type = ANY(?) ORDER BY event_nid";
}

/// Nodes read lately. A node never changes, so none is ever out of date. Bodies are kept, not nodes: a node in use holds
/// on to those below it, which no bound would count.
#[derive(Clone)]
pub(crate) struct NodeCache {
    bodies: moka::sync::Cache<(i64, i64), Bytes>,
}

impl Default for NodeCache {
    fn default() -> Self {
        let weigh = |_: &(i64, i64), body: &Bytes| u32::try_from(body.len() + OVERHEAD).unwrap_or(u32::MAX);
        Self { bodies: moka::sync::Cache::builder().max_capacity(CACHED_BYTES).weigher(weigh).build() }
    }
}

impl NodeCache {
    /// Reads nodes of a room, from memory as far as they are there.
    pub(crate) async fn load(
        &self,
        conn: &AsyncPgConnection,
        room_nid: i64,
        wanted: impl Iterator<Item = NodeNid>,
    ) -> Result<Vec<(NodeNid, Node)>, StoreError> {
        let wanted: Vec<NodeNid> = wanted.collect();
        let mut bodies = nodes::Bodies::with_capacity(wanted.len());
        self.add(conn, room_nid, &mut bodies, wanted.iter().map(|nid| nid.0)).await?;
        let lacking = nodes::lacking(&bodies);
        self.add(conn, room_nid, &mut bodies, lacking.into_iter()).await?;
        let mut found = Vec::with_capacity(wanted.len());
        for nid in wanted {
            let node = nodes::decode(nid, &bodies)?.ok_or_else(|| missing(room_nid))?;
            found.push((nid, node));
        }
        Ok(found)
    }

    /// Reads bodies, from memory as far as they are there.
    async fn add(
        &self,
        conn: &AsyncPgConnection,
        room_nid: i64,
        bodies: &mut nodes::Bodies,
        wanted: impl Iterator<Item = i64>,
    ) -> Result<(), StoreError> {
        let mut absent = Vec::new();
        for nid in wanted {
            match self.bodies.get(&(room_nid, nid)) {
                Some(body) => {
                    bodies.insert(nid, body);
                }
                None => absent.push(nid),
            }
        }
        for nids in absent.chunks(NODES) {
            for row in list_nodes(conn, &room_nid, nids).await? {
                let body = Bytes::from(row.body);
                self.bodies.insert((room_nid, row.node_nid), body.clone());
                bodies.insert(row.node_nid, body);
            }
        }
        Ok(())
    }
}

fn missing(room_nid: i64) -> StoreError {
    StoreError::Corrupt { what: format!("state of room {room_nid}: nodes are missing") }
}

/// Finds the events that hold keys in a trie, in the order of the keys.
pub(crate) async fn find(
    cache: &NodeCache,
    conn: &AsyncPgConnection,
    room_nid: i64,
    root: i64,
    keys: &[(&str, &str)],
) -> Result<Vec<Option<i64>>, StoreError> {
    let trie = Trie::stored(NodeNid::from_column(root));
    let keys = keys.iter().map(|(event_type, state_key)| Key::of(event_type, state_key)).collect::<Vec<_>>();
    let mut nodes = HashMap::new();
    loop {
        let mut missing = HashSet::new();
        let mut found = Vec::with_capacity(keys.len());
        for key in &keys {
            match trie.get(*key, &nodes) {
                Ok(event) => found.push(event.map(|event| event.0)),
                Err(Missing(nid)) => {
                    missing.insert(nid);
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        for (nid, node) in cache.load(conn, room_nid, missing.into_iter()).await? {
            nodes.insert(nid, Arc::new(node));
        }
    }
}

/// Lists the events of all entries of a trie, in no particular order.
pub(crate) async fn list(
    cache: &NodeCache,
    conn: &AsyncPgConnection,
    room_nid: i64,
    root: i64,
) -> Result<Vec<i64>, StoreError> {
    let mut events = Vec::new();
    let mut level = NodeNid::from_column(root).into_iter().collect::<Vec<_>>();
    while !level.is_empty() {
        let mut next = Vec::new();
        for nids in level.chunks(NODES) {
            for (_, node) in cache.load(conn, room_nid, nids.iter().copied()).await? {
                events.extend(node.entries().iter().map(|(_, event)| event.0));
                next.extend(node.children());
            }
        }
        level = next;
    }
    Ok(events)
}
