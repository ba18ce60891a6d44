//! Loads current memberships.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Int8, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use super::corrupt;
use crate::{
    rooms::{JOINED_LOCAL_LIMIT, RoomNid},
    store::{StoreError, statement::query},
};

query! {
    /// Current memberships of pairs of room and user.
    FindMemberships {
        room_id: Array<Text> => Vec<&'a str>,
        user_id: Array<Text> => Vec<&'a str>,
    } -> (Text, Text, Text),
    "SELECT v.room_id, v.user_id, m.membership FROM unnest(",
    ") AS v(room_id, user_id) JOIN rooms AS r ON r.room_id = v.room_id \
     JOIN current_members AS m ON m.room_nid = r.room_nid AND m.user_id = v.user_id"
}

query! {
    /// Users of a server who are joined to a room.
    FindJoinedLocal {
        room_nid: Int8 => i64,
        server: Text => &'a str,
        most: Int8 => i64,
    } -> (Text,),
    "WITH wanted AS (SELECT * FROM (VALUES (",
    ")) AS v(room_nid, server, most)) \
     SELECT m.user_id FROM wanted AS w JOIN current_members AS m ON m.room_nid = w.room_nid \
     AND substr(m.user_id, strpos(m.user_id, ':') + 1) = w.server \
     WHERE m.membership = 'join' ORDER BY m.user_id \
     LIMIT (SELECT most FROM wanted)"
}

/// Finds current memberships.
pub(crate) async fn find_memberships(
    mut conn: &AsyncPgConnection,
    wanted: &[(&RoomId, &UserId)],
) -> Result<Vec<((OwnedRoomId, OwnedUserId), String)>, StoreError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: Vec<_> = wanted
        .iter()
        .filter(|(room, user)| !room.as_str().contains('\0') && !user.as_str().contains('\0'))
        .collect();
    let statement = FindMemberships {
        room_id: wanted.iter().map(|(room, _)| room.as_str()).collect(),
        user_id: wanted.iter().map(|(_, user)| user.as_str()).collect(),
        lifetime: PhantomData,
    };
    let rows: Vec<(String, String, String)> =
        statement.load(&mut conn).await.map_err(StoreError::query(FindMemberships::NAME))?;
    rows.into_iter()
        .map(|(room_id, user_id, membership)| {
            let room_id = OwnedRoomId::try_from(room_id).map_err(|error| corrupt("room ID", &error))?;
            let user_id = OwnedUserId::try_from(user_id).map_err(|error| corrupt("user ID", &error))?;
            Ok(((room_id, user_id), membership))
        })
        .collect()
}

/// Finds some users of a server who are joined to a room.
pub(crate) async fn find_joined_local(
    mut conn: &AsyncPgConnection,
    room: RoomNid,
    server_name: &str,
) -> Result<Vec<OwnedUserId>, StoreError> {
    let statement = FindJoinedLocal {
        room_nid: room.0,
        server: server_name,
        most: JOINED_LOCAL_LIMIT,
        lifetime: PhantomData,
    };
    let rows: Vec<(String,)> =
        statement.load(&mut conn).await.map_err(StoreError::query(FindJoinedLocal::NAME))?;
    rows.into_iter()
        .map(|(user,)| OwnedUserId::try_from(user).map_err(|error| corrupt("user ID", &error)))
        .collect()
}
