//! `federation_blocks`: servers, users and rooms with which this server has nothing to do.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, SmallInt, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::StoreError;

/// A block.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Block {
    /// 1: a server, 2: a user, 3: a room.
    #[diesel(sql_type = SmallInt)]
    pub(crate) kind: i16,
    /// Server name, user ID, or room ID.
    #[diesel(sql_type = Text)]
    pub(crate) name: String,
    /// Why.
    #[diesel(sql_type = Text)]
    pub(crate) reason: String,
    /// Since when.
    #[diesel(sql_type = BigInt)]
    pub(crate) created_ts: i64,
}

/// Lists blocks after one.
pub(crate) async fn list(
    conn: &mut AsyncPgConnection,
    (kind, name): (i16, &str),
    limit: i64,
) -> Result<Vec<Block>, StoreError> {
    let query = diesel::sql_query(
        "SELECT kind, name, reason, created_ts FROM federation_blocks \
         WHERE (kind, name) > ($1, $2) ORDER BY kind, name LIMIT $3",
    );
    let query = query.bind::<SmallInt, _>(kind).bind::<Text, _>(name).bind::<BigInt, _>(limit);
    query.load(conn).await.map_err(StoreError::query("federation_blocks.list"))
}

/// Blocks something; what is blocked stays so since when it was.
pub(crate) async fn put(conn: &mut AsyncPgConnection, block: &Block) -> Result<(), StoreError> {
    let query = diesel::sql_query(
        "INSERT INTO federation_blocks (kind, name, reason, created_ts) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (kind, name) DO UPDATE SET reason = excluded.reason",
    );
    let query = query.bind::<SmallInt, _>(block.kind).bind::<Text, _>(&block.name);
    let query = query.bind::<Text, _>(&block.reason).bind::<BigInt, _>(block.created_ts);
    query.execute(conn).await.map(drop).map_err(StoreError::query("federation_blocks.put"))
}

/// Lifts a block; returns whether there was one.
pub(crate) async fn delete(
    conn: &mut AsyncPgConnection,
    (kind, name): (i16, &str),
) -> Result<bool, StoreError> {
    let query = diesel::sql_query("DELETE FROM federation_blocks WHERE kind = $1 AND name = $2");
    let deleted = query.bind::<SmallInt, _>(kind).bind::<Text, _>(name).execute(conn).await;
    Ok(deleted.map_err(StoreError::query("federation_blocks.delete"))? > 0)
}
