//! Loads rooms with their forward extremities.

use std::collections::HashMap;

use diesel::{ExpressionMethods as _, QueryDsl as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use ruma::{OwnedEventId, OwnedRoomId, RoomId};

use super::{corrupt, names};
use crate::{
    rooms::{EventNid, ForwardExtremity, NodeNid, RoomNid, RoomParts, Token, flags},
    store::{
        StoreError,
        schema::{events, rooms},
    },
};

/// Finds rooms with their forward extremities.
pub(crate) async fn find_rooms(
    mut conn: &AsyncPgConnection,
    ids: &[&RoomId],
) -> Result<Vec<RoomParts>, StoreError> {
    type Row = (
        (i64, String, i16, String, i64, Vec<i64>, i64, i64, i64, i64, i32, i32, bool),
        (i32, bool, bool, i64, Vec<u8>, i64),
    );
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = names(ids.iter().map(|id| id.as_str()));
    let rows: Vec<Row> = rooms::table
        .filter(rooms::room_id.eq_any(ids))
        .select((
            (
                rooms::room_nid,
                rooms::room_id,
                rooms::partition,
                rooms::version,
                rooms::create_nid,
                rooms::latest_nids,
                rooms::members_root,
                rooms::other_root,
                rooms::depth,
                rooms::last_seq,
                rooms::joined_members,
                rooms::invited_members,
                rooms::published,
            ),
            (
                rooms::parked,
                rooms::forked,
                rooms::has_gaps,
                rooms::oldest_position,
                rooms::snapshot,
                rooms::state_bytes,
            ),
        ))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("loads.rooms"))?;
    let wanted: Vec<i64> = rows.iter().flat_map(|(row, _)| row.5.iter().copied().chain([row.4])).collect();
    let known = find_extremities(conn, &wanted).await?;
    rows.into_iter()
        .map(|(row, (parked, forked, has_gaps, oldest_position, snapshot, state_bytes))| {
            let extremities = row
                .5
                .iter()
                .map(|nid| known.get(nid).cloned().ok_or_else(|| corrupt("extremity of a room", nid)))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(RoomParts {
                nid: RoomNid(row.0),
                room_id: OwnedRoomId::try_from(row.1).map_err(|error| corrupt("room ID", &error))?,
                partition: u32::try_from(row.2).map_err(|error| corrupt("partition", &error))?,
                version: row.3,
                create_nid: EventNid(row.4),
                create_id: known
                    .get(&row.4)
                    .map(|create| create.event_id.clone())
                    .ok_or_else(|| corrupt("create event of a room", &row.4))?,
                forward_extremities: extremities,
                members_root: NodeNid::from_column(row.6),
                other_root: NodeNid::from_column(row.7),
                depth: row.8,
                last_seq: row.9,
                joined_members: row.10,
                invited_members: row.11,
                published: row.12,
                parked,
                forked,
                has_gaps,
                oldest_position,
                snapshot: match snapshot.as_slice() {
                    [] => None,
                    token => {
                        Some(Token::try_from(token).map_err(|error| corrupt("snapshot of a room", &error))?)
                    }
                },
                state_bytes,
            })
        })
        .collect()
}

async fn find_extremities(
    mut conn: &AsyncPgConnection,
    nids: &[i64],
) -> Result<HashMap<i64, ForwardExtremity>, StoreError> {
    let rows: Vec<(i64, String, i64, i32)> = events::table
        .filter(events::event_nid.eq_any(nids))
        .select((events::event_nid, events::event_id, events::depth, events::flags))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("loads.latest"))?;
    rows.into_iter()
        .map(|(nid, event_id, depth, flags)| {
            let event_id = OwnedEventId::try_from(event_id).map_err(|error| corrupt("event ID", &error))?;
            let local = flags & flags::LOCAL != 0;
            Ok((nid, ForwardExtremity { nid: EventNid(nid), event_id, depth, local }))
        })
        .collect()
}
