//! `rooms`: writes rooms.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Bool, Int2, Int4, Int8, Text};
use indexmap::IndexMap;

use super::{events::array, partition_column};
use crate::{
    rooms::{RoomNid, RoomRow},
    store::{batch::Pipeline, statement::statement},
};

/// Writes rooms, and tells apart those that are new.
pub(super) fn write(rooms: &IndexMap<RoomNid, (RoomRow, bool)>, pipeline: &mut Pipeline<'_>) {
    let new: Vec<&RoomRow> = rooms.values().filter(|(_, new)| *new).map(|(row, _)| row).collect();
    if !new.is_empty() {
        pipeline.add(
            InsertRooms::NAME,
            InsertRooms {
                room_nid: new.iter().map(|row| row.nid.0).collect(),
                room_id: new.iter().map(|row| row.room_id.as_str()).collect(),
                partition: new.iter().map(|row| partition_column(row.partition)).collect(),
                version: new.iter().map(|row| row.version.as_str()).collect(),
                create_nid: new.iter().map(|row| row.create_nid.0).collect(),
                latest_nids: new.iter().map(|row| array(&row.latest_nids)).collect(),
                members_root: new.iter().map(|row| row.members_root).collect(),
                other_root: new.iter().map(|row| row.other_root).collect(),
                depth: new.iter().map(|row| row.depth).collect(),
                last_seq: new.iter().map(|row| row.last_seq).collect(),
                joined_members: new.iter().map(|row| row.joined_members).collect(),
                invited_members: new.iter().map(|row| row.invited_members).collect(),
                published: new.iter().map(|row| row.published).collect(),
                parked: new.iter().map(|row| row.parked).collect(),
                forked: new.iter().map(|row| row.forked).collect(),
                has_gaps: new.iter().map(|row| row.has_gaps).collect(),
                oldest_position: new.iter().map(|row| row.oldest_position).collect(),
                snapshot: new.iter().map(|row| snapshot(row)).collect(),
                state_bytes: new.iter().map(|row| row.state_bytes).collect(),
                lifetime: PhantomData,
            },
        );
    }
    let changed: Vec<&RoomRow> = rooms.values().filter(|(_, new)| !new).map(|(row, _)| row).collect();
    if !changed.is_empty() {
        pipeline.add(
            UpdateRooms::NAME,
            UpdateRooms {
                room_nid: changed.iter().map(|row| row.nid.0).collect(),
                latest_nids: changed.iter().map(|row| array(&row.latest_nids)).collect(),
                members_root: changed.iter().map(|row| row.members_root).collect(),
                other_root: changed.iter().map(|row| row.other_root).collect(),
                depth: changed.iter().map(|row| row.depth).collect(),
                last_seq: changed.iter().map(|row| row.last_seq).collect(),
                joined_members: changed.iter().map(|row| row.joined_members).collect(),
                invited_members: changed.iter().map(|row| row.invited_members).collect(),
                published: changed.iter().map(|row| row.published).collect(),
                parked: changed.iter().map(|row| row.parked).collect(),
                forked: changed.iter().map(|row| row.forked).collect(),
                has_gaps: changed.iter().map(|row| row.has_gaps).collect(),
                oldest_position: changed.iter().map(|row| row.oldest_position).collect(),
                snapshot: changed.iter().map(|row| snapshot(row)).collect(),
                state_bytes: changed.iter().map(|row| row.state_bytes).collect(),
                lifetime: PhantomData,
            },
        );
    }
}

/// The column of the snapshot by which a room was joined.
fn snapshot(row: &RoomRow) -> &[u8] {
    row.snapshot.as_ref().map_or(&[], |token| token.as_slice())
}

statement! {
    /// Adds rooms.
    InsertRooms {
        room_nid: Array<Int8> => Vec<i64>,
        room_id: Array<Text> => Vec<&'a str>,
        partition: Array<Int2> => Vec<i16>,
        version: Array<Text> => Vec<&'a str>,
        create_nid: Array<Int8> => Vec<i64>,
        latest_nids: Array<Text> => Vec<String>,
        members_root: Array<Int8> => Vec<i64>,
        other_root: Array<Int8> => Vec<i64>,
        depth: Array<Int8> => Vec<i64>,
        last_seq: Array<Int8> => Vec<i64>,
        joined_members: Array<Int4> => Vec<i32>,
        invited_members: Array<Int4> => Vec<i32>,
        published: Array<Bool> => Vec<bool>,
        parked: Array<Int4> => Vec<i32>,
        forked: Array<Bool> => Vec<bool>,
        has_gaps: Array<Bool> => Vec<bool>,
        oldest_position: Array<Int8> => Vec<i64>,
        snapshot: Array<Binary> => Vec<&'a [u8]>,
        state_bytes: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO rooms (room_nid, room_id, partition, version, create_nid, latest_nids, members_root, other_root, \
     depth, last_seq, joined_members, invited_members, published, parked, forked, has_gaps, oldest_position, \
     snapshot, state_bytes) SELECT room_nid, room_id, partition, version, create_nid, latest_nids::bigint[], members_root, other_root, \
     depth, last_seq, joined_members, invited_members, published, parked, forked, has_gaps, oldest_position, \
     snapshot, state_bytes FROM unnest(",
    ") AS v(room_nid, room_id, partition, version, create_nid, latest_nids, members_root, other_root, \
     depth, last_seq, joined_members, invited_members, published, parked, forked, has_gaps, oldest_position, snapshot, \
     state_bytes)"
}

statement! {
    /// Sets the forward extremities, the current state and the counts of rooms.
    UpdateRooms {
        room_nid: Array<Int8> => Vec<i64>,
        latest_nids: Array<Text> => Vec<String>,
        members_root: Array<Int8> => Vec<i64>,
        other_root: Array<Int8> => Vec<i64>,
        depth: Array<Int8> => Vec<i64>,
        last_seq: Array<Int8> => Vec<i64>,
        joined_members: Array<Int4> => Vec<i32>,
        invited_members: Array<Int4> => Vec<i32>,
        published: Array<Bool> => Vec<bool>,
        parked: Array<Int4> => Vec<i32>,
        forked: Array<Bool> => Vec<bool>,
        has_gaps: Array<Bool> => Vec<bool>,
        oldest_position: Array<Int8> => Vec<i64>,
        snapshot: Array<Binary> => Vec<&'a [u8]>,
        state_bytes: Array<Int8> => Vec<i64>,
    }
    "UPDATE rooms AS r SET latest_nids = v.latest_nids::bigint[], members_root = v.members_root, \
     other_root = v.other_root, depth = v.depth, last_seq = v.last_seq, joined_members = v.joined_members, \
     invited_members = v.invited_members, published = v.published, parked = v.parked, forked = v.forked, \
     has_gaps = v.has_gaps, oldest_position = v.oldest_position, snapshot = v.snapshot, \
     state_bytes = v.state_bytes FROM unnest(",
    ") AS v(room_nid, latest_nids, members_root, other_root, depth, last_seq, joined_members, invited_members, \
     published, parked, forked, has_gaps, oldest_position, snapshot, state_bytes) WHERE r.room_nid = v.room_nid"
}
