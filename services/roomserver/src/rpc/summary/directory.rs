//! `RoomSummaryService.ListPublicRooms`

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::{DirectoryPosition, ListPublicRoomsRequest, ListPublicRoomsResponse};
use tonic::Status;

use super::{ROOMS, facts};
use crate::{
    rpc::check::{self, failed, invalid, position, unsigned},
    store::reads::facts as reads,
};

/// Longest text that is searched for.
const MAX_TERM_BYTES: usize = 1024;
/// Most types of rooms.
const MAX_TYPES: usize = 100;

pub(super) async fn answer(
    conn: &AsyncPgConnection,
    request: ListPublicRoomsRequest,
) -> Result<ListPublicRoomsResponse, Status> {
    let ListPublicRoomsRequest { search_term, room_types, has_room_types, position: place, limit } = request;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if !(1..=ROOMS).contains(&limit) {
        return Err(invalid("limit", format!("must be between 1 and {ROOMS}")));
    }
    if search_term.len() > MAX_TERM_BYTES {
        return Err(invalid("search_term", format!("longer than {MAX_TERM_BYTES} bytes")));
    }
    check::storable("search_term", &search_term)?;
    check::at_most("room_types", room_types.len(), MAX_TYPES)?;
    for room_type in &room_types {
        check::storable("room_types", room_type)?;
    }
    let begins = place.is_none();
    let place =
        place.unwrap_or(DirectoryPosition { joined_members: u64::MAX, ..DirectoryPosition::default() });
    check::storable("position.room_id", &place.room_id)?;
    let term = search_term.to_lowercase();
    let members = position(place.joined_members);
    // One more than wanted tells whether there are more.
    let count = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let list = async {
        if place.before {
            reads::list_public_before(
                conn,
                &term,
                &has_room_types,
                &room_types,
                &members,
                &place.room_id,
                &count,
            )
            .await
        } else {
            reads::list_public_after(
                conn,
                &term,
                &has_room_types,
                &room_types,
                &members,
                &place.room_id,
                &count,
            )
            .await
        }
    };
    let (mut rows, total) =
        futures::try_join!(list, reads::count_public(conn, &true)).map_err(|error| failed(&error))?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    if place.before {
        rows.reverse();
    }
    let rooms = facts::read(conn, rows).await.map_err(|error| failed(&error))?;
    Ok(ListPublicRoomsResponse {
        rooms: rooms.into_iter().map(|room| room.summary).collect(),
        more_before: if place.before { more } else { !begins },
        more_after: place.before || more,
        total: total.first().map_or(0, |(total,)| unsigned(*total)),
    })
}
