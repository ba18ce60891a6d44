//! `RoomGraphService.ListOpenFetches`

use std::collections::{HashMap, HashSet};

use plexus_proto::{
    log::v1::{InputRoomEvent, Pdu, input_room_event::Body},
    room::v1::{ListOpenFetchesRequest, ListOpenFetchesResponse, OpenFetch},
};
use prost::Message as _;
use tonic::{Request, Response, Status};
use tracing::{instrument, warn};

use super::{LIMIT, room};
use crate::{
    app::App,
    rpc::check::{self, failed},
    store::{
        pool,
        reads::parked::{self, ParkedOnRow, ParkedRow},
    },
};

/// Most parked events of a room that are told at once: with their events.
const LIMIT_OF_ROOM: u32 = 20;

#[instrument(name = "rpc.graph.list_open_fetches", skip_all)]
pub(super) async fn answer(
    app: &App,
    request: Request<ListOpenFetchesRequest>,
) -> Result<Response<ListOpenFetchesResponse>, Status> {
    let ListOpenFetchesRequest { room_id, partition, after, limit } = request.into_inner();
    let of_room = !room_id.is_empty();
    let most = if of_room { LIMIT_OF_ROOM } else { u32::try_from(LIMIT).unwrap_or(u32::MAX) };
    let limit = i64::from(limit.clamp(1, most));
    let partition =
        i16::try_from(partition).map_err(|_| check::invalid("partition", "there is no such one"))?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let rows = if of_room {
        let view = room(app, &conn, &room_id).await?;
        parked::list_of_room(&conn, &view.room.room_nid, &after, &limit).await
    } else {
        parked::list_of_partition(&conn, &partition, &after, &limit).await
    };
    let rows = rows.map_err(|error| failed(&error))?;
    let is_last = i64::try_from(rows.len()).unwrap_or(i64::MAX) < limit;
    let next = rows.last().filter(|_| !is_last).map_or(0, |row| row.parked_nid);
    let nids: Vec<i64> = rows.iter().map(|row| row.parked_nid).collect();
    let missing = parked::list_missing(&conn, &nids).await.map_err(|error| failed(&error))?;
    let mut by_nid: HashMap<i64, Vec<ParkedOnRow>> = HashMap::new();
    for row in missing {
        by_nid.entry(row.parked_nid).or_default().push(row);
    }
    let fetches = rows.into_iter().filter_map(|row| {
        let missing = by_nid.remove(&row.parked_nid).unwrap_or_default();
        encode(row, missing, of_room)
    });
    Ok(Response::new(ListOpenFetchesResponse { fetches: fetches.collect(), next }))
}

/// A parked event, if something of what it lacks is not parked itself.
fn encode(row: ParkedRow, missing: Vec<ParkedOnRow>, with_event: bool) -> Option<OpenFetch> {
    let mut fetch = OpenFetch {
        number: row.parked_nid,
        room_id: row.room_id,
        event_id: row.event_id,
        attempt: u32::try_from(row.attempts.saturating_sub(1)).unwrap_or(0),
        not_before_ts: row.not_before_ts,
        ..OpenFetch::default()
    };
    for row in missing {
        match (row.is_parked, row.is_prev) {
            (true, _) => fetch.parked_event_ids.push(row.missing_event_id),
            (false, true) => fetch.missing_prev_event_ids.push(row.missing_event_id),
            (false, false) => fetch.missing_auth_event_ids.push(row.missing_event_id),
        }
    }
    if fetch.missing_prev_event_ids.is_empty() && fetch.missing_auth_event_ids.is_empty() {
        return None;
    }
    let pdu = pdu_of(&row.record)?;
    let mut named = HashSet::new();
    fetch.via = std::iter::once(pdu.origin).chain(pdu.via).collect();
    fetch.via.retain(|server| !server.is_empty() && named.insert(server.clone()));
    if with_event {
        fetch.json = pdu.json;
    }
    Some(fetch)
}

fn pdu_of(record: &[u8]) -> Option<Pdu> {
    match InputRoomEvent::decode(record) {
        Ok(InputRoomEvent { body: Some(Body::Pdu(pdu)), .. }) => Some(pdu),
        Ok(_) => None,
        Err(error) => {
            warn!(%error, "a parked input cannot be read");
            None
        }
    }
}
