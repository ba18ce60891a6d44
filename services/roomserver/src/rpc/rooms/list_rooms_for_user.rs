//! `RoomQueryService.ListRoomsForUser`

use plexus_proto::{
    common::v1::PartitionHead,
    room::v1::{ListRoomsForUserRequest, ListRoomsForUserResponse, UserRoom},
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use crate::{
    app::App,
    rpc::check::{self, failed, unsigned},
    store::{pool, reads, reads::members::UserRoomRow},
};

/// More memberships than there are make no sense.
const MEMBERSHIPS: usize = 16;

#[instrument(name = "rpc.room.list_rooms_for_user", skip_all, fields(user.id = %request.get_ref().user_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<ListRoomsForUserRequest>,
) -> Result<Response<ListRoomsForUserResponse>, Status> {
    let ListRoomsForUserRequest { user_id, memberships, include_forgotten } = request.into_inner();
    check::user_id("user_id", &user_id)?;
    check::storable("user_id", &user_id)?;
    check::at_most("memberships", memberships.len(), MEMBERSHIPS)?;
    for membership in &memberships {
        check::name("memberships", membership)?;
    }
    let partitions = (0..plexus_log::PARTITIONS).filter_map(|p| i16::try_from(p).ok()).collect::<Vec<_>>();
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    // One after the other, so that the rooms are not older than the heads.
    let heads = reads::heads::list(&conn, &partitions).await.map_err(|error| failed(&error))?;
    let rooms = reads::members::list_rooms(&conn, &memberships, &include_forgotten, &user_id)
        .await
        .map_err(|error| failed(&error))?;
    let heads = heads.into_iter().map(|head| PartitionHead {
        partition: u32::try_from(head.partition).unwrap_or(0),
        seq: unsigned(head.seq),
    });
    Ok(Response::new(ListRoomsForUserResponse {
        rooms: rooms.into_iter().map(user_room).collect(),
        heads: heads.collect(),
    }))
}

fn user_room(row: UserRoomRow) -> UserRoom {
    UserRoom {
        room_id: row.room_id,
        membership: row.membership,
        event_id: row.event_id,
        seq: unsigned(row.seq),
        forgotten: row.forgotten,
        sender: row.sender,
        partition: u32::try_from(row.partition).unwrap_or(0),
        since_seq: unsigned(row.since_seq),
        first_seq: unsigned(row.first_seq),
        member_ts: row.member_ts,
    }
}
