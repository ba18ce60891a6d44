//! Loads annotations of events.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Int8, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::corrupt;
use crate::{
    rooms::{AnnotationKey, EventNid},
    store::{StoreError, statement::query},
};

query! {
    /// Annotations by what they annotate, who made them, and what they say.
    FindAnnotations {
        room_nid: Array<Int8> => Vec<i64>,
        target: Array<Text> => Vec<&'a str>,
        sender: Array<Text> => Vec<&'a str>,
        event_type: Array<Text> => Vec<&'a str>,
        key: Array<Binary> => Vec<&'a [u8]>,
    } -> (Int8, Int8),
    "SELECT v.place, r.event_nid FROM unnest(",
    ") WITH ORDINALITY AS v(room_nid, target, sender, event_type, key, place) JOIN event_relations AS r \
     ON r.room_nid = v.room_nid AND r.relates_to_id = v.target AND r.rel_type = 'm.annotation' \
     AND r.sender = v.sender AND r.type = v.event_type AND r.annotation_key = v.key"
}

/// Finds annotations that were not redacted, in the order asked.
pub(crate) async fn find_annotations(
    mut conn: &AsyncPgConnection,
    keys: &[AnnotationKey],
) -> Result<Vec<Vec<EventNid>>, StoreError> {
    let mut found = vec![Vec::new(); keys.len()];
    if keys.is_empty() {
        return Ok(found);
    }
    let statement = FindAnnotations {
        room_nid: keys.iter().map(|key| key.room.0).collect(),
        target: keys.iter().map(|key| key.target.as_str()).collect(),
        sender: keys.iter().map(|key| key.sender.as_str()).collect(),
        event_type: keys.iter().map(|key| key.event_type.as_str()).collect(),
        key: keys.iter().map(|key| key.key.as_slice()).collect(),
        lifetime: PhantomData,
    };
    let rows: Vec<(i64, i64)> =
        statement.load(&mut conn).await.map_err(StoreError::query(FindAnnotations::NAME))?;
    for (place, nid) in rows {
        let index = usize::try_from(place - 1).map_err(|error| corrupt("place of an annotation", &error))?;
        if let Some(found) = found.get_mut(index) {
            found.push(EventNid(nid));
        }
    }
    Ok(found)
}
