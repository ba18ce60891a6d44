//! Writes members and facts of snapshots, ahead of the join that may use them.
//!
//! The rows lie under the token of the snapshot. Nobody reads them until the row of the room names that token.

use std::{collections::BTreeSet, marker::PhantomData};

use diesel::sql_types::{Array, Binary, Int8, Text};
use indexmap::IndexMap;
use ruma::OwnedUserId;

use super::{Pipeline, servers};
use crate::{
    rooms::{EventNid, RoomNid, SnapshotMember, SnapshotRows, Token},
    store::statement::statement,
};

/// What the chunks of a batch tell.
#[derive(Default)]
pub(super) struct SnapshotInserts {
    rooms: BTreeSet<RoomNid>,
    members: IndexMap<(RoomNid, Token, OwnedUserId), (String, EventNid)>,
    facts: IndexMap<(RoomNid, Token, String, String), EventNid>,
}

impl SnapshotInserts {
    /// Adds what a chunk tells, over what those before it have told.
    pub(super) fn merge(&mut self, told: Option<SnapshotRows>) {
        let Some(SnapshotRows { room_nid, token, members, facts }) = told else { return };
        self.rooms.insert(room_nid);
        for SnapshotMember { user_id, membership, event_nid } in members {
            self.members.insert((room_nid, token, user_id), (membership, event_nid));
        }
        for fact in facts {
            self.facts.insert((room_nid, token, fact.event_type, fact.state_key), fact.nid);
        }
    }

    /// Locks the rows of the rooms that are still only being joined; returns how many that should be. A room that this
    /// batch makes has none yet.
    pub(super) fn check(&self, pipeline: &mut Pipeline<'_>, is_new: impl Fn(RoomNid) -> bool) -> usize {
        let room_nid: Vec<i64> =
            self.rooms.iter().filter(|room| !is_new(**room)).map(|room| room.0).collect();
        let count = room_nid.len();
        if count > 0 {
            pipeline.add(LockIncipient::NAME, LockIncipient { room_nid, lifetime: PhantomData });
        }
        count
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        if !self.members.is_empty() {
            servers::count_told(
                pipeline,
                self.members.keys().map(|(room, ..)| room.0).collect(),
                self.members.keys().map(|(_, token, _)| token.as_slice()).collect(),
                self.members.keys().map(|(.., user)| user.as_str()).collect(),
                self.members.values().map(|(membership, _)| membership.as_str()).collect(),
            );
            pipeline.add(
                TellMembers::NAME,
                TellMembers {
                    room_nid: self.members.keys().map(|(room, ..)| room.0).collect(),
                    snapshot: self.members.keys().map(|(_, token, _)| token.as_slice()).collect(),
                    user_id: self.members.keys().map(|(.., user)| user.as_str()).collect(),
                    membership: self.members.values().map(|(membership, _)| membership.as_str()).collect(),
                    event_nid: self.members.values().map(|(_, nid)| nid.0).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.facts.is_empty() {
            pipeline.add(
                TellFacts::NAME,
                TellFacts {
                    room_nid: self.facts.keys().map(|(room, ..)| room.0).collect(),
                    snapshot: self.facts.keys().map(|(_, token, ..)| token.as_slice()).collect(),
                    event_type: self.facts.keys().map(|(_, _, event_type, _)| event_type.as_str()).collect(),
                    state_key: self.facts.keys().map(|(.., state_key)| state_key.as_str()).collect(),
                    event_nid: self.facts.values().map(|nid| nid.0).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }
}

statement! {
    /// Locks rooms that are only being joined: nobody joins them, and no chore deletes what is told of them, before the
    /// batch is committed. One whose join is being committed is passed over.
    LockIncipient {
        room_nid: Array<Int8> => Vec<i64>,
    }
    "SELECT room_nid FROM rooms WHERE room_nid = ANY(",
    ") AND cardinality(latest_nids) = 0 ORDER BY room_nid FOR SHARE SKIP LOCKED"
}

statement! {
    /// Sets what snapshots tell of members.
    TellMembers {
        room_nid: Array<Int8> => Vec<i64>,
        snapshot: Array<Binary> => Vec<&'a [u8]>,
        user_id: Array<Text> => Vec<&'a str>,
        membership: Array<Text> => Vec<&'a str>,
        event_nid: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO room_members (room_nid, snapshot, user_id, membership, event_nid, seq) \
     SELECT v.room_nid, v.snapshot, v.user_id, v.membership, v.event_nid, 0 FROM unnest(",
    ") AS v(room_nid, snapshot, user_id, membership, event_nid) \
     ON CONFLICT (room_nid, snapshot, user_id) DO UPDATE \
     SET membership = excluded.membership, event_nid = excluded.event_nid"
}

statement! {
    /// Sets what snapshots tell of facts.
    TellFacts {
        room_nid: Array<Int8> => Vec<i64>,
        snapshot: Array<Binary> => Vec<&'a [u8]>,
        event_type: Array<Text> => Vec<&'a str>,
        state_key: Array<Text> => Vec<&'a str>,
        event_nid: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO room_facts (room_nid, snapshot, type, state_key, event_nid) SELECT * FROM unnest(",
    ") ON CONFLICT (room_nid, snapshot, type, state_key) DO UPDATE SET event_nid = excluded.event_nid"
}
