//! Writes upgrades, which are kept until the new room is made.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Int2, Int8, Text};

use super::Pipeline;
use crate::{rooms::UpgradeRow, store::statement::statement};

/// Writes what makes the new rooms.
pub(super) fn write(pipeline: &mut Pipeline<'_>, rows: &[UpgradeRow]) {
    if rows.is_empty() {
        return;
    }
    pipeline.add(
        InsertUpgrades::NAME,
        InsertUpgrades {
            new_room_id: rows.iter().map(|row| row.new_room_id.as_str()).collect(),
            old_room_id: rows.iter().map(|row| row.old_room_id.as_str()).collect(),
            partition: rows.iter().map(|row| i16::try_from(row.partition).unwrap_or(i16::MAX)).collect(),
            record: rows.iter().map(|row| row.record.as_ref()).collect(),
            created_ts: rows.iter().map(|row| row.created_ts).collect(),
            lifetime: PhantomData,
        },
    );
}

statement! {
    /// Keeps the inputs that make new rooms.
    InsertUpgrades {
        new_room_id: Array<Text> => Vec<&'a str>,
        old_room_id: Array<Text> => Vec<&'a str>,
        partition: Array<Int2> => Vec<i16>,
        record: Array<Binary> => Vec<&'a [u8]>,
        created_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO room_upgrades (new_room_id, old_room_id, partition, record, created_ts) SELECT * FROM unnest(", ")"
}
