//! Deletes snapshots that are not used in time, with their members and facts.
//!
//! Nobody reads those rows, however long they stay. The chunks go last: they tell which rows there are.

use std::{marker::PhantomData, time::Duration};

use diesel::sql_types::{Array, Binary, Bool, Int2, Int8};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};

use super::{
    StoreError,
    statement::{query, statement},
};

/// Rows deleted by one transaction: whoever else wants to write does not wait for more.
pub(crate) const STEP: i64 = 2_000;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(200);

/// A snapshot that is not the one by which its room was joined.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unused {
    room_nid: i64,
    token: Vec<u8>,
    /// Whether all of its chunks are too old.
    expired: bool,
}

query! {
    /// Snapshots of partitions of which something may have to be deleted.
    ListUnused {
        before: Int8 => i64,
        partition: Array<Int2> => Vec<i16>,
    } -> (Int8, Binary, Bool),
    "WITH wanted AS (SELECT * FROM (VALUES (",
    ")) AS v(before, partitions)) \
     SELECT s.room_nid, s.token, bool_and(s.created_ts < w.before) AS expired \
     FROM snapshot_chunks s JOIN rooms r ON r.room_nid = s.room_nid CROSS JOIN wanted w \
     WHERE r.partition = ANY(w.partitions) GROUP BY s.room_nid, s.token, r.room_nid, w.before \
     HAVING bool_and(s.created_ts < w.before) OR cardinality(r.latest_nids) > 0 AND ( \
         EXISTS (SELECT FROM room_members m WHERE m.room_nid = s.room_nid AND m.snapshot = s.token \
             AND r.snapshot <> s.token) \
         OR EXISTS (SELECT FROM room_facts f WHERE f.room_nid = s.room_nid AND f.snapshot = s.token \
             AND r.snapshot <> s.token))"
}

query! {
    /// Locks a room if it is only being joined: no chunk of it is committed meanwhile.
    LockIncipient {
        room_nid: Int8 => i64,
    } -> (Int8,),
    "SELECT room_nid FROM rooms WHERE room_nid = ", " AND cardinality(latest_nids) = 0 FOR UPDATE"
}

statement! {
    /// Deletes members that a snapshot told and that do not count.
    DeleteMembers {
        room_nid: Int8 => i64,
        token: Binary => &'a [u8],
        before: Int8 => i64,
        most: Int8 => i64,
    }
    "WITH wanted AS (SELECT * FROM (VALUES (",
    ")) AS v(room_nid, token, before, most)), \
     doomed AS MATERIALIZED ( \
         SELECT m.ctid, m.room_nid, m.snapshot, m.user_id, m.membership \
         FROM wanted w JOIN rooms r ON r.room_nid = w.room_nid AND r.snapshot <> w.token \
         JOIN room_members m ON m.room_nid = w.room_nid AND m.snapshot = w.token \
         WHERE cardinality(r.latest_nids) > 0 OR NOT EXISTS (SELECT FROM snapshot_chunks c \
             WHERE c.room_nid = w.room_nid AND c.token = w.token AND c.created_ts >= w.before) \
         LIMIT (SELECT most FROM wanted)), \
     counted AS (SELECT room_nid, snapshot, substr(user_id, strpos(user_id, ':') + 1) AS server, count(*) AS joined \
         FROM doomed WHERE membership = 'join' GROUP BY room_nid, snapshot, server), \
     fewer AS (UPDATE room_servers s SET joined = s.joined - c.joined FROM counted c \
         WHERE s.room_nid = c.room_nid AND s.snapshot = c.snapshot AND s.server = c.server) \
     DELETE FROM room_members WHERE ctid = ANY(ARRAY(SELECT ctid FROM doomed))"
}

statement! {
    /// Deletes servers that a snapshot told and whose members are gone.
    DeleteServers {
        room_nid: Int8 => i64,
        token: Binary => &'a [u8],
        most: Int8 => i64,
    }
    "WITH wanted AS (SELECT * FROM (VALUES (",
    ")) AS v(room_nid, token, most)) \
     DELETE FROM room_servers WHERE ctid = ANY(ARRAY( \
         SELECT s.ctid FROM wanted w JOIN rooms r ON r.room_nid = w.room_nid AND r.snapshot <> w.token \
         JOIN room_servers s ON s.room_nid = w.room_nid AND s.snapshot = w.token \
         WHERE s.joined <= 0 LIMIT (SELECT most FROM wanted)))"
}

statement! {
    /// Deletes facts that a snapshot told and that do not count.
    DeleteFacts {
        room_nid: Int8 => i64,
        token: Binary => &'a [u8],
        before: Int8 => i64,
        most: Int8 => i64,
    }
    "WITH wanted AS (SELECT * FROM (VALUES (",
    ")) AS v(room_nid, token, before, most)) \
     DELETE FROM room_facts WHERE ctid = ANY(ARRAY( \
         SELECT f.ctid FROM wanted w JOIN rooms r ON r.room_nid = w.room_nid AND r.snapshot <> w.token \
         JOIN room_facts f ON f.room_nid = w.room_nid AND f.snapshot = w.token \
         WHERE cardinality(r.latest_nids) > 0 OR NOT EXISTS (SELECT FROM snapshot_chunks c \
             WHERE c.room_nid = w.room_nid AND c.token = w.token AND c.created_ts >= w.before) \
         LIMIT (SELECT most FROM wanted)))"
}

statement! {
    /// Deletes chunks of a snapshot that are too old, unless one of it is not.
    DeleteChunks {
        room_nid: Int8 => i64,
        token: Binary => &'a [u8],
        before: Int8 => i64,
        most: Int8 => i64,
    }
    "WITH wanted AS (SELECT * FROM (VALUES (",
    ")) AS v(room_nid, token, before, most)) \
     DELETE FROM snapshot_chunks WHERE ctid = ANY(ARRAY( \
         SELECT s.ctid FROM wanted w JOIN snapshot_chunks s ON s.room_nid = w.room_nid AND s.token = w.token \
         WHERE NOT EXISTS (SELECT FROM snapshot_chunks c \
             WHERE c.room_nid = w.room_nid AND c.token = w.token AND c.created_ts >= w.before) \
         LIMIT (SELECT most FROM wanted)))"
}

/// Snapshots of partitions of which something has to be deleted: those whose chunks were all produced before a time, and
/// those of rooms that were joined by another one.
async fn list_unused(
    mut conn: &AsyncPgConnection,
    partitions: &[i16],
    before: i64,
) -> Result<Vec<Unused>, StoreError> {
    let statement = ListUnused { before, partition: partitions.to_vec(), lifetime: PhantomData };
    let rows: Vec<(i64, Vec<u8>, bool)> =
        statement.load(&mut conn).await.map_err(StoreError::query(ListUnused::NAME))?;
    Ok(rows.into_iter().map(|(room_nid, token, expired)| Unused { room_nid, token, expired }).collect())
}

/// Deletes what has to be deleted, a few rows at a time: `most` of them. Gives up between two steps when `stop` says so;
/// what is left then is found again.
pub(crate) async fn expire(
    conn: &mut AsyncPgConnection,
    partitions: &[i16],
    before: i64,
    most: i64,
    stop: impl Fn() -> bool + Send,
) -> Result<(), StoreError> {
    for unused in list_unused(conn, partitions, before).await? {
        while !delete_some(conn, &unused, before, most).await? {
            if stop() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Deletes some rows of a snapshot, in a transaction of its own; returns whether that was all.
async fn delete_some(
    conn: &mut AsyncPgConnection,
    unused: &Unused,
    before: i64,
    most: i64,
) -> Result<bool, StoreError> {
    let (room_nid, token) = (unused.room_nid, unused.token.as_slice());
    let deleted = conn.transaction(async |conn| {
        let lock = LockIncipient { room_nid, lifetime: PhantomData };
        let _incipient: Vec<(i64,)> = lock.load(conn).await.map_err(named(LockIncipient::NAME))?;
        let members = DeleteMembers { room_nid, token, before, most, lifetime: PhantomData };
        let mut left = most - count(members.execute(conn).await.map_err(named(DeleteMembers::NAME))?);
        if left > 0 {
            let facts = DeleteFacts { room_nid, token, before, most: left, lifetime: PhantomData };
            left -= count(facts.execute(conn).await.map_err(named(DeleteFacts::NAME))?);
        }
        if left > 0 {
            let servers = DeleteServers { room_nid, token, most: left, lifetime: PhantomData };
            left -= count(servers.execute(conn).await.map_err(named(DeleteServers::NAME))?);
        }
        // Only when nothing is left of what they told.
        if left > 0 && unused.expired {
            let chunks = DeleteChunks { room_nid, token, before, most: left, lifetime: PhantomData };
            left -= count(chunks.execute(conn).await.map_err(named(DeleteChunks::NAME))?);
        }
        Ok::<_, Failed>(left > 0)
    });
    deleted.await.map_err(|Failed(failure)| failure)
}

/// Why a transaction was broken off.
struct Failed(StoreError);

impl From<diesel::result::Error> for Failed {
    fn from(source: diesel::result::Error) -> Self {
        Self(StoreError::query("snapshots.delete_some")(source))
    }
}

fn named(query: &'static str) -> impl Fn(diesel::result::Error) -> Failed {
    move |source| Failed(StoreError::query(query)(source))
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
