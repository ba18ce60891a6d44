//! Events chunk by chunk: what is sent is settled before the first chunk; a slow reader holds no connection.

use std::collections::VecDeque;

use bytes::Bytes;
use plexus_proto::room::v1::GraphEvent;

use crate::{
    app::App,
    rpc::check::unsigned,
    store::{StoreError, pool, reads},
};

/// Most events of a chunk.
const CHUNK: usize = 500;
/// Bytes after which a chunk is sent: receivers take 4 MiB.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Most IDs of a chunk.
const ID_CHUNK: usize = 5000;

/// Events still to be sent.
#[derive(Debug)]
pub(super) struct Chunks {
    events: VecDeque<i64>,
    ids_only: bool,
    ready: VecDeque<GraphEvent>,
}

impl Chunks {
    pub(super) fn new(events: Vec<i64>, ids_only: bool) -> Self {
        Self { events: events.into(), ids_only, ready: VecDeque::new() }
    }

    /// Reads the next chunk; empty when there is nothing more.
    pub(super) async fn next(&mut self, app: &App) -> Result<Vec<GraphEvent>, StoreError> {
        if self.ready.is_empty() && !self.events.is_empty() {
            let count = self.events.len().min(if self.ids_only { ID_CHUNK } else { CHUNK });
            let nids: Vec<i64> = self.events.drain(..count).collect();
            self.ready.extend(read(app, &nids, self.ids_only).await?);
        }
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while bytes < CHUNK_BYTES
            && let Some(event) = self.ready.pop_front()
        {
            bytes += event.json.len() + 64;
            chunk.push(event);
        }
        Ok(chunk)
    }
}

/// Reads events in the order asked.
pub(super) async fn read(app: &App, nids: &[i64], ids_only: bool) -> Result<Vec<GraphEvent>, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let mut found = std::collections::HashMap::with_capacity(nids.len());
    if ids_only {
        for (nid, event_id, depth) in reads::graph::list_ids(&conn, nids).await? {
            found.insert(nid, GraphEvent { event_id, depth: unsigned(depth), ..GraphEvent::default() });
        }
    } else {
        for row in reads::graph::list_json(&conn, nids).await? {
            let event = GraphEvent {
                event_id: row.event_id,
                json: Bytes::from(row.json),
                depth: unsigned(row.depth),
                redacted_for_server: false,
            };
            found.insert(row.event_nid, event);
        }
    }
    Ok(nids.iter().filter_map(|nid| found.remove(nid)).collect())
}
