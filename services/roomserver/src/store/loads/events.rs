//! Loads events.

use std::sync::Arc;

use bytes::Bytes;
use diesel::{ExpressionMethods as _, JoinOnDsl as _, QueryDsl as _, dsl::auto_type};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use ruma::{EventId, OwnedEventId, OwnedUserId};

use super::{corrupt, names};
use crate::{
    rooms::{EventNid, NodeNid, RoomNid, StoredEvent},
    store::{
        StoreError,
        schema::{event_json, events},
    },
};

type EventRow = (
    (i64, String, i64, String, Option<String>, String, i64, i32, i32, i64, i64, Option<i64>, Vec<u8>),
    (i64, Vec<i64>, Vec<i64>, Option<i64>),
);

/// Events with their JSON, in the columns of [`EventRow`].
#[auto_type(no_type_alias)]
fn event_rows() -> _ {
    events::table.inner_join(event_json::table.on(event_json::event_nid.eq(events::event_nid))).select((
        (
            events::event_nid,
            events::event_id,
            events::room_nid,
            events::type_,
            events::state_key,
            events::sender,
            events::depth,
            events::flags,
            events::auth_generation,
            events::members_root,
            events::other_root,
            events::seq,
            event_json::json,
        ),
        (events::origin_server_ts, events::auth_nids, events::prev_nids, events::replaces_nid),
    ))
}

/// Finds events by numeric ID.
pub(crate) async fn find_events(
    mut conn: &AsyncPgConnection,
    nids: &[EventNid],
) -> Result<Vec<Arc<StoredEvent>>, StoreError> {
    if nids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<EventRow> = event_rows()
        .filter(events::event_nid.eq_any(nids.iter().map(|nid| nid.0).collect::<Vec<_>>()))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("loads.events"))?;
    rows.into_iter().map(stored_event).collect()
}

/// Finds events by event ID.
pub(crate) async fn find_events_by_id(
    mut conn: &AsyncPgConnection,
    ids: &[&EventId],
) -> Result<Vec<Arc<StoredEvent>>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = names(ids.iter().map(|id| id.as_str()));
    let rows: Vec<EventRow> = event_rows()
        .filter(events::event_id.eq_any(ids))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("loads.events_by_id"))?;
    rows.into_iter().map(stored_event).collect()
}

fn stored_event((row, links): EventRow) -> Result<Arc<StoredEvent>, StoreError> {
    let (origin_server_ts, auth_nids, prev_nids, replaces_nid) = links;
    Ok(Arc::new(StoredEvent {
        nid: EventNid(row.0),
        event_id: OwnedEventId::try_from(row.1).map_err(|error| corrupt("event ID", &error))?,
        room_nid: RoomNid(row.2),
        event_type: row.3,
        state_key: row.4,
        sender: OwnedUserId::try_from(row.5).map_err(|error| corrupt("sender", &error))?,
        depth: row.6,
        flags: row.7,
        auth_generation: row.8,
        members_root: NodeNid::from_column(row.9),
        other_root: NodeNid::from_column(row.10),
        seq: row.11,
        origin_server_ts,
        auth_nids: auth_nids.into_iter().map(EventNid).collect(),
        prev_nids: prev_nids.into_iter().map(EventNid).collect(),
        replaces_nid: replaces_nid.map(EventNid),
        json: Bytes::from(row.12),
    }))
}
