//! Deletes what makes a room known; the rest is deleted later.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Int2, Int8, Text};

use super::Pipeline;
use crate::{rooms::PurgeRow, store::statement::statement};

/// Writes that rooms are deleted, after everything else of them.
pub(super) fn write(pipeline: &mut Pipeline<'_>, rows: &[PurgeRow]) {
    if rows.is_empty() {
        return;
    }
    let room_nid = || rows.iter().map(|row| row.room_nid.0).collect();
    pipeline.add(
        InsertPurgedRooms::NAME,
        InsertPurgedRooms {
            room_nid: room_nid(),
            room_id: rows.iter().map(|row| row.room_id.as_str()).collect(),
            partition: rows.iter().map(|row| i16::try_from(row.partition).unwrap_or(i16::MAX)).collect(),
            purged_ts: rows.iter().map(|row| row.purged_ts).collect(),
            lifetime: PhantomData,
        },
    );
    pipeline.add(DeleteRooms::NAME, DeleteRooms { room_nid: room_nid(), lifetime: PhantomData });
    pipeline.add(DeleteMembers::NAME, DeleteMembers { room_nid: room_nid(), lifetime: PhantomData });
    pipeline.add(DeleteServers::NAME, DeleteServers { room_nid: room_nid(), lifetime: PhantomData });
    let room_id = rows.iter().map(|row| row.room_id.as_str()).collect();
    pipeline.add(DeleteRoomAliases::NAME, DeleteRoomAliases { room_id, lifetime: PhantomData });
}

statement! {
    /// Notes that rooms are deleted.
    InsertPurgedRooms {
        room_nid: Array<Int8> => Vec<i64>,
        room_id: Array<Text> => Vec<&'a str>,
        partition: Array<Int2> => Vec<i16>,
        purged_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO purged_rooms (room_nid, room_id, partition, purged_ts) SELECT * FROM unnest(", ")"
}

statement! {
    /// Deletes rooms.
    DeleteRooms {
        room_nid: Array<Int8> => Vec<i64>,
    }
    "DELETE FROM rooms WHERE room_nid = ANY(", ")"
}

statement! {
    /// Deletes who is in rooms.
    DeleteMembers {
        room_nid: Array<Int8> => Vec<i64>,
    }
    "DELETE FROM room_members WHERE room_nid = ANY(", ")"
}

statement! {
    /// Deletes which servers are in rooms.
    DeleteServers {
        room_nid: Array<Int8> => Vec<i64>,
    }
    "DELETE FROM room_servers WHERE room_nid = ANY(", ")"
}

statement! {
    /// Deletes the aliases of rooms.
    DeleteRoomAliases {
        room_id: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM aliases WHERE room_id = ANY(", ")"
}
