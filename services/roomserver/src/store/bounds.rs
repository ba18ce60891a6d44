//! Deletes the oldest rows of tables that are only kept for operators and that users can fill.

use diesel::sql_types::Int8;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::StoreError;

/// How much of a table is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Rows in all.
    pub(crate) rows: i64,
    /// Rows of one room or user.
    pub(crate) of_one: i64,
    /// Bytes of payload in all.
    pub(crate) bytes: i64,
}

/// Of `dead_letters`.
pub(crate) const DEAD_LETTERS: Bounds = Bounds { rows: 10_000, of_one: 100, bytes: 256 * 1024 * 1024 };
/// Of `state_resets`, which have no payload.
pub(crate) const STATE_RESETS: Bounds = Bounds { rows: 10_000, of_one: 100, bytes: 0 };

// Of what one room or user has made, the oldest goes first; so many from one push out their own.
const TRIM_DEAD_LETTERS: &str = "DELETE FROM dead_letters WHERE id IN ( \
    SELECT id FROM ( \
      SELECT id, of_one, row_number() OVER newest AS place, sum(bytes) OVER newest AS bytes FROM ( \
        SELECT id, octet_length(payload) AS bytes, row_number() OVER (PARTITION BY key ORDER BY id DESC) AS of_one \
        FROM dead_letters \
      ) d WINDOW newest AS (ORDER BY of_one > $2, id DESC) \
    ) d WHERE of_one > $2 OR place > $1 OR bytes > $3)";

const TRIM_STATE_RESETS: &str = "DELETE FROM state_resets WHERE id IN ( \
    SELECT id FROM ( \
      SELECT id, row_number() OVER (ORDER BY id DESC) AS place, \
        row_number() OVER (PARTITION BY room_nid ORDER BY id DESC) AS of_one \
      FROM state_resets \
    ) s WHERE of_one > $2 OR place > $1)";

/// Deletes dead letters beyond the bounds; returns how many.
pub(crate) async fn trim_dead_letters(
    conn: &mut AsyncPgConnection,
    bounds: Bounds,
) -> Result<usize, StoreError> {
    diesel::sql_query(TRIM_DEAD_LETTERS)
        .bind::<Int8, _>(bounds.rows)
        .bind::<Int8, _>(bounds.of_one)
        .bind::<Int8, _>(bounds.bytes)
        .execute(conn)
        .await
        .map_err(StoreError::query("dead_letters.trim"))
}

/// Deletes state resets beyond the bounds; returns how many.
pub(crate) async fn trim_state_resets(
    conn: &mut AsyncPgConnection,
    bounds: Bounds,
) -> Result<usize, StoreError> {
    diesel::sql_query(TRIM_STATE_RESETS)
        .bind::<Int8, _>(bounds.rows)
        .bind::<Int8, _>(bounds.of_one)
        .execute(conn)
        .await
        .map_err(StoreError::query("state_resets.trim"))
}
