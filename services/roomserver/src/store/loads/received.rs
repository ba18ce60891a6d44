//! Loads what the receipt of events needs: parked events, early citations, snapshots.

use std::{
    collections::{BTreeMap, HashMap},
    marker::PhantomData,
    sync::Arc,
};

use bytes::Bytes;
use diesel::{
    ExpressionMethods as _, QueryDsl as _,
    sql_types::{Array, Bool, Int8, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use ruma::{EventId, OwnedEventId};

use super::corrupt;
use crate::{
    rooms::{Arrival, EventNid, ParkedEntries, ParkedEntry, ParkedNid, RoomNid, Token},
    store::{
        StoreError,
        schema::{parked, parked_on, snapshot_chunks},
        statement::query,
    },
};

query! {
    /// Who cites events that are not there, and who redacts them: a row for each, with 0 for the former.
    FindArrivals {
        event_id: Array<Text> => Vec<&'a str>,
    } -> (Text, Int8, Bool),
    "WITH wanted AS (SELECT * FROM unnest(",
    ") AS v(event_id)) \
     SELECT b.event_id, 0::bigint, true FROM wanted w JOIN backward_refs b ON b.event_id = w.event_id \
     UNION ALL \
     SELECT r.redacts_id, r.redaction_nid, false FROM wanted w JOIN redactions r ON r.redacts_id = w.event_id \
     WHERE NOT r.applied"
}

/// Finds what is known of events before they arrive: an entry for each that was asked for.
pub(crate) async fn find_arrivals(
    mut conn: &AsyncPgConnection,
    ids: &[&EventId],
) -> Result<HashMap<OwnedEventId, Arrival>, StoreError> {
    let mut found: HashMap<OwnedEventId, Arrival> =
        ids.iter().map(|id| ((*id).to_owned(), Arrival::default())).collect();
    if ids.is_empty() {
        return Ok(found);
    }
    let names = super::names(ids.iter().map(|id| id.as_str()));
    let statement = FindArrivals { event_id: names, lifetime: PhantomData };
    let rows: Vec<(String, i64, bool)> =
        statement.load(&mut conn).await.map_err(StoreError::query(FindArrivals::NAME))?;
    for (id, redaction, referenced) in rows {
        let id = OwnedEventId::try_from(id).map_err(|error| corrupt("event ID", &error))?;
        let arrival = found.entry(id).or_default();
        if referenced {
            arrival.referenced = true;
        } else {
            arrival.redactions.push(EventNid(redaction));
        }
    }
    // The order in which they came decides, not that of the rows.
    for arrival in found.values_mut() {
        arrival.redactions.sort_unstable();
    }
    Ok(found)
}

/// Finds the parked events of a room.
pub(crate) async fn find_parked(
    mut conn: &AsyncPgConnection,
    room: RoomNid,
) -> Result<ParkedEntries, StoreError> {
    type Row = (i64, String, i64, i32, String);
    let rows: Vec<Row> = parked::table
        .filter(parked::room_nid.eq(room.0))
        .select((parked::parked_nid, parked::event_id, parked::produced_ts, parked::attempts, parked::origin))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("loads.parked"))?;
    let nids: Vec<i64> = rows.iter().map(|row| row.0).collect();
    let missing: Vec<(i64, String, bool)> = parked_on::table
        .filter(parked_on::parked_nid.eq_any(nids))
        .select((parked_on::parked_nid, parked_on::missing_event_id, parked_on::is_prev))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("loads.parked_on"))?;
    let id = |id: String| OwnedEventId::try_from(id).map_err(|error| corrupt("event ID", &error));
    let mut by_nid: HashMap<i64, BTreeMap<OwnedEventId, bool>> = HashMap::new();
    for (nid, missing, is_prev) in missing {
        by_nid.entry(nid).or_default().insert(id(missing)?, is_prev);
    }
    let mut entries = ParkedEntries::new();
    for (nid, event_id, produced_ts, attempts, origin) in rows {
        let entry = ParkedEntry {
            nid: ParkedNid(nid),
            event_id: id(event_id)?,
            missing: by_nid.remove(&nid).unwrap_or_default(),
            produced_ts,
            attempts,
            origin: origin.into(),
        };
        entries.insert(entry.nid, Arc::new(entry));
    }
    Ok(entries)
}

/// Finds the inputs of parked events.
pub(crate) async fn find_parked_records(
    mut conn: &AsyncPgConnection,
    nids: &[ParkedNid],
) -> Result<Vec<(ParkedNid, Bytes)>, StoreError> {
    if nids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(i64, Vec<u8>)> = parked::table
        .filter(parked::parked_nid.eq_any(nids.iter().map(|nid| nid.0).collect::<Vec<_>>()))
        .select((parked::parked_nid, parked::record))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("loads.parked_records"))?;
    Ok(rows.into_iter().map(|(nid, record)| (ParkedNid(nid), Bytes::from(record))).collect())
}

/// Finds the chunks of a snapshot by number, or only what they come to (-1) where that was worked out already.
pub(crate) async fn find_snapshot(
    mut conn: &AsyncPgConnection,
    (room, token): (RoomNid, Token),
) -> Result<BTreeMap<i32, Bytes>, StoreError> {
    let of_snapshot = || {
        snapshot_chunks::table
            .filter(snapshot_chunks::room_nid.eq(room.0))
            .filter(snapshot_chunks::token.eq(token.to_vec()))
            .select((snapshot_chunks::chunk, snapshot_chunks::entries))
    };
    let mut rows: Vec<(i32, Vec<u8>)> = of_snapshot()
        .filter(snapshot_chunks::chunk.lt(0))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("loads.snapshot_sum"))?;
    if rows.is_empty() {
        rows = of_snapshot().load(&mut conn).await.map_err(StoreError::query("loads.snapshot"))?;
    }
    Ok(rows.into_iter().map(|(chunk, entries)| (chunk, Bytes::from(entries))).collect())
}
