//! `room_servers`: which servers are in a room, and how many of their users.
//!
//! Counted by what a batch changes in `room_members`, by a statement that goes just before the one that changes it.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Int8, Text};

use super::super::{Pipeline, outgoing};
use crate::store::statement::statement;

/// Counts memberships of rooms that are about to be set, one for each member.
pub(super) fn count(
    pipeline: &mut Pipeline<'_>,
    room_nid: Vec<i64>,
    user_id: Vec<&str>,
    membership: Vec<&str>,
) {
    let (rooms, users) = (room_nid.clone(), user_id.clone());
    let joins: Vec<usize> =
        membership.iter().enumerate().filter(|(_, it)| **it == "join").map(|(index, _)| index).collect();
    let statement = CountMembers { room_nid, user_id, membership, lifetime: PhantomData };
    pipeline.add(CountMembers::NAME, statement);
    let joined = |index: &usize| Some((*rooms.get(*index)?, *users.get(*index)?));
    outgoing::mark_joined(pipeline, joins.iter().filter_map(joined));
}

/// Counts memberships that snapshots tell and that are about to be set, one for each member.
pub(super) fn count_told(
    pipeline: &mut Pipeline<'_>,
    room_nid: Vec<i64>,
    snapshot: Vec<&[u8]>,
    user_id: Vec<&str>,
    membership: Vec<&str>,
) {
    let statement = CountTold { room_nid, snapshot, user_id, membership, lifetime: PhantomData };
    pipeline.add(CountTold::NAME, statement);
}

statement! {
    /// Adds to the counts of the servers what changes with these memberships.
    CountMembers {
        room_nid: Array<Int8> => Vec<i64>,
        user_id: Array<Text> => Vec<&'a str>,
        membership: Array<Text> => Vec<&'a str>,
    }
    "INSERT INTO room_servers (room_nid, snapshot, server, joined) \
     SELECT v.room_nid, r.snapshot, substr(v.user_id, strpos(v.user_id, ':') + 1) AS server, \
     sum(CASE WHEN v.membership = 'join' THEN 1 ELSE -1 END) FROM unnest(",
    ") AS v(room_nid, user_id, membership) \
     JOIN rooms AS r ON r.room_nid = v.room_nid LEFT JOIN room_members AS m \
     ON m.room_nid = v.room_nid AND m.snapshot = r.snapshot AND m.user_id = v.user_id \
     WHERE (v.membership = 'join') <> coalesce(m.membership = 'join', false) \
     GROUP BY v.room_nid, r.snapshot, server ORDER BY v.room_nid, r.snapshot, server \
     ON CONFLICT (room_nid, snapshot, server) DO UPDATE SET joined = room_servers.joined + excluded.joined"
}

statement! {
    /// Adds to the counts of the servers of snapshots what changes with these memberships.
    CountTold {
        room_nid: Array<Int8> => Vec<i64>,
        snapshot: Array<Binary> => Vec<&'a [u8]>,
        user_id: Array<Text> => Vec<&'a str>,
        membership: Array<Text> => Vec<&'a str>,
    }
    "INSERT INTO room_servers (room_nid, snapshot, server, joined) \
     SELECT v.room_nid, v.snapshot, substr(v.user_id, strpos(v.user_id, ':') + 1) AS server, \
     sum(CASE WHEN v.membership = 'join' THEN 1 ELSE -1 END) FROM unnest(",
    ") AS v(room_nid, snapshot, user_id, membership) LEFT JOIN room_members AS m \
     ON m.room_nid = v.room_nid AND m.snapshot = v.snapshot AND m.user_id = v.user_id \
     WHERE (v.membership = 'join') <> coalesce(m.membership = 'join', false) \
     GROUP BY v.room_nid, v.snapshot, server ORDER BY v.room_nid, v.snapshot, server \
     ON CONFLICT (room_nid, snapshot, server) DO UPDATE SET joined = room_servers.joined + excluded.joined"
}
