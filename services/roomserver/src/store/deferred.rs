//! Reads inputs that wait for the low-priority lane.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Int2, Int8, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::{StoreError, statement::query};

/// An input that waits, without the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) partition: i16,
    pub(crate) room_id: String,
    pub(crate) input_id: Vec<u8>,
}

/// A record that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deferred {
    pub(crate) id: i64,
    pub(crate) log: i16,
    pub(crate) log_offset: i64,
    pub(crate) payload: Vec<u8>,
}

query! {
    /// Inputs of partitions that wait, in order.
    ListWaiting { partition: Array<Int2> => Vec<i16> } -> (Int2, Text, Binary),
    "SELECT partition, room_id, input_id FROM deferred_inputs WHERE partition = ANY(", ") ORDER BY id"
}

query! {
    /// The first records of a room that wait, in order.
    ListFirst {
        partition: Int2 => i16,
        room_id: Text => &'a str,
        most: Int8 => i64,
    } -> (Int8, Int2, Int8, Binary),
    "WITH wanted AS (SELECT * FROM (VALUES (",
    ")) AS v(partition, room_id, most)) \
     SELECT d.id, d.log, d.log_offset, d.payload FROM wanted w JOIN deferred_inputs d \
     ON d.partition = w.partition AND d.room_id = w.room_id ORDER BY d.id LIMIT (SELECT most FROM wanted)"
}

/// Inputs of partitions that wait, in order. Each partition has a bounded number of them.
pub(crate) async fn list_waiting(
    conn: &mut AsyncPgConnection,
    partitions: &[i16],
) -> Result<Vec<Waiting>, StoreError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let statement = ListWaiting { partition: partitions.to_vec(), lifetime: PhantomData };
    let rows: Vec<(i16, String, Vec<u8>)> =
        statement.load(conn).await.map_err(StoreError::query(ListWaiting::NAME))?;
    Ok(rows
        .into_iter()
        .map(|(partition, room_id, input_id)| Waiting { partition, room_id, input_id })
        .collect())
}

/// The first records of a room that wait, in order.
pub(crate) async fn list_first(
    mut conn: &AsyncPgConnection,
    partition: i16,
    room_id: &str,
    most: i64,
) -> Result<Vec<Deferred>, StoreError> {
    let statement = ListFirst { partition, room_id, most, lifetime: PhantomData };
    let rows: Vec<(i64, i16, i64, Vec<u8>)> =
        statement.load(&mut conn).await.map_err(StoreError::query(ListFirst::NAME))?;
    Ok(rows
        .into_iter()
        .map(|(id, log, log_offset, payload)| Deferred { id, log, log_offset, payload })
        .collect())
}
