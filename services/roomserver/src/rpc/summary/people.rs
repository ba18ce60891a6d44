//! `RoomSummaryService.SearchUsers` and `RoomSummaryService.ListMutualRooms`

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::{
    FoundUser, ListMutualRoomsRequest, ListMutualRoomsResponse, SearchUsersRequest, SearchUsersResponse,
};
use tonic::Status;

use super::{ROOMS, user};
use crate::{
    rpc::check::{self, failed, invalid, unsigned},
    store::reads::facts as reads,
};

/// Most users found.
const USERS: usize = 100;
/// Longest text that is searched for.
const MAX_TERM_BYTES: usize = 1024;

pub(super) async fn search(
    conn: &AsyncPgConnection,
    request: SearchUsersRequest,
) -> Result<SearchUsersResponse, Status> {
    let SearchUsersRequest { viewer, search_term, limit } = request;
    user("viewer", &viewer)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if !(1..=USERS).contains(&limit) {
        return Err(invalid("limit", format!("must be between 1 and {USERS}")));
    }
    if search_term.len() > MAX_TERM_BYTES {
        return Err(invalid("search_term", format!("longer than {MAX_TERM_BYTES} bytes")));
    }
    check::storable("search_term", &search_term)?;
    let term = search_term.trim().to_lowercase();
    if term.is_empty() {
        return Ok(SearchUsersResponse::default());
    }
    let count = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let mut rows = reads::search_users(conn, &viewer, &term, &count).await.map_err(|error| failed(&error))?;
    let limited = rows.len() > limit;
    rows.truncate(limit);
    let users = rows.into_iter().map(|row| FoundUser {
        user_id: row.user_id,
        display_name: row.display_name.unwrap_or_default(),
        avatar_url: row.avatar_url.unwrap_or_default(),
    });
    Ok(SearchUsersResponse { users: users.collect(), limited })
}

pub(super) async fn mutual_rooms(
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
