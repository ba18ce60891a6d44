//! `RoomQueryService.StreamState`
//!
//! What the state consists of is settled before the first chunk, from one snapshot: a trie never changes. The events
//! are then read chunk by chunk, so that a slow reader holds neither a transaction nor a connection.

use std::collections::VecDeque;

use diesel_async::AsyncPgConnection;
use futures::{StreamExt as _, stream, stream::BoxStream};
use plexus_proto::{
    common::v1::AsOf,
    room::v1::{RoomEvent, StreamStateRequest, StreamStateResponse},
};
use serde::Deserialize;
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    LIMIT,
    access::{View, view},
    encode,
    point::{self, State},
};
use crate::{
    app::App,
    rpc::check::{self, failed},
    store::{StoreError, pool, reads, reads::events::EventRow},
};

/// Most events of a chunk.
const CHUNK: usize = 500;
/// Bytes after which a chunk is sent: receivers take 4 MiB.
const CHUNK_BYTES: usize = 1024 * 1024;
/// More memberships than there are make no sense.
const MEMBERSHIPS: usize = 16;

#[instrument(name = "rpc.room.stream_state", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<StreamStateRequest>,
) -> Result<Response<BoxStream<'static, Result<StreamStateResponse, Status>>>, Status> {
    let StreamStateRequest { room_id, viewer, types, at, memberships, not_memberships } =
        request.into_inner();
    check::at_most("types", types.len(), LIMIT)?;
    check::at_most("memberships", memberships.len(), MEMBERSHIPS)?;
    check::at_most("not_memberships", not_memberships.len(), MEMBERSHIPS)?;
    for name in types.iter().chain(&memberships).chain(&not_memberships) {
        check::storable("types, memberships or not_memberships", name)?;
    }
    let members = MemberFilter { memberships, not_memberships };
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let mut view = view(app, &conn, &room_id, &viewer).await?;
    let state = point::resolve(app, &conn, &view, at).await?;
    let chosen =
        choose(app, &conn, &mut view, &state, &types, members).await.map_err(|error| failed(&error))?;
    let chunks = Chunks {
        app: app.clone(),
        as_of: encode::as_of(app, &view),
        view,
        chosen,
        ready: VecDeque::new(),
        begun: false,
    };
    Ok(Response::new(stream::try_unfold(chunks, Chunks::next).boxed()))
}

/// Which member events are wanted.
#[derive(Debug)]
struct MemberFilter {
    memberships: Vec<String>,
    not_memberships: Vec<String>,
}

impl MemberFilter {
    fn is_empty(&self) -> bool {
        self.memberships.is_empty() && self.not_memberships.is_empty()
    }

    fn wants(&self, row: &EventRow) -> bool {
        #[derive(Deserialize)]
        struct Event {
            content: Content,
        }
        #[derive(Deserialize)]
        struct Content {
            membership: String,
        }
        if self.is_empty() || row.event_type != "m.room.member" {
            return true;
        }
        let event = serde_json::from_slice::<Event>(&row.json);
        let membership = event.map_or_else(|_| "leave".to_owned(), |event| event.content.membership);
        (self.memberships.is_empty() || self.memberships.contains(&membership))
            && !self.not_memberships.contains(&membership)
    }
}

/// Events still to be read, and what is to be left out of them.
#[derive(Debug)]
struct Chosen {
    events: VecDeque<i64>,
    members: Option<MemberFilter>,
}

async fn choose(
    app: &App,
    conn: &AsyncPgConnection,
    view: &mut View,
    state: &State,
    types: &[String],
    filter: MemberFilter,
) -> Result<Chosen, StoreError> {
    let members = types.is_empty() || types.iter().any(|event_type| event_type == "m.room.member");
    let others = types.is_empty() || types.iter().any(|event_type| event_type != "m.room.member");
    let (mut events, left_to_do) = if members && state.current && !filter.is_empty() {
        // The memberships of now are at hand without reading the events.
        let chosen = reads::rooms::choose_members(
            conn,
            &filter.memberships,
            &filter.not_memberships,
            &view.room.room_nid,
        )
        .await?;
        let Some(chosen) = chosen.into_iter().next() else {
            return Ok(Chosen { events: VecDeque::new(), members: None });
        };
        view.room.other_root = chosen.other_root;
        view.room.head_seq = chosen.head_seq;
        let mut events = chosen.member_nids;
        if others {
            events.extend(reads::state::list(&app.nodes, conn, view.room.room_nid, chosen.other_root).await?);
        }
        (events, None)
    } else {
        (state.list(app, conn, members, others).await?, (members && !filter.is_empty()).then_some(filter))
    };
    if others && !types.is_empty() {
        let chosen = reads::state::choose_types(conn, &events, types).await?;
        events = chosen.into_iter().map(|(event,)| event).collect();
    } else {
        events.sort_unstable();
    }
    Ok(Chosen { events: events.into(), members: left_to_do })
}

struct Chunks {
    app: App,
    view: View,
    as_of: AsOf,
    chosen: Chosen,
    /// Read, but not yet sent.
    ready: VecDeque<RoomEvent>,
    begun: bool,
}

impl Chunks {
    async fn next(mut self) -> Result<Option<(StreamStateResponse, Self)>, Status> {
        while self.ready.is_empty() && !self.chosen.events.is_empty() {
            self.read().await.map_err(|error| failed(&error))?;
        }
        if self.begun && self.ready.is_empty() {
            return Ok(None);
        }
        self.begun = true;
        let mut events = Vec::with_capacity(self.ready.len());
        let mut bytes = 0;
        while bytes < CHUNK_BYTES
            && let Some(event) = self.ready.pop_front()
        {
            bytes += encode::size(&event);
            events.push(event);
        }
        Ok(Some((StreamStateResponse { events, as_of: Some(self.as_of) }, self)))
    }

    async fn read(&mut self) -> Result<(), StoreError> {
        let count = self.chosen.events.len().min(CHUNK);
        let nids = self.chosen.events.drain(..count).collect::<Vec<_>>();
        let conn = pool::get(&self.app.pool).await?;
        let mut rows = reads::events::list(&conn, &false, &nids).await?;
        drop(conn);
        rows.sort_unstable_by_key(|row| row.event_nid);
        rows.retain(|row| self.chosen.members.as_ref().is_none_or(|members| members.wants(row)));
        self.ready.extend(rows.into_iter().filter_map(|row| encode::event(row, self.view.reader())));
        Ok(())
    }
}
