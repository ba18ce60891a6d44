//! `state_node`: writes nodes of state tries.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Int8};

use crate::{
    rooms::NodeRow,
    store::{batch::Pipeline, statement::statement},
};

/// Writes nodes.
pub(super) fn write(nodes: &[NodeRow], pipeline: &mut Pipeline<'_>) {
    if nodes.is_empty() {
        return;
    }
    pipeline.add(
        InsertNodes::NAME,
        InsertNodes {
            room_nid: nodes.iter().map(|row| row.room_nid.0).collect(),
            node_nid: nodes.iter().map(|row| row.nid.0).collect(),
            body: nodes.iter().map(|row| row.body.as_ref()).collect(),
            lifetime: PhantomData,
        },
    );
}

statement! {
    /// Adds nodes of state tries.
    InsertNodes {
        room_nid: Array<Int8> => Vec<i64>,
        node_nid: Array<Int8> => Vec<i64>,
        body: Array<Binary> => Vec<&'a [u8]>,
    }
    "INSERT INTO state_node (room_nid, node_nid, body) SELECT * FROM unnest(", ")"
}
