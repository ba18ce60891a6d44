//! What the worker reads before it can apply a batch. Functions take a shared connection, so that the caller can have
//! several queries under way at once.

use std::{collections::HashMap, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use diesel::{
    ExpressionMethods as _, JoinOnDsl as _, QueryDsl as _,
    sql_types::{Array, Binary, Int8, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use plexus_proto::input::v1::Verdict;
use prost::Message as _;
use ruma::{EventId, OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId, UserId};

use super::{
    StoreError, nodes,
    schema::{aliases, event_json, events, rooms, state_node},
    statement::query,
};
use crate::rooms::{
    AliasCounts, AliasTarget, EventNid, JOINED_LOCAL_LIMIT, Latest, Node, NodeNid, ReceiptKey, RoomNid,
    RoomParts, StoredEvent, Token, flags,
};

mod annotations;
mod chains;
mod profiles;
mod received;
mod servers;

pub(crate) use annotations::find_annotations;
pub(crate) use chains::{find_chains, find_citing};
pub(crate) use profiles::find_profiles;
pub(crate) use received::{find_arrivals, find_parked, find_parked_records, find_snapshot};
pub(crate) use servers::find_servers;

/// Key of a verdict: the ID of an input, or what stands for a client's transaction.
pub(crate) type Key = [u8; 16];

query! {
    /// Verdicts by their keys.
    FindVerdicts { key: Array<Binary> => Vec<&'a [u8]> } -> (Binary, Binary),
    "SELECT key, verdict FROM verdicts WHERE key = ANY(", ")"
}

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

query! {
    /// Receipts by whose they are, of which type and thread.
    FindReceipts {
        room_nid: Array<Int8> => Vec<i64>,
        user_id: Array<Text> => Vec<&'a str>,
        receipt_type: Array<Text> => Vec<&'a str>,
        thread_id: Array<Text> => Vec<&'a str>,
    } -> (Int8, Int8),
    "SELECT v.place, r.event_seq FROM unnest(",
    ") WITH ORDINALITY AS v(room_nid, user_id, receipt_type, thread_id, place) JOIN receipts AS r \
     ON r.room_nid = v.room_nid AND r.user_id = v.user_id AND r.receipt_type = v.receipt_type \
     AND r.thread_id = v.thread_id"
}

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

/// Finds what became of inputs.
pub(crate) async fn find_verdicts(
    mut conn: &AsyncPgConnection,
    keys: &[Key],
) -> Result<HashMap<Key, Verdict>, StoreError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let statement =
        FindVerdicts { key: keys.iter().map(|key| key.as_slice()).collect(), lifetime: PhantomData };
    let rows: Vec<(Vec<u8>, Vec<u8>)> =
        statement.load(&mut conn).await.map_err(StoreError::query(FindVerdicts::NAME))?;
    rows.into_iter()
        .map(|(key, body)| {
            let key = Key::try_from(key.as_slice()).map_err(|_| corrupt("key of a verdict", &"length"))?;
            let verdict = Verdict::decode(body.as_slice()).map_err(|error| corrupt("verdict", &error))?;
            Ok((key, verdict))
        })
        .collect()
}

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
    let latest = find_latest(conn, &wanted).await?;
    rows.into_iter()
        .map(|(row, (parked, forked, has_gaps, oldest_position, snapshot, state_bytes))| {
            let extremities = row
                .5
                .iter()
                .map(|nid| latest.get(nid).cloned().ok_or_else(|| corrupt("extremity of a room", nid)))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(RoomParts {
                nid: RoomNid(row.0),
                room_id: OwnedRoomId::try_from(row.1).map_err(|error| corrupt("room ID", &error))?,
                partition: u32::try_from(row.2).map_err(|error| corrupt("partition", &error))?,
                version: row.3,
                create_nid: EventNid(row.4),
                create_id: latest
                    .get(&row.4)
                    .map(|create| create.event_id.clone())
                    .ok_or_else(|| corrupt("create event of a room", &row.4))?,
                latest: extremities,
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

async fn find_latest(mut conn: &AsyncPgConnection, nids: &[i64]) -> Result<HashMap<i64, Latest>, StoreError> {
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
            Ok((nid, Latest { nid: EventNid(nid), event_id, depth, local }))
        })
        .collect()
}

/// Finds nodes of a room's state tries.
pub(crate) async fn find_nodes(
    conn: &AsyncPgConnection,
    room: RoomNid,
    nids: &[NodeNid],
) -> Result<Vec<(NodeNid, Arc<Node>)>, StoreError> {
    if nids.is_empty() {
        return Ok(Vec::new());
    }
    let mut bodies = find_bodies(conn, room, nids.iter().map(|nid| nid.0).collect()).await?;
    let lacking = nodes::lacking(&bodies);
    if !lacking.is_empty() {
        bodies.extend(find_bodies(conn, room, lacking).await?);
    }
    let mut found = Vec::with_capacity(nids.len());
    for nid in nids {
        if let Some(node) = nodes::decode(*nid, &bodies)? {
            found.push((*nid, Arc::new(node)));
        }
    }
    Ok(found)
}

async fn find_bodies(
    mut conn: &AsyncPgConnection,
    room: RoomNid,
    nids: Vec<i64>,
) -> Result<nodes::Bodies, StoreError> {
    let rows: Vec<(i64, Vec<u8>)> = state_node::table
        .filter(state_node::room_nid.eq(room.0))
        .filter(state_node::node_nid.eq_any(nids))
        .select((state_node::node_nid, state_node::body))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("loads.nodes"))?;
    Ok(rows.into_iter().map(|(nid, body)| (nid, Bytes::from(body))).collect())
}

type EventRow = (
    (i64, String, i64, String, Option<String>, String, i64, i32, i32, i64, i64, Option<i64>, Vec<u8>),
    (i64, Vec<i64>, Vec<i64>, Option<i64>),
);

/// Finds events by numeric ID.
pub(crate) async fn find_events(
    mut conn: &AsyncPgConnection,
    nids: &[EventNid],
) -> Result<Vec<Arc<StoredEvent>>, StoreError> {
    if nids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<EventRow> = events::table
        .inner_join(event_json::table.on(event_json::event_nid.eq(events::event_nid)))
        .filter(events::event_nid.eq_any(nids.iter().map(|nid| nid.0).collect::<Vec<_>>()))
        .select((
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
    let rows: Vec<EventRow> = events::table
        .inner_join(event_json::table.on(event_json::event_nid.eq(events::event_nid)))
        .filter(events::event_id.eq_any(ids))
        .select((
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

/// Finds the `seq` of the events that receipts point at, in the order asked.
pub(crate) async fn find_receipts(
    mut conn: &AsyncPgConnection,
    keys: &[&ReceiptKey],
) -> Result<Vec<Option<i64>>, StoreError> {
    let mut found = vec![None; keys.len()];
    if keys.is_empty() {
        return Ok(found);
    }
    let statement = FindReceipts {
        room_nid: keys.iter().map(|key| key.room.0).collect(),
        user_id: keys.iter().map(|key| key.user.as_str()).collect(),
        receipt_type: keys.iter().map(|key| key.kind).collect(),
        thread_id: keys.iter().map(|key| key.thread.as_str()).collect(),
        lifetime: PhantomData,
    };
    let rows: Vec<(i64, i64)> =
        statement.load(&mut conn).await.map_err(StoreError::query(FindReceipts::NAME))?;
    for (place, event_seq) in rows {
        let index = usize::try_from(place - 1).map_err(|error| corrupt("place of a receipt", &error))?;
        if let Some(slot) = found.get_mut(index) {
            *slot = Some(event_seq);
        }
    }
    Ok(found)
}

/// Names by which something is looked up. What has a U+0000 is not there: Postgres holds none, and would refuse the query
/// for all.
fn names<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    names.filter(|name| !name.contains('\0')).collect()
}

fn corrupt(what: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what: format!("{what} ({error})") }
}
