//! Destinations as operators see them, and their orders.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Int2, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::Destination;
use crate::store::StoreError;

/// A destination as operators are told of it.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Status {
    /// The row.
    #[diesel(embed)]
    pub(crate) destination: Destination,
    /// In how many rooms it is behind.
    #[diesel(sql_type = BigInt)]
    pub(crate) rooms: i64,
}

/// A room in which a destination is behind, and how far.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Backlog {
    /// Room.
    #[diesel(sql_type = Text)]
    pub(crate) room_id: String,
    /// The destination has everything up to this.
    #[diesel(sql_type = BigInt)]
    pub(crate) after_seq: i64,
    /// Last record of the room.
    #[diesel(sql_type = BigInt)]
    pub(crate) last_seq: i64,
}

const STATUS: &str = "SELECT d.server, d.shard, d.failures, d.first_failure_ts, d.retry_ts, d.error, d.last_success_ts, \
    (SELECT count(*) FROM destination_rooms r WHERE r.server = d.server) AS rooms FROM destinations d";

/// Lists destinations after a name, in order.
pub(crate) async fn list_status(
    conn: &mut AsyncPgConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<Status>, StoreError> {
    diesel::sql_query(format!("{STATUS} WHERE d.server > $1 ORDER BY d.server LIMIT $2"))
        .bind::<Text, _>(after)
        .bind::<BigInt, _>(limit)
        .load(conn)
        .await
        .map_err(StoreError::query("destinations.list_status"))
}

/// Finds a destination, with rooms in which it is behind.
pub(crate) async fn find_status(
    conn: &mut AsyncPgConnection,
    server: &str,
    limit: i64,
) -> Result<Option<(Status, Vec<Backlog>)>, StoreError> {
    let found: Vec<Status> = diesel::sql_query(format!("{STATUS} WHERE d.server = $1"))
        .bind::<Text, _>(server)
        .load(conn)
        .await
        .map_err(StoreError::query("destinations.find_status"))?;
    let Some(status) = found.into_iter().next() else { return Ok(None) };
    let rooms = diesel::sql_query(
        "SELECT d.room_id, d.after_seq, coalesce(r.last_seq, 0) AS last_seq FROM destination_rooms d \
         LEFT JOIN rooms r ON r.room_id = d.room_id WHERE d.server = $1 ORDER BY d.room_id LIMIT $2",
    )
    .bind::<Text, _>(server)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
    .map_err(StoreError::query("destinations.find_backlog"))?;
    Ok(Some((status, rooms)))
}

/// Notes what an operator wants of a destination; false if there is none.
pub(crate) async fn order(
    conn: &mut AsyncPgConnection,
    server: &str,
    ordered: i16,
) -> Result<bool, StoreError> {
    let changed = diesel::sql_query("UPDATE destinations SET ordered = $2 WHERE server = $1")
        .bind::<Text, _>(server)
        .bind::<Int2, _>(ordered)
        .execute(conn)
        .await
        .map_err(StoreError::query("destinations.order"))?;
    Ok(changed > 0)
}
