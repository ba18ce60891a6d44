//! `membership_sagas`: joins and leaves that other servers decide.

use diesel::{
    OptionalExtension as _, QueryableByName,
    sql_types::{Array, BigInt, Bytea, Integer, SmallInt, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::StoreError;

/// A saga.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Saga {
    /// Room.
    #[diesel(sql_type = Text)]
    pub(crate) room_id: String,
    /// User of this server.
    #[diesel(sql_type = Text)]
    pub(crate) user_id: String,
    /// 1: the user joins, 2: the user leaves.
    #[diesel(sql_type = SmallInt)]
    pub(crate) kind: i16,
    /// Room version.
    #[diesel(sql_type = Text)]
    pub(crate) room_version: String,
    /// Servers to ask.
    #[diesel(sql_type = Array<Text>)]
    pub(crate) servers: Vec<String>,
    /// The event.
    #[diesel(sql_type = Bytea)]
    pub(crate) event: Vec<u8>,
    /// How often it was tried.
    #[diesel(sql_type = Integer)]
    pub(crate) attempts: i32,
    /// When it began.
    #[diesel(sql_type = BigInt)]
    pub(crate) created_ts: i64,
    /// What went wrong last.
    #[diesel(sql_type = Text)]
    pub(crate) error: String,
}

/// Whose saga, and who holds it for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold<'a> {
    pub(crate) room_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) holder: &'a [u8],
    pub(crate) lease_ms: i64,
}

/// Lists sagas, oldest first, without their events.
pub(crate) async fn list(conn: &mut AsyncPgConnection, limit: i64) -> Result<Vec<Saga>, StoreError> {
    let query = diesel::sql_query(
        "SELECT room_id, user_id, kind, room_version, servers, ''::bytea AS event, attempts, created_ts, error \
         FROM membership_sagas ORDER BY created_ts, room_id, user_id LIMIT $1",
    );
    let sagas = query.bind::<BigInt, _>(limit).load(conn).await;
    sagas.map_err(StoreError::query("membership_sagas.list"))
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// It is held.
    Held(Box<Saga>),
    /// There is none.
    Nothing,
    /// Somebody else holds it.
    Taken,
}

// Whoever holds it renews the lease; an attempt begins with another holder.
const CLAIM: &str = "UPDATE membership_sagas SET holder = $3, \
        attempts = attempts + CASE WHEN holder = $3 THEN 0 ELSE 1 END, \
        lease_until = now() + $4 * interval '1 millisecond' \
    WHERE room_id = $1 AND user_id = $2 AND (holder = $3 OR lease_until < now()) \
    RETURNING room_id, user_id, kind, room_version, servers, event, attempts, created_ts, error";

const PUT: &str = "INSERT INTO membership_sagas AS known \
        (room_id, user_id, holder, lease_until, due, kind, room_version, servers, event, attempts, created_ts, error) \
    VALUES ($1, $2, $3, now() + $4 * interval '1 millisecond', now(), $5, $6, $7, $8, 1, $9, '') \
    ON CONFLICT (room_id, user_id) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until, \
        due = excluded.due, kind = excluded.kind, room_version = excluded.room_version, \
        servers = excluded.servers, event = excluded.event, attempts = 1, created_ts = excluded.created_ts, \
        error = excluded.error \
    WHERE known.holder = excluded.holder OR known.lease_until < now() \
    RETURNING room_id, user_id, kind, room_version, servers, event, attempts, created_ts, error";

const EXISTS: &str = "SELECT room_id, user_id, kind, room_version, servers, event, attempts, created_ts, error \
    FROM membership_sagas WHERE room_id = $1 AND user_id = $2";

const CLAIM_DUE: &str = "UPDATE membership_sagas AS s SET holder = $1, attempts = s.attempts + 1, \
        lease_until = now() + $2 * interval '1 millisecond' \
    FROM (SELECT room_id, user_id, due FROM membership_sagas WHERE due <= now() AND lease_until < now() \
        ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED) AS d \
    WHERE s.room_id = d.room_id AND s.user_id = d.user_id \
    RETURNING s.room_id, s.user_id, s.kind, s.room_version, s.servers, s.event, s.attempts, s.created_ts, s.error";

/// Takes hold of a saga as it is.
pub(crate) async fn claim(conn: &mut AsyncPgConnection, hold: Hold<'_>) -> Result<Claimed, StoreError> {
    let claimed = diesel::sql_query(CLAIM)
        .bind::<Text, _>(hold.room_id)
        .bind::<Text, _>(hold.user_id)
        .bind::<Bytea, _>(hold.holder)
        .bind::<BigInt, _>(hold.lease_ms)
        .get_result::<Saga>(conn)
        .await
        .optional()
        .map_err(StoreError::query("membership_sagas.claim"))?;
    if let Some(saga) = claimed {
        return Ok(Claimed::Held(Box::new(saga)));
    }
    let there = diesel::sql_query(EXISTS)
        .bind::<Text, _>(hold.room_id)
        .bind::<Text, _>(hold.user_id)
        .get_result::<Saga>(conn)
        .await
        .optional()
        .map_err(StoreError::query("membership_sagas.find"))?;
    Ok(if there.is_some() { Claimed::Taken } else { Claimed::Nothing })
}

/// Takes hold of a saga and makes it another one.
pub(crate) async fn put(
    conn: &mut AsyncPgConnection,
    hold: Hold<'_>,
    saga: &Saga,
) -> Result<Claimed, StoreError> {
    let put = diesel::sql_query(PUT)
        .bind::<Text, _>(hold.room_id)
        .bind::<Text, _>(hold.user_id)
        .bind::<Bytea, _>(hold.holder)
        .bind::<BigInt, _>(hold.lease_ms)
        .bind::<SmallInt, _>(saga.kind)
        .bind::<Text, _>(&saga.room_version)
        .bind::<Array<Text>, _>(&saga.servers)
        .bind::<Bytea, _>(&saga.event)
        .bind::<BigInt, _>(saga.created_ts)
        .get_result::<Saga>(conn)
        .await
        .optional()
        .map_err(StoreError::query("membership_sagas.put"))?;
    Ok(put.map_or(Claimed::Taken, |saga| Claimed::Held(Box::new(saga))))
}

/// Deletes a saga; returns whether it is not there any more.
pub(crate) async fn delete(conn: &mut AsyncPgConnection, hold: Hold<'_>) -> Result<bool, StoreError> {
    let deleted = diesel::sql_query(
        "DELETE FROM membership_sagas WHERE room_id = $1 AND user_id = $2 AND (holder = $3 OR lease_until < now())",
    )
    .bind::<Text, _>(hold.room_id)
    .bind::<Text, _>(hold.user_id)
    .bind::<Bytea, _>(hold.holder)
    .execute(conn)
    .await
    .map_err(StoreError::query("membership_sagas.delete"))?;
    if deleted > 0 {
        return Ok(true);
    }
    Ok(matches!(claim(conn, hold).await?, Claimed::Nothing))
}

/// Lets go of a saga until a time; returns whether it was held.
pub(crate) async fn postpone(
    conn: &mut AsyncPgConnection,
    hold: Hold<'_>,
    retry_after_ms: i64,
    error: &str,
) -> Result<bool, StoreError> {
    let released = diesel::sql_query(
        "UPDATE membership_sagas SET lease_until = '-infinity', due = now() + $4 * interval '1 millisecond', \
         error = $5 WHERE room_id = $1 AND user_id = $2 AND holder = $3",
    )
    .bind::<Text, _>(hold.room_id)
    .bind::<Text, _>(hold.user_id)
    .bind::<Bytea, _>(hold.holder)
    .bind::<BigInt, _>(retry_after_ms)
    .bind::<Text, _>(error)
    .execute(conn)
    .await
    .map_err(StoreError::query("membership_sagas.postpone"))?;
    Ok(released > 0)
}

/// Takes hold of sagas that are due.
pub(crate) async fn claim_due(
    conn: &mut AsyncPgConnection,
    holder: &[u8],
    lease_ms: i64,
    limit: i64,
) -> Result<Vec<Saga>, StoreError> {
    diesel::sql_query(CLAIM_DUE)
        .bind::<Bytea, _>(holder)
        .bind::<BigInt, _>(lease_ms)
        .bind::<BigInt, _>(limit)
        .load(conn)
        .await
        .map_err(StoreError::query("membership_sagas.claim_due"))
}
