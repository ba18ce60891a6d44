//! `RoomSummaryService.ListMutualRooms`

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::{ListMutualRoomsRequest, ListMutualRoomsResponse};
use tonic::Status;

use super::{ROOMS, user};
use crate::{
    rpc::check::{self, failed, invalid, unsigned},
    store::reads::facts as reads,
};

pub(super) async fn answer(
    conn: &AsyncPgConnection,
    request: ListMutualRoomsRequest,
) -> Result<ListMutualRoomsResponse, Status> {
    let ListMutualRoomsRequest { user_id, other_user_id, after_room_id, limit } = request;
    user("user_id", &user_id)?;
    user("other_user_id", &other_user_id)?;
    check::storable("after_room_id", &after_room_id)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if !(1..=ROOMS).contains(&limit) {
        return Err(invalid("limit", format!("must be between 1 and {ROOMS}")));
    }
    let count = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = reads::list_mutual(conn, &user_id, &other_user_id, &after_room_id, &count)
        .await
        .map_err(|error| failed(&error))?;
    let total = rows.first().map_or(0, |(_, total)| unsigned(*total));
    Ok(ListMutualRoomsResponse { room_ids: rows.into_iter().map(|(room_id, _)| room_id).collect(), total })
}
