//! Loads receipts.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Int8, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::corrupt;
use crate::{
    rooms::ReceiptKey,
    store::{StoreError, statement::query},
};

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
