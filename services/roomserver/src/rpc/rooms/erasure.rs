//! Redacts events of erased users for readers who joined after the erasure.
//!
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate)

use bytes::Bytes;
use plexus_events::{redact, version::RoomRules};
use serde_json::Value;
use tracing::error;

use super::encode::Reader;
use crate::{store::reads::events::EventRow, visibility::may_see_erased};

/// State that tells what a room is and how it is to be used, and nothing of who made it: without it, a client takes a
/// space for a room, or an encrypted room for one that is not.
const KEPT: [&str; 2] = ["m.room.create", "m.room.encryption"];

/// Whether a reader gets a redacted copy of the event. Services and operators read everything.
pub(super) fn gets_copy(row: &EventRow, reader: Option<Reader<'_>>) -> bool {
    let (Some(reader), Some(erased_ts)) = (reader, row.erased_ts) else { return false };
    let is_kept = row.state_key.is_some() && KEPT.contains(&row.event_type.as_str());
    !is_kept && !may_see_erased(reader.history, row.seq.unwrap_or(0), erased_ts)
}

/// Takes the JSON of an event as a reader gets it; `None` if it could not be redacted, which no stored event can be.
pub(super) fn take_json(row: &mut EventRow, reader: Option<Reader<'_>>) -> Option<Bytes> {
    let hides_reason = reader
        .zip(row.redactor_erased_ts)
        .is_some_and(|(reader, erased_ts)| !may_see_erased(reader.history, row.seq.unwrap_or(0), erased_ts));
    let json = if gets_copy(row, reader) {
        pruned(row)?
    } else if hides_reason {
        without_reason(row)?
    } else {
        std::mem::take(&mut row.json)
    };
    Some(Bytes::from(json))
}

fn pruned(row: &EventRow) -> Option<Vec<u8>> {
    let rules = RoomRules::of(&row.room_version)
        .inspect_err(
            |error| error!(event.id = %row.event_id, %error, "event cannot be redacted, leaving it out"),
        )
        .ok()?;
    redact::pruned(&row.json, rules)
        .inspect_err(
            |error| error!(event.id = %row.event_id, %error, "event cannot be redacted, leaving it out"),
        )
        .ok()
}

/// The redacted event without what its redactor said of it.
fn without_reason(row: &EventRow) -> Option<Vec<u8>> {
    let mut event: Value = serde_json::from_slice(&row.json).ok()?;
    if let Some(content) =
        event.pointer_mut("/unsigned/redacted_because/content").and_then(Value::as_object_mut)
    {
        content.retain(|key, _| key == "redacts");
    }
    serde_json::to_vec(&event).ok()
}
