//! Loads counts of joined users by server.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Int8, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::corrupt;
use crate::{
    rooms::{ServerKey, Token},
    store::{StoreError, statement::query},
};

query! {
    /// Counts by room and server.
    FindServers {
        room_nid: Array<Int8> => Vec<i64>,
        snapshot: Array<Binary> => Vec<&'a [u8]>,
        server: Array<Text> => Vec<&'a str>,
    } -> (Int8, Int8),
    "SELECT v.place, s.joined::bigint FROM unnest(",
    ") WITH ORDINALITY AS v(room_nid, snapshot, server, place) JOIN room_servers AS s \
     ON s.room_nid = v.room_nid AND s.snapshot = v.snapshot AND s.server = v.server"
}

/// Counts joined users of servers in rooms, in the order asked. With each goes the snapshot by which the room was joined.
pub(crate) async fn find_servers(
    mut conn: &AsyncPgConnection,
    keys: &[(ServerKey, Option<Token>)],
) -> Result<Vec<i64>, StoreError> {
    let mut found = vec![0; keys.len()];
    if keys.is_empty() {
        return Ok(found);
    }
    let statement = FindServers {
        room_nid: keys.iter().map(|(key, _)| key.room.0).collect(),
        snapshot: keys.iter().map(|(_, token)| token.as_ref().map_or(&[][..], |token| &token[..])).collect(),
        server: keys.iter().map(|(key, _)| key.server.as_str()).collect(),
        lifetime: PhantomData,
    };
    let rows: Vec<(i64, i64)> =
        statement.load(&mut conn).await.map_err(StoreError::query(FindServers::NAME))?;
    for (place, joined) in rows {
        let index = usize::try_from(place - 1).map_err(|error| corrupt("place of a server", &error))?;
        if let Some(found) = found.get_mut(index) {
            *found = joined;
        }
    }
    Ok(found)
}
