//! `db_generation`: the generation of the database.

use diesel::{QueryableByName, sql_types::Int8};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::StoreError;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Int8)]
    generation: i64,
}

/// Tells the generation.
pub(crate) async fn get(conn: &mut AsyncPgConnection) -> Result<i64, StoreError> {
    let row: Row = diesel::sql_query("SELECT generation FROM db_generation")
        .get_result(conn)
        .await
        .map_err(StoreError::query("generation.get"))?;
    Ok(row.generation)
}

/// Raises the generation and returns it. A clock that was set back does not matter: it only grows.
pub(crate) async fn raise(conn: &mut AsyncPgConnection) -> Result<i64, StoreError> {
    let row: Row = diesel::sql_query(
        "UPDATE db_generation SET generation = generation + 1, raised_ts = (extract(epoch FROM now()) * 1000)::bigint \
         RETURNING generation",
    )
    .get_result(conn)
    .await
    .map_err(StoreError::query("generation.raise"))?;
    Ok(row.generation)
}
