//! `DestinationService.ListServersBefore` and `.StreamRoomServers`

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt as _, stream, stream::BoxStream};
use plexus_proto::room::v1::{
    ListServersBeforeRequest, ListServersBeforeResponse, RoomServers, StreamRoomServersRequest,
    StreamRoomServersResponse,
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use crate::{
    app::App,
    rooms::{NodeNid, Trie},
    rpc::{
        check::{self, failed, invalid, position, room_unknown},
        room_stream::compare,
    },
    store::{StoreError, pool, reads},
};

/// Rooms of a chunk. Some have thousands of servers.
const PAGE: i64 = 20;

#[instrument(name = "rpc.destination.list_servers_before", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn before(
    app: &App,
    request: Request<ListServersBeforeRequest>,
) -> Result<Response<ListServersBeforeResponse>, Status> {
    let ListServersBeforeRequest { room_id, seq } = request.into_inner();
    check::room_id("room_id", &room_id)?;
    check::storable("room_id", &room_id)?;
    let servers = find(app, &room_id, position(seq)).await.map_err(|error| failed(&error))?;
    Ok(Response::new(ListServersBeforeResponse { servers: servers.ok_or_else(room_unknown)? }))
}

/// The servers now, less what the members have changed since.
async fn find(app: &App, room_id: &str, seq: i64) -> Result<Option<Vec<String>>, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let found = reads::outgoing::find_servers(&conn, &seq, room_id).await?;
    let Some(row) = found.into_iter().next() else { return Ok(None) };
    let root_before = row.members_before.unwrap_or(0);
    if root_before == row.members_root {
        return Ok(Some(row.servers));
    }
    let trie = |root| Trie::stored(NodeNid::from_column(root));
    let changes = compare(&conn, row.room_nid, trie(root_before), trie(row.members_root)).await?;
    let nids: Vec<i64> =
        changes.iter().flat_map(|change| [change.before, change.after]).flatten().map(|nid| nid.0).collect();
    let members: HashMap<i64, String> = reads::outgoing::list_members(&conn, &nids)
        .await?
        .into_iter()
        .filter(|(_, _, membership)| membership.as_deref() == Some("join"))
        .filter_map(|(nid, user, _)| Some((nid, user?)))
        .collect();
    let mut joined: BTreeMap<String, i64> = row.servers.into_iter().zip(row.joined).collect();
    for change in changes {
        for (event, step) in [(change.before, 1), (change.after, -1)] {
            if let Some(user) = event.and_then(|nid| members.get(&nid.0)) {
                let server = user.split_once(':').map_or("", |(_, server)| server);
                *joined.entry(server.to_owned()).or_default() += step;
            }
        }
    }
    Ok(Some(joined.into_iter().filter(|(_, joined)| *joined > 0).map(|(server, _)| server).collect()))
}

type Chunks = BoxStream<'static, Result<StreamRoomServersResponse, Status>>;

pub(super) fn stream(
    app: &App,
    request: Request<StreamRoomServersRequest>,
) -> Result<Response<Chunks>, Status> {
    let StreamRoomServersRequest { partition, after_seq } = request.into_inner();
    let number = i16::try_from(partition).ok().filter(|_| partition < plexus_log::PARTITIONS);
    let partition = number.ok_or_else(|| invalid("partition", "there is no such partition"))?;
    let begin = (app.clone(), position(after_seq), 0_i64);
    let chunks = stream::try_unfold(begin, move |(app, after_seq, after_nid)| async move {
        let page = page(&app, partition, after_seq, after_nid).await.map_err(|error| failed(&error))?;
        Ok(page.map(|(chunk, last)| (chunk, (app, after_seq, last))))
    });
    Ok(Response::new(chunks.boxed()))
}

async fn page(
    app: &App,
    partition: i16,
    after_seq: i64,
    after_nid: i64,
) -> Result<Option<(StreamRoomServersResponse, i64)>, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let own = &app.config.server.name;
    let rows =
        reads::outgoing::list_room_servers(&conn, own, &partition, &after_seq, &after_nid, &PAGE).await?;
    let Some(last) = rows.last().map(|row| row.room_nid) else { return Ok(None) };
    let rooms = rows.into_iter().filter(|row| !row.servers.is_empty());
    let rooms = rooms.map(|row| RoomServers { room_id: row.room_id, servers: row.servers }).collect();
    Ok(Some((StreamRoomServersResponse { rooms }, last)))
}
