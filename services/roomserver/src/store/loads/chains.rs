//! Loads what state resolution walks along: auth events downwards, and upwards the state events that cite them.
//!
//! A walk goes on from what it finds. So each answer holds more than was asked for, as far as a walk may get with it: a
//! user with hundreds of membership events does not cost as many round trips.

use std::{collections::HashMap, marker::PhantomData};

use diesel::sql_types::{Array, Int4, Int8};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use plexus_events::resolve::{Citing, Links};

use crate::{
    rooms::EventNid,
    store::{StoreError, statement::query},
};

/// Most state events citing another that resolution looks through.
const MAX_CITING: i64 = 10_000;
/// Most of them for an event that was not asked for: with more, it is left to be asked for.
const MAX_FURTHER: i64 = 1_000;

query! {
    /// Events and their auth chains, the nearest first.
    FindChains { event_nid: Array<Int8> => Vec<i64> } -> (Int8, Int4, Array<Int8>),
    "WITH RECURSIVE chain (nid) AS ( \
       SELECT * FROM unnest(",
    ") \
       UNION \
       SELECT a.nid FROM chain c JOIN events e ON e.event_nid = c.nid CROSS JOIN unnest(e.auth_nids) AS a (nid) \
     ), found AS (SELECT nid FROM chain LIMIT 2000) \
     SELECT e.event_nid, e.auth_generation, e.auth_nids FROM found f JOIN events e ON e.event_nid = f.nid"
}

query! {
    /// Events, the state events that cite them, those that cite these, and so on, the nearest first.
    FindAbove { event_nid: Array<Int8> => Vec<i64> } -> (Int8,),
    "WITH RECURSIVE above (nid) AS ( \
       SELECT * FROM unnest(",
    ") \
       UNION \
       SELECT c.event_nid FROM above a CROSS JOIN LATERAL ( \
         SELECT event_nid FROM events WHERE auth_nids @> ARRAY[a.nid] AND state_key IS NOT NULL LIMIT 1000) AS c \
     ) SELECT nid FROM above LIMIT 1000"
}

query! {
    /// State events that cite events as auth events, so many of each at most.
    FindCiting { event_nid: Array<Int8> => Vec<i64>, most: Array<Int8> => Vec<i64> } -> (Int8, Int8),
    "SELECT w.nid, c.event_nid FROM unnest(",
    ") AS w (nid, most) CROSS JOIN LATERAL ( \
       SELECT event_nid FROM events WHERE auth_nids @> ARRAY[w.nid] AND state_key IS NOT NULL LIMIT w.most) AS c"
}

/// Finds generations and auth events: those asked for, and more of their auth chains.
pub(crate) async fn find_chains(
    mut conn: &AsyncPgConnection,
    nids: &[EventNid],
) -> Result<Vec<(EventNid, Links<EventNid>)>, StoreError> {
    if nids.is_empty() {
        return Ok(Vec::new());
    }
    let statement = FindChains { event_nid: nids.iter().map(|nid| nid.0).collect(), lifetime: PhantomData };
    let rows: Vec<(i64, i32, Vec<i64>)> =
        statement.load(&mut conn).await.map_err(StoreError::query(FindChains::NAME))?;
    let links = |(nid, generation, auth): (i64, i32, Vec<i64>)| {
        (EventNid(nid), Links { generation, auth: auth.into_iter().map(EventNid).collect() })
    };
    Ok(rows.into_iter().map(links).collect())
}

/// Finds the state events that cite events as auth events: for those asked for, and for more of those that it finds.
pub(crate) async fn find_citing(
    mut conn: &AsyncPgConnection,
    nids: &[EventNid],
) -> Result<Vec<(EventNid, Citing<EventNid>)>, StoreError> {
    if nids.is_empty() {
        return Ok(Vec::new());
    }
    let statement = FindAbove { event_nid: nids.iter().map(|nid| nid.0).collect(), lifetime: PhantomData };
    let above: Vec<(i64,)> = statement.load(&mut conn).await.map_err(StoreError::query(FindAbove::NAME))?;
    let further = above.into_iter().map(|(nid,)| (EventNid(nid), MAX_FURTHER));
    let most: HashMap<EventNid, i64> = further.chain(nids.iter().map(|nid| (*nid, MAX_CITING))).collect();
    let statement = FindCiting {
        event_nid: most.keys().map(|nid| nid.0).collect(),
        // One more than wanted tells whether there are more.
        most: most.values().map(|most| most + 1).collect(),
        lifetime: PhantomData,
    };
    let rows: Vec<(i64, i64)> =
        statement.load(&mut conn).await.map_err(StoreError::query(FindCiting::NAME))?;
    let mut citing: HashMap<EventNid, Vec<EventNid>> = HashMap::new();
    for (cited, event) in rows {
        citing.entry(EventNid(cited)).or_default().push(EventNid(event));
    }
    let found = most.into_iter().filter_map(|(nid, most)| {
        let events = citing.remove(&nid).unwrap_or_default();
        let is_all = i64::try_from(events.len()).is_ok_and(|count| count <= most);
        match (is_all, most) {
            (true, _) => Some((nid, Citing::Known(events.into()))),
            (false, MAX_CITING) => Some((nid, Citing::Unknown)),
            (false, _) => None,
        }
    });
    Ok(found.collect())
}
