//! `DestinationService.ListOutgoing`

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::{ListOutgoingRequest, ListOutgoingResponse, OutgoingEvent};
use tonic::{Request, Response, Status};
use tracing::instrument;

use crate::{
    app::App,
    rooms::flags,
    rpc::{
        check::{failed, invalid, name, position, unsigned},
        rooms::view,
    },
    store::{StoreError, pool, reads, reads::outgoing::CandidateRow},
};

/// Most events of an answer.
const MAX_EVENTS: u32 = 50;
/// Events of the timeline that are looked at for one answer.
const SCANNED: i64 = 2_000;
/// Most users of a server who are looked at.
const MAX_USERS: i64 = 1_000;

#[instrument(name = "rpc.destination.list_outgoing", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<ListOutgoingRequest>,
) -> Result<Response<ListOutgoingResponse>, Status> {
    let request = request.into_inner();
    name("server", &request.server)?;
    if !(1..=MAX_EVENTS).contains(&request.limit) {
        return Err(invalid("limit", format!("it is not 1 to {MAX_EVENTS}")));
    }
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    // Read first: what is committed up to here is among what is read after it.
    let room = view(app, &conn, &request.room_id, "").await?.room;
    let page = page(app, &conn, room.room_nid, room.last_seq, &request).await;
    Ok(Response::new(page.map_err(|error| failed(&error))?))
}

async fn page(
    app: &App,
    conn: &AsyncPgConnection,
    room_nid: i64,
    last_seq: i64,
    request: &ListOutgoingRequest,
) -> Result<ListOutgoingResponse, StoreError> {
    let mut after = position(request.after_seq);
    if request.trim {
        let limit = i64::from(request.max_backlog.max(1));
        let start =
            reads::outgoing::find_backlog_start(conn, &room_nid, &after, &request.min_ts, &limit).await?;
        if let Some((Some(start),)) = start.into_iter().next() {
            after = after.max(start - 1);
        }
    }
    let scanned = reads::outgoing::list_candidates(conn, &room_nid, &after, &SCANNED).await?;
    let is_whole = i64::try_from(scanned.len()).unwrap_or(i64::MAX) < SCANNED;
    let end = scanned.last().map_or(after, |row| row.seq);
    let mut reached = if is_whole { end.max(last_seq) } else { end };
    let mut more = !is_whole;

    let relayed = scanned.into_iter().filter(|row| row.flags & flags::RELAY != 0);
    let relayed: Vec<CandidateRow> = relayed.filter(|row| server_of(&row.sender) != request.server).collect();
    let mut chosen = Vec::new();
    // A server that was not there at most of the events is not worth many questions at once.
    for rows in relayed.chunks(100) {
        let present = presence(app, conn, room_nid, &request.server, rows).await?;
        chosen.extend(
            rows.iter().filter(|row| present.contains(&row.seq) || ends_membership(row, &request.server)),
        );
        let limit = usize::try_from(request.limit).unwrap_or(1);
        if chosen.len() >= limit {
            more |=
                chosen.len() > limit || rows.last().map(|row| row.seq) != relayed.last().map(|row| row.seq);
            chosen.truncate(limit);
            if more {
                reached = chosen.last().map_or(reached, |row| row.seq);
            }
            break;
        }
    }
    let nids: Vec<i64> = chosen.iter().map(|row| row.event_nid).collect();
    let mut found: HashMap<i64, reads::graph::JsonRow> = HashMap::new();
    if !nids.is_empty() {
        found.extend(reads::graph::list_json(conn, &nids).await?.into_iter().map(|row| (row.event_nid, row)));
    }
    let event = |row: &&CandidateRow| {
        let found = found.remove(&row.event_nid)?;
        Some(OutgoingEvent { event_id: found.event_id, seq: unsigned(row.seq), json: found.json.into() })
    };
    let events = chosen.iter().filter_map(event).collect();
    Ok(ListOutgoingResponse { events, reached_seq: unsigned(reached), more })
}

/// The events before which users of the server were joined, by `seq`.
async fn presence(
    app: &App,
    conn: &AsyncPgConnection,
    room_nid: i64,
    server: &str,
    rows: &[CandidateRow],
) -> Result<HashSet<i64>, StoreError> {
    let users = reads::graph::list_users_of_server(conn, server, &room_nid, &MAX_USERS).await?;
    if users.is_empty() || rows.is_empty() {
        return Ok(HashSet::new());
    }
    let keys: Vec<(&str, &str)> = users.iter().map(|(user,)| ("m.room.member", user.as_str())).collect();
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    let roots = reads::outgoing::list_roots_before(conn, &room_nid, &seqs).await?;
    let mut held: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for root in roots.iter().filter_map(|(_, root)| *root) {
        if let std::collections::btree_map::Entry::Vacant(entry) = held.entry(root) {
            let found = reads::state::find(&app.nodes, conn, room_nid, root, &keys).await?;
            entry.insert(found.into_iter().flatten().collect());
        }
    }
    let mut nids: Vec<i64> = held.values().flatten().copied().collect();
    nids.sort_unstable();
    nids.dedup();
    let joins: HashSet<i64> = reads::graph::list_memberships(conn, &nids)
        .await?
        .into_iter()
        .filter(|(_, membership)| membership.as_deref() == Some("join"))
        .map(|(nid, _)| nid)
        .collect();
    let is_joined = |root: &Option<i64>| {
        root.and_then(|root| held.get(&root)).is_some_and(|nids| nids.iter().any(|nid| joins.contains(nid)))
    };
    Ok(roots.iter().filter(|(_, root)| is_joined(root)).map(|(seq, _)| *seq).collect())
}

/// Whether an event ends a membership of a user of the server that is not joined, such as an invite: nothing else tells the
/// server of it.
fn ends_membership(row: &CandidateRow, server: &str) -> bool {
    row.event_type == "m.room.member"
        && row.replaces_nid.is_some()
        && matches!(row.value.as_deref(), Some("leave" | "ban"))
        && row.state_key.as_deref().is_some_and(|user| server_of(user) == server)
}

fn server_of(user: &str) -> &str {
    user.split_once(':').map_or("", |(_, server)| server)
}
