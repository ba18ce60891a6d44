//! Loads the rows that a batch needs. Functions take a shared connection, so that the caller can have
//! several queries under way at once.

mod aliases;
mod annotations;
mod chains;
mod events;
mod members;
mod profiles;
mod receipts;
mod received;
mod rooms;
mod servers;

use std::{collections::HashMap, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use diesel::{
    ExpressionMethods as _, QueryDsl as _,
    sql_types::{Array, Binary},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use plexus_proto::input::v1::Verdict;
use prost::Message as _;

pub(crate) use self::{
    aliases::{count_aliases, find_aliases},
    annotations::find_annotations,
    chains::{find_chains, find_citing},
    events::{find_events, find_events_by_id},
    members::{find_joined_local, find_memberships},
    profiles::find_profiles,
    receipts::find_receipts,
    received::{find_arrivals, find_parked, find_parked_records, find_snapshot},
    rooms::find_rooms,
    servers::find_servers,
};
use super::{StoreError, nodes, schema::state_node, statement::query};
use crate::rooms::{Node, NodeNid, RoomNid};

/// Key of a verdict: the ID of an input, or what stands for a client's transaction.
pub(crate) type Key = [u8; 16];

query! {
    /// Verdicts by their keys.
    FindVerdicts { key: Array<Binary> => Vec<&'a [u8]> } -> (Binary, Binary),
    "SELECT key, verdict FROM verdicts WHERE key = ANY(", ")"
}

/// Finds what became of inputs.
pub(crate) async fn find_verdicts(
    mut conn: &AsyncPgConnection,
    keys: &[Key],
) -> Result<HashMap<Key, Verdict>, StoreError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let statement =
        FindVerdicts { key: keys.iter().map(|key| key.as_slice()).collect(), lifetime: PhantomData };
    let rows: Vec<(Vec<u8>, Vec<u8>)> =
        statement.load(&mut conn).await.map_err(StoreError::query(FindVerdicts::NAME))?;
    rows.into_iter()
        .map(|(key, body)| {
            let key = Key::try_from(key.as_slice()).map_err(|_| corrupt("key of a verdict", &"length"))?;
            let verdict = Verdict::decode(body.as_slice()).map_err(|error| corrupt("verdict", &error))?;
            Ok((key, verdict))
        })
        .collect()
}

/// Finds nodes of a room's state tries.
pub(crate) async fn find_nodes(
    conn: &AsyncPgConnection,
    room: RoomNid,
    nids: &[NodeNid],
) -> Result<Vec<(NodeNid, Arc<Node>)>, StoreError> {
    if nids.is_empty() {
        return Ok(Vec::new());
    }
    let mut bodies = find_bodies(conn, room, nids.iter().map(|nid| nid.0).collect()).await?;
    let lacking = nodes::lacking(&bodies);
    if !lacking.is_empty() {
        bodies.extend(find_bodies(conn, room, lacking).await?);
    }
    let mut found = Vec::with_capacity(nids.len());
    for nid in nids {
        if let Some(node) = nodes::decode(*nid, &bodies)? {
            found.push((*nid, Arc::new(node)));
        }
    }
    Ok(found)
}

async fn find_bodies(
    mut conn: &AsyncPgConnection,
    room: RoomNid,
    nids: Vec<i64>,
) -> Result<nodes::Bodies, StoreError> {
    let rows: Vec<(i64, Vec<u8>)> = state_node::table
        .filter(state_node::room_nid.eq(room.0))
        .filter(state_node::node_nid.eq_any(nids))
        .select((state_node::node_nid, state_node::body))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("loads.nodes"))?;
    Ok(rows.into_iter().map(|(nid, body)| (nid, Bytes::from(body))).collect())
}

/// Names by which something is looked up. What has a U+0000 is not there: Postgres holds none, and would refuse the query
/// for all.
fn names<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    names.filter(|name| !name.contains('\0')).collect()
}

fn corrupt(what: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what: format!("{what} ({error})") }
}
