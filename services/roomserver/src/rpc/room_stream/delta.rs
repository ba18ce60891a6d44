//! `RoomStreamService.GetStateDelta`

use std::collections::HashMap;

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::{GetStateDeltaRequest, GetStateDeltaResponse, StateKey};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::event;
use crate::{
    app::App,
    rooms::{Change, NodeNid, RoomNid, Trie, diff},
    rpc::check::{self, failed, position, room_unknown},
    store::{StoreError, loads, pool, reads},
};

#[instrument(name = "rpc.room.get_state_delta", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<GetStateDeltaRequest>,
) -> Result<Response<GetStateDeltaResponse>, Status> {
    let GetStateDeltaRequest { room_id, from_seq, to_seq } = request.into_inner();
    check::room_id("room_id", &room_id)?;
    check::storable("room_id", &room_id)?;
    let delta = read(app, &room_id, position(from_seq), position(to_seq)).await;
    let delta = delta.map_err(|error| failed(&error))?;
    Ok(Response::new(delta.ok_or_else(room_unknown)?))
}

async fn read(
    app: &App,
    room_id: &str,
    from: i64,
    to: i64,
) -> Result<Option<GetStateDeltaResponse>, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let Some(room) = reads::snapshot::find_room(&conn, room_id).await?.into_iter().next() else {
        return Ok(None);
    };
    let (before, after) = (roots(&conn, room.room_nid, from).await?, roots(&conn, room.room_nid, to).await?);
    let mut changes = Vec::new();
    for (before, after) in before.into_iter().zip(after) {
        changes.extend(compare(&conn, room.room_nid, before, after).await?);
    }
    let changed: Vec<i64> = changes.iter().filter_map(|change| change.after).map(|nid| nid.0).collect();
    let gone: Vec<i64> = changes
        .iter()
        .filter(|change| change.after.is_none())
        .filter_map(|change| change.before)
        .map(|nid| nid.0)
        .collect();
    let mut changed = reads::events::list(&conn, &true, &changed).await?;
    changed.sort_unstable_by_key(|row| row.event_nid);
    let gone = reads::events::list(&conn, &false, &gone).await?;
    Ok(Some(GetStateDeltaResponse {
        changed: changed.into_iter().map(event).collect(),
        removed: gone
            .into_iter()
            .map(|row| StateKey { r#type: row.event_type, state_key: row.state_key.unwrap_or_default() })
            .collect(),
    }))
}

/// The tries of the state after the last event that is not after `seq`: members, others.
async fn roots(conn: &AsyncPgConnection, room_nid: i64, seq: i64) -> Result<[Trie; 2], StoreError> {
    let point = reads::timeline::find_point_at(conn, &room_nid, &seq).await?.into_iter().next();
    let (members, other) = point.map_or((0, 0), |point| (point.members_root, point.other_root));
    Ok([members, other].map(|root| Trie::stored(NodeNid::from_column(root))))
}

/// Compares two tries, reading the nodes in which they differ.
async fn compare(
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
