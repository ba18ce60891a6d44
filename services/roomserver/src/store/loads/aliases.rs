//! Loads local aliases and their numbers.

use std::marker::PhantomData;

use diesel::{
    ExpressionMethods as _, QueryDsl as _,
    sql_types::{Array, Int8, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId};

use super::{corrupt, names};
use crate::{
    rooms::{AliasCounts, AliasTarget},
    store::{StoreError, schema::aliases, statement::query},
};

query! {
    /// How many aliases rooms and users have, in the order asked; no more than a thousand are counted.
    CountAliases {
        room_id: Array<Text> => Vec<&'a str>,
        creator: Array<Text> => Vec<&'a str>,
    } -> (Int8, Int8, Int8),
    "SELECT v.place, \
       (SELECT count(*) FROM (SELECT FROM aliases a WHERE a.room_id = v.room_id LIMIT 1000) a), \
       (SELECT count(*) FROM (SELECT FROM aliases a WHERE a.creator = v.creator LIMIT 1000) a) FROM unnest(",
    ") WITH ORDINALITY AS v(room_id, creator, place)"
}

/// Finds where aliases point.
pub(crate) async fn find_aliases(
    mut conn: &AsyncPgConnection,
    wanted: &[&OwnedRoomAliasId],
) -> Result<Vec<(OwnedRoomAliasId, AliasTarget)>, StoreError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = names(wanted.iter().map(|alias| alias.as_str()));
    let rows: Vec<(String, String, String)> = aliases::table
        .filter(aliases::alias.eq_any(wanted))
        .select((aliases::alias, aliases::room_id, aliases::creator))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("loads.aliases"))?;
    rows.into_iter()
        .map(|(alias, room_id, creator)| {
            let alias = OwnedRoomAliasId::try_from(alias).map_err(|error| corrupt("alias", &error))?;
            let room_id = OwnedRoomId::try_from(room_id).map_err(|error| corrupt("room ID", &error))?;
            let creator = OwnedUserId::try_from(creator).map_err(|error| corrupt("user ID", &error))?;
            Ok((alias, AliasTarget { room_id, creator }))
        })
        .collect()
}

/// Counts the aliases of rooms and users, as far as their number matters.
pub(crate) async fn count_aliases(
    mut conn: &AsyncPgConnection,
    wanted: &[(OwnedRoomId, OwnedUserId)],
) -> Result<Vec<((OwnedRoomId, OwnedUserId), AliasCounts)>, StoreError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let statement = CountAliases {
        room_id: wanted.iter().map(|(room, _)| room.as_str()).collect(),
        creator: wanted.iter().map(|(_, user)| user.as_str()).collect(),
        lifetime: PhantomData,
    };
    let rows: Vec<(i64, i64, i64)> =
        statement.load(&mut conn).await.map_err(StoreError::query(CountAliases::NAME))?;
    let count = |number: i64| usize::try_from(number).unwrap_or(0);
    let counted = |(place, of_room, of_user)| {
        let key = usize::try_from(place - 1).ok().and_then(|index: usize| wanted.get(index))?;
        Some((key.clone(), AliasCounts { of_room: count(of_room), of_user: count(of_user) }))
    };
    Ok(rows.into_iter().filter_map(counted).collect())
}
