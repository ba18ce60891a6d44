//! `RoomGraphService.ListJoinedServers`

use plexus_proto::room::v1::{JoinedServer, ListJoinedServersRequest, ListJoinedServersResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::room;
use crate::{
    app::App,
    rpc::{
        check::{self, failed, unsigned},
        rooms::as_of,
    },
    store::{pool, reads},
};

#[instrument(name = "rpc.graph.list_joined_servers", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<ListJoinedServersRequest>,
) -> Result<Response<ListJoinedServersResponse>, Status> {
    let ListJoinedServersRequest { room_id, server } = request.into_inner();
    check::name("server", &server)?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = room(app, &conn, &room_id).await?;
    let rows = reads::graph::list_servers(&conn, &server, &view.room.room_nid)
        .await
        .map_err(|error| failed(&error))?;
    let servers = rows.into_iter().map(|(name, members)| JoinedServer { name, members: unsigned(members) });
    Ok(Response::new(ListJoinedServersResponse {
        servers: servers.collect(),
        as_of: Some(as_of(app, &view)),
    }))
}
