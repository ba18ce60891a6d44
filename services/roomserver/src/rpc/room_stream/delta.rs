//! `RoomStreamService.StreamStateDelta`

use std::collections::{HashMap, VecDeque};

use diesel_async::AsyncPgConnection;
use futures::{StreamExt as _, stream, stream::BoxStream};
use plexus_proto::room::v1::{RoomEvent, StateKey, StreamStateDeltaRequest, StreamStateDeltaResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{CHUNK_BYTES, PAGE, event, size};
use crate::{
    app::App,
    rooms::{Change, NodeNid, RoomNid, Trie, diff},
    rpc::check::{self, failed, position, room_unknown},
    store::{StoreError, loads, pool, reads},
};

#[instrument(name = "rpc.room.stream_state_delta", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn stream(
    app: &App,
    request: Request<StreamStateDeltaRequest>,
) -> Result<Response<BoxStream<'static, Result<StreamStateDeltaResponse, Status>>>, Status> {
    let StreamStateDeltaRequest { room_id, from_seq, to_seq } = request.into_inner();
    let delta = find(app, &room_id, from_seq, to_seq).await?;
    let chunks = stream::try_unfold((app.clone(), delta), |(app, mut delta)| async move {
        let chunk = delta.next(&app).await.map_err(|error| failed(&error))?;
        Ok(chunk.map(|chunk| (chunk, (app, delta))))
    });
    Ok(Response::new(chunks.boxed()))
}

/// What differs. It is settled before the first chunk; a slow reader holds no connection.
struct Delta {
    /// Events that hold a key now and did not before, in order.
    changed: VecDeque<i64>,
    /// Events that held a key which nothing holds now.
    gone: VecDeque<i64>,
    ready: VecDeque<RoomEvent>,
}

impl Delta {
    /// Reads the next chunk; `None` when there is nothing more.
    async fn next(&mut self, app: &App) -> Result<Option<StreamStateDeltaResponse>, StoreError> {
        let mut chunk = StreamStateDeltaResponse::default();
        let mut bytes = 0;
        while bytes < CHUNK_BYTES {
            if let Some(event) = self.ready.pop_front() {
                bytes += size(&event);
                chunk.changed.push(event);
                continue;
            }
            let nids: Vec<i64> = self.changed.drain(..self.changed.len().min(PAGE)).collect();
            if nids.is_empty() {
                break;
            }
            let conn = pool::get(&app.pool).await?;
            let mut rows = reads::events::list(&conn, &true, &nids).await?;
            rows.sort_unstable_by_key(|row| row.event_nid);
            self.ready.extend(rows.into_iter().map(event));
        }
        if chunk.changed.is_empty() && !self.gone.is_empty() {
            let nids: Vec<i64> = self.gone.drain(..self.gone.len().min(PAGE)).collect();
            let conn = pool::get(&app.pool).await?;
            let rows = reads::events::list(&conn, &false, &nids).await?;
            let key = |row: reads::events::EventRow| StateKey {
                r#type: row.event_type,
                state_key: row.state_key.unwrap_or_default(),
            };
            chunk.removed = rows.into_iter().map(key).collect();
        }
        let ended = chunk.changed.is_empty() && chunk.removed.is_empty();
        Ok((!ended).then_some(chunk))
    }
}

async fn find(app: &App, room_id: &str, from_seq: u64, to_seq: u64) -> Result<Delta, Status> {
    check::room_id("room_id", room_id)?;
    check::storable("room_id", room_id)?;
    let delta = read(app, room_id, position(from_seq), position(to_seq)).await;
    delta.map_err(|error| failed(&error))?.ok_or_else(room_unknown)
}

async fn read(app: &App, room_id: &str, from: i64, to: i64) -> Result<Option<Delta>, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let Some(room) =
        reads::snapshot::find_room(&conn, &app.config.server.name, room_id).await?.into_iter().next()
    else {
        return Ok(None);
    };
    let (before, after) = (roots(&conn, room.room_nid, from).await?, roots(&conn, room.room_nid, to).await?);
    let mut changes = Vec::new();
    for (before, after) in before.into_iter().zip(after) {
        changes.extend(compare(&conn, room.room_nid, before, after).await?);
    }
    let mut changed: Vec<i64> = changes.iter().filter_map(|change| change.after).map(|nid| nid.0).collect();
    changed.sort_unstable();
    let gone = changes.iter().filter(|change| change.after.is_none());
    let gone = gone.filter_map(|change| change.before).map(|nid| nid.0).collect();
    Ok(Some(Delta { changed: changed.into(), gone, ready: VecDeque::new() }))
}

/// The tries of the state after the last event that is not after `seq`: members, others.
async fn roots(conn: &AsyncPgConnection, room_nid: i64, seq: i64) -> Result<[Trie; 2], StoreError> {
    let point = reads::timeline::find_point_at(conn, &room_nid, &seq).await?.into_iter().next();
    let (members, other) = point.map_or((0, 0), |point| (point.members_root, point.other_root));
    Ok([members, other].map(|root| Trie::stored(NodeNid::from_column(root))))
}

/// Compares two tries, reading the nodes in which they differ.
pub(in crate::rpc) async fn compare(
    conn: &AsyncPgConnection,
    room_nid: i64,
    before: Trie,
    after: Trie,
) -> Result<Vec<Change>, StoreError> {
    let mut nodes = HashMap::new();
    loop {
        match diff(&before, &after, &nodes) {
            Ok(changes) => return Ok(changes),
            Err(lacking) => {
                let found = loads::find_nodes(conn, RoomNid(room_nid), &lacking).await?;
                if found.is_empty() {
                    return Err(StoreError::Corrupt {
                        what: format!("state of room {room_nid}: a node is missing"),
                    });
                }
                nodes.extend(found);
            }
        }
    }
}
