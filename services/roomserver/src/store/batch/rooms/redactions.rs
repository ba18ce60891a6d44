//! `redactions`: writes redactions.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Bool, Int8, Text};
use indexmap::IndexMap;
use ruma::OwnedEventId;

use crate::{
    rooms::{EventNid, RedactionRow},
    store::{batch::Pipeline, statement::statement},
};

/// Writes redactions.
pub(super) fn write(rows: &IndexMap<(OwnedEventId, EventNid), RedactionRow>, pipeline: &mut Pipeline<'_>) {
    if rows.is_empty() {
        return;
    }
    pipeline.add(
        UpsertRedactions::NAME,
        UpsertRedactions {
            redacts_id: rows.values().map(|row| row.redacts_id.as_str()).collect(),
            redaction_nid: rows.values().map(|row| row.redaction_nid.0).collect(),
            room_nid: rows.values().map(|row| row.room_nid.0).collect(),
            applied: rows.values().map(|row| row.applied).collect(),
            lifetime: PhantomData,
        },
    );
}

statement! {
    /// Keeps redactions.
    UpsertRedactions {
        redacts_id: Array<Text> => Vec<&'a str>,
        redaction_nid: Array<Int8> => Vec<i64>,
        room_nid: Array<Int8> => Vec<i64>,
        applied: Array<Bool> => Vec<bool>,
    }
    "INSERT INTO redactions (redacts_id, redaction_nid, room_nid, applied) SELECT * FROM unnest(",
    ") ON CONFLICT (redacts_id, redaction_nid) DO UPDATE SET applied = excluded.applied"
}
