//! `RoomHistoryService.GetAggregations` and `GetAggregationsInRooms`
//!
//! However many events of a room are asked for, the number of statements is the same: what relates to them, the events
//! of it, and both once more for the latest events of threads.

use std::{borrow::Cow, collections::HashMap};

use diesel_async::AsyncPgConnection;
use futures::{StreamExt as _, TryStreamExt as _};
use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        Aggregations, EventsOfRoom, GetAggregationsInRoomsRequest, GetAggregationsInRoomsResponse,
        GetAggregationsRequest, GetAggregationsResponse, RoomEvent, Thread,
    },
};
use plexus_service::refusal::reason_of;
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    LIMIT,
    access::{Facts, View, view},
    encode, erasure,
};
use crate::{
    app::App,
    rpc::check::{self, failed, position, unsigned},
    store::{
        StoreError, pool, reads,
        reads::relations::{self, RelatedRow, ThreadRow},
    },
};

/// Most events that are told to refer to one.
const REFERENCES: i64 = 100;
/// Most users that somebody ignores.
const IGNORED: usize = 10_000;
/// Bytes of events after which further ones are left out: clients find them by themselves.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Most events of all rooms of a request.
const EVENTS: usize = 10_000;
/// Rooms that are read at the same time, over one connection.
const ROOMS_AT_ONCE: usize = 8;

#[instrument(name = "rpc.room.get_aggregations", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(in crate::rpc) async fn answer(
    app: &App,
    request: Request<GetAggregationsRequest>,
) -> Result<Response<GetAggregationsResponse>, Status> {
    let GetAggregationsRequest { room_id, viewer, event_ids, ignored_users } = request.into_inner();
    let of_room = EventsOfRoom { room_id, event_ids, up_to: None };
    check_all(std::slice::from_ref(&of_room), &ignored_users)?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let aggregations = match read(app, &conn, &viewer, &ignored_users, of_room).await {
        Ok((aggregations, _)) => aggregations,
        // An event may be for somebody who may see nothing of the room any more: what was world-readable stays so.
        Err(refused) if is_hidden(&refused) => Vec::new(),
        Err(refused) => return Err(refused),
    };
    Ok(Response::new(GetAggregationsResponse { aggregations }))
}

#[instrument(name = "rpc.room.get_aggregations_in_rooms", skip_all, fields(rooms = request.rooms.len()))]
pub(in crate::rpc) async fn answer_rooms(
    app: &App,
    request: GetAggregationsInRoomsRequest,
) -> Result<Response<GetAggregationsInRoomsResponse>, Status> {
    let GetAggregationsInRoomsRequest { viewer, rooms, ignored_users } = request;
    check::at_most("rooms", rooms.len(), LIMIT)?;
    check::at_most("event_ids", rooms.iter().map(|room| room.event_ids.len()).sum(), EVENTS)?;
    check_all(&rooms, &ignored_users)?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let (conn, viewer, ignored) = (&conn, &viewer, &ignored_users);
    let mut reads = futures::stream::iter(rooms)
        .map(|of_room| async move {
            match read(app, conn, viewer, ignored, of_room).await {
                Err(refused) if is_hidden(&refused) => Ok((Vec::new(), 0)),
                read => read,
            }
        })
        .buffered(ROOMS_AT_ONCE);
    let (mut aggregations, mut bytes) = (Vec::new(), 0);
    while bytes < ANSWER_BYTES
        && let Some((found, size)) = reads.try_next().await?
    {
        aggregations.extend(found);
        bytes += size;
    }
    Ok(Response::new(GetAggregationsInRoomsResponse { aggregations }))
}

fn check_all(rooms: &[EventsOfRoom], ignored: &[String]) -> Result<(), Status> {
    for room in rooms {
        check::at_most("event_ids", room.event_ids.len(), LIMIT)?;
        for event_id in &room.event_ids {
            check::event_id("event_ids", event_id)?;
        }
    }
    check::at_most("ignored_users", ignored.len(), IGNORED)?;
    ignored.iter().try_for_each(|user_id| check::storable("ignored_users", user_id))
}

/// Whether the viewer may see nothing of a room.
fn is_hidden(refused: &Status) -> bool {
    matches!(reason_of(refused), Some(ErrorReason::Forbidden | ErrorReason::RoomUnknown))
}

/// Reads the aggregations of events of a room, and how large the events in them are.
async fn read(
    app: &App,
    conn: &AsyncPgConnection,
    viewer: &str,
    ignored: &[String],
    of_room: EventsOfRoom,
) -> Result<(Vec<Aggregations>, usize), Status> {
    let EventsOfRoom { room_id, event_ids, up_to } = of_room;
    let view = view(app, conn, &room_id, viewer).await?;
    let up_to = up_to.map_or(i64::MAX, position).min(view.end().unwrap_or(i64::MAX));
    let silent = silent(conn, &view, &event_ids, ignored).await.map_err(|error| failed(&error))?;
    let reader = Reader { conn, view: &view, viewer, ignored: &silent, up_to };
    reader.read(&event_ids).await.map_err(|error| failed(&error))
}

/// Users whose events do not count: those whom the viewer ignores, and those who asked to be erased before the viewer first
/// came into the room. Of the latter's events, which are served redacted, the viewer learns no relations.
async fn silent<'i>(
    conn: &AsyncPgConnection,
    view: &View,
    event_ids: &[String],
    ignored: &'i [String],
) -> Result<Cow<'i, [String]>, StoreError> {
    let Some(reader) = view.reader() else { return Ok(Cow::Borrowed(ignored)) };
    let erased = relations::list_erased(conn, &view.room.room_nid, event_ids).await?;
    let mut unheard =
        erased.into_iter().filter(|(_, erased_ts)| !reader.history.joined_before(*erased_ts)).peekable();
    if unheard.peek().is_none() {
        return Ok(Cow::Borrowed(ignored));
    }
    Ok(unheard.map(|(user_id, _)| user_id).chain(ignored.iter().cloned()).collect())
}

/// What relations have made of events, as rows.
struct Found {
    /// By event: its replacement.
    replacements: HashMap<String, i64>,
    /// By event: those that refer to it.
    references: HashMap<String, Vec<String>>,
}

struct Reader<'a> {
    conn: &'a AsyncPgConnection,
    view: &'a View,
    viewer: &'a str,
    ignored: &'a [String],
    /// Only events up to this `seq` count.
    up_to: i64,
}

impl Reader<'_> {
    async fn read(&self, event_ids: &[String]) -> Result<(Vec<Aggregations>, usize), StoreError> {
        let (found, threads) = futures::try_join!(self.find(event_ids), self.threads(event_ids))?;
        let latest = threads.iter().filter_map(|thread| thread.latest_nid);
        let mut events = Events::read(self, found.replacements.values().copied().chain(latest)).await?;
        let latest_ids =
            threads.iter().filter_map(|thread| events.id(thread.latest_nid?)).collect::<Vec<_>>();
        let nested = if latest_ids.is_empty() {
            Found { replacements: HashMap::new(), references: HashMap::new() }
        } else {
            self.find(&latest_ids).await?
        };
        events.add(self, nested.replacements.values().copied()).await?;

        let mut threads =
            threads.into_iter().map(|thread| (thread.root_id.clone(), thread)).collect::<HashMap<_, _>>();
        let mut all = Vec::new();
        for event_id in event_ids {
            let mut one = found.aggregations(event_id, &events);
            one.thread =
                threads.remove(event_id).and_then(|row| thread(&row, &nested, &events)).map(Box::new);
            if !is_empty(&one) {
                all.push(one);
            }
        }
        Ok((all, events.bytes))
    }

    async fn find(&self, event_ids: &[String]) -> Result<Found, StoreError> {
        let (room, up_to) = (&self.view.room.room_nid, self.up_to);
        let (replacements, references) = futures::try_join!(
            relations::list_replacements(self.conn, room, event_ids, self.ignored, &up_to),
            relations::list_references(self.conn, room, event_ids, self.ignored, &up_to, &REFERENCES),
        )?;
        let mut found = Found { replacements: HashMap::new(), references: HashMap::new() };
        for row in replacements.into_iter().filter(|row| self.view.may_see(&facts(row))) {
            found.replacements.insert(row.relates_to_id, row.event_nid);
        }
        for row in references.into_iter().filter(|row| self.view.may_see(&facts(row))) {
            found.references.entry(row.relates_to_id).or_default().push(row.event_id);
        }
        Ok(found)
    }

    async fn threads(&self, event_ids: &[String]) -> Result<Vec<ThreadRow>, StoreError> {
        let (room, up_to) = (&self.view.room.room_nid, self.up_to);
        relations::list_threads(self.conn, room, event_ids, self.viewer, self.ignored, &up_to).await
    }
}

impl Found {
    fn aggregations(&self, event_id: &str, events: &Events) -> Aggregations {
        Aggregations {
            event_id: event_id.to_owned(),
            replacement: self.replacements.get(event_id).and_then(|nid| events.take(*nid)),
            references: self.references.get(event_id).cloned().unwrap_or_default(),
            thread: None,
        }
    }
}

/// Without its latest event, nothing is told of a thread: the viewer may not see it.
fn thread(row: &ThreadRow, nested: &Found, events: &Events) -> Option<Thread> {
    let latest = events.take(row.latest_nid?)?;
    let aggregations = nested.aggregations(&latest.event_id, events);
    Some(Thread {
        latest: Some(latest),
        latest_aggregations: (!is_empty(&aggregations)).then(|| Box::new(aggregations)),
        count: unsigned(row.replies),
        participated: row.participated,
    })
}

/// Events read, as far as the viewer may see them and they fit the answer.
struct Events {
    by_nid: HashMap<i64, RoomEvent>,
    bytes: usize,
}

impl Events {
    async fn read(reader: &Reader<'_>, nids: impl Iterator<Item = i64>) -> Result<Self, StoreError> {
        let mut events = Self { by_nid: HashMap::new(), bytes: 0 };
        events.add(reader, nids).await?;
        Ok(events)
    }

    async fn add(&mut self, reader: &Reader<'_>, nids: impl Iterator<Item = i64>) -> Result<(), StoreError> {
        let nids = nids.filter(|nid| !self.by_nid.contains_key(nid)).collect::<Vec<_>>();
        if nids.is_empty() {
            return Ok(());
        }
        for row in reads::events::list(reader.conn, &false, &nids).await? {
            let facts = Facts {
                seq: row.seq,
                event_type: &row.event_type,
                state_key: row.state_key.as_deref(),
                flags: row.flags,
                visibility: row.visibility,
            };
            // What is served redacted relates to nothing.
            let counts = reader.view.may_see(&facts) && !erasure::gets_copy(&row, reader.view.reader());
            if self.bytes >= ANSWER_BYTES || !counts {
                continue;
            }
            let nid = row.event_nid;
            let Some(event) = encode::event(row, reader.view.reader()) else { continue };
            self.bytes += encode::size(&event);
            self.by_nid.insert(nid, event);
        }
        Ok(())
    }

    fn id(&self, nid: i64) -> Option<String> {
        self.by_nid.get(&nid).map(|event| event.event_id.clone())
    }

    /// An event may be told more than once: the latest of a thread, say, which also replaces another.
    fn take(&self, nid: i64) -> Option<RoomEvent> {
        self.by_nid.get(&nid).cloned()
    }
}

fn is_empty(aggregations: &Aggregations) -> bool {
    let Aggregations { event_id: _, replacement, references, thread } = aggregations;
    replacement.is_none() && references.is_empty() && thread.is_none()
}

fn facts(row: &RelatedRow) -> Facts<'_> {
    Facts {
        seq: row.seq,
        event_type: &row.event_type,
        state_key: row.state_key.as_deref(),
        flags: row.flags,
        visibility: row.visibility,
    }
}
