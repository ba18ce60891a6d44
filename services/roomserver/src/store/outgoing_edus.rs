//! Takes out what other servers have taken that is not of rooms.

use diesel::sql_types::{Array, BigInt, Integer, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::StoreError;

/// Days that a message waits for another server.
const KEPT_DAYS: i32 = 30;

/// Drops messages that have waited for a server for [`KEPT_DAYS`]; returns how many.
pub(crate) async fn expire(conn: &mut AsyncPgConnection, server: &str) -> Result<usize, StoreError> {
    diesel::sql_query(
        "DELETE FROM outgoing_to_device WHERE server = $1 \
         AND created_ts < (extract(epoch FROM now() - make_interval(days => $2)) * 1000)::bigint",
    )
    .bind::<Text, _>(server)
    .bind::<Integer, _>(KEPT_DAYS)
    .execute(conn)
    .await
    .map_err(StoreError::query("outgoing_edus.expire"))
}

/// Takes messages out.
pub(crate) async fn take_messages(
    conn: &mut AsyncPgConnection,
    server: &str,
    numbers: &[i64],
) -> Result<(), StoreError> {
    diesel::sql_query("DELETE FROM outgoing_to_device WHERE server = $1 AND number = ANY($2)")
        .bind::<Text, _>(server)
        .bind::<Array<BigInt>, _>(numbers)
        .execute(conn)
        .await
        .map(drop)
        .map_err(StoreError::query("outgoing_edus.take_messages"))
}

/// Notes versions of lists that a server has.
pub(crate) async fn take_lists(
    conn: &mut AsyncPgConnection,
    server: &str,
    users: &[String],
    stream_ids: &[i64],
    keys_seqs: &[i64],
) -> Result<(), StoreError> {
    diesel::sql_query(
        "UPDATE outgoing_device_lists AS o SET sent_stream_id = greatest(o.sent_stream_id, v.stream_id), \
         sent_keys_seq = greatest(o.sent_keys_seq, v.keys_seq) \
         FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS v(user_id, stream_id, keys_seq) \
         WHERE o.server = $1 AND o.user_id = v.user_id",
    )
    .bind::<Text, _>(server)
    .bind::<Array<Text>, _>(users)
    .bind::<Array<BigInt>, _>(stream_ids)
    .bind::<Array<BigInt>, _>(keys_seqs)
    .execute(conn)
    .await
    .map(drop)
    .map_err(StoreError::query("outgoing_edus.take_lists"))
}

/// Gives up all that waits for a server.
pub(crate) async fn give_up(conn: &mut AsyncPgConnection, server: &str) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM outgoing_to_device WHERE server = $1",
        "DELETE FROM outgoing_device_lists WHERE server = $1",
    ] {
        diesel::sql_query(statement)
            .bind::<Text, _>(server)
            .execute(conn)
            .await
            .map_err(StoreError::query("outgoing_edus.give_up"))?;
    }
    Ok(())
}
