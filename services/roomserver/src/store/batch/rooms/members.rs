//! `room_members`: merges and writes memberships.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Bool, Int8, Text};
use indexmap::IndexMap;
use ruma::OwnedUserId;

use super::servers;
use crate::{
    rooms::{MemberRow, ProfileMarkRow, RoomNid},
    store::{batch::Pipeline, statement::statement},
};

/// Memberships of a batch.
#[derive(Default)]
pub(super) struct Members {
    members: IndexMap<(RoomNid, OwnedUserId), Membership>,
    forgotten: IndexMap<(RoomNid, OwnedUserId), ()>,
    profile_marks: IndexMap<(RoomNid, OwnedUserId), i64>,
}

/// A membership as the batch leaves it.
struct Membership {
    row: MemberRow,
    forgotten: bool,
    /// Where it began, as far as the batch knows: events that say the same again leave that alone.
    began: i64,
    /// The first event of the batch that told of the user.
    first: i64,
    /// Whether the batch saw it begin. Else it may have been the same before the batch.
    seen: bool,
}

impl Members {
    /// Adds what one input changes, over the inputs before it.
    pub(super) fn merge(
        &mut self,
        members: Vec<MemberRow>,
        forgotten: Vec<(RoomNid, OwnedUserId)>,
        profile_marks: Vec<ProfileMarkRow>,
    ) {
        for member in members {
            let key = (member.room_nid, member.user_id.clone());
            self.forgotten.shift_remove(&key);
            let before = self.members.get(&key);
            let first = before.map_or(member.seq, |before| before.first);
            let (began, seen) = match before {
                Some(before) if before.row.membership == member.membership => (before.began, before.seen),
                before => (member.seq, before.is_some()),
            };
            self.members.insert(key, Membership { row: member, forgotten: false, began, first, seen });
        }
        for key in forgotten {
            match self.members.get_mut(&key) {
                Some(member) => member.forgotten = true,
                None => {
                    self.forgotten.insert(key, ());
                }
            }
        }
        for row in profile_marks {
            self.profile_marks.insert((row.room_nid, row.user_id), row.version);
        }
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        if !self.members.is_empty() {
            let rows = || self.members.values().map(|member| &member.row);
            servers::count(
                pipeline,
                rows().map(|row| row.room_nid.0).collect(),
                rows().map(|row| row.user_id.as_str()).collect(),
                rows().map(|row| row.membership.as_str()).collect(),
            );
            pipeline.add(
                UpsertMembers::NAME,
                UpsertMembers {
                    room_nid: rows().map(|row| row.room_nid.0).collect(),
                    user_id: rows().map(|row| row.user_id.as_str()).collect(),
                    membership: rows().map(|row| row.membership.as_str()).collect(),
                    event_nid: rows().map(|row| row.event_nid.0).collect(),
                    seq: rows().map(|row| row.seq).collect(),
                    forgotten: self.members.values().map(|member| member.forgotten).collect(),
                    began: self.members.values().map(|member| member.began).collect(),
                    seen: self.members.values().map(|member| member.seen).collect(),
                    first: self.members.values().map(|member| member.first).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.profile_marks.is_empty() {
            pipeline.add(
                MarkProfiles::NAME,
                MarkProfiles {
                    room_nid: self.profile_marks.keys().map(|(room, _)| room.0).collect(),
                    user_id: self.profile_marks.keys().map(|(_, user)| user.as_str()).collect(),
                    version: self.profile_marks.values().copied().collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.forgotten.is_empty() {
            pipeline.add(
                ForgetRooms::NAME,
                ForgetRooms {
                    room_nid: self.forgotten.keys().map(|(room, _)| room.0).collect(),
                    user_id: self.forgotten.keys().map(|(_, user)| user.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }
}

statement! {
    /// Sets current memberships. Whom a snapshot told of keeps the mark of that in the place of a first event.
    UpsertMembers {
        room_nid: Array<Int8> => Vec<i64>,
        user_id: Array<Text> => Vec<&'a str>,
        membership: Array<Text> => Vec<&'a str>,
        event_nid: Array<Int8> => Vec<i64>,
        seq: Array<Int8> => Vec<i64>,
        forgotten: Array<Bool> => Vec<bool>,
        began: Array<Int8> => Vec<i64>,
        seen: Array<Bool> => Vec<bool>,
        first: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO room_members (room_nid, snapshot, user_id, membership, event_nid, seq, forgotten, since_seq, first_seq) \
     SELECT v.room_nid, r.snapshot, v.user_id, v.membership, v.event_nid, v.seq, v.forgotten, \
     CASE WHEN m.membership = v.membership AND NOT v.seen THEN m.since_seq ELSE v.began END, \
     COALESCE(m.first_seq, v.first) FROM unnest(",
    ") AS v(room_nid, user_id, membership, event_nid, seq, forgotten, began, seen, first) \
     JOIN rooms AS r ON r.room_nid = v.room_nid LEFT JOIN room_members AS m \
     ON m.room_nid = v.room_nid AND m.snapshot = r.snapshot AND m.user_id = v.user_id \
     ON CONFLICT (room_nid, snapshot, user_id) DO UPDATE SET membership = excluded.membership, \
     event_nid = excluded.event_nid, seq = excluded.seq, forgotten = excluded.forgotten, \
     since_seq = excluded.since_seq, first_seq = excluded.first_seq"
}

statement! {
    /// Notes which versions of profiles member events have.
    MarkProfiles {
        room_nid: Array<Int8> => Vec<i64>,
        user_id: Array<Text> => Vec<&'a str>,
        version: Array<Int8> => Vec<i64>,
    }
    "UPDATE room_members AS m SET profile_version = v.version FROM unnest(",
    ") AS v(room_nid, user_id, version) JOIN rooms AS r ON r.room_nid = v.room_nid \
     WHERE m.room_nid = v.room_nid AND m.snapshot = r.snapshot AND m.user_id = v.user_id"
}

statement! {
    /// Notes that users have forgotten rooms.
    ForgetRooms {
        room_nid: Array<Int8> => Vec<i64>,
        user_id: Array<Text> => Vec<&'a str>,
    }
    "UPDATE room_members AS m SET forgotten = true FROM unnest(",
    ") AS v(room_nid, user_id) JOIN rooms AS r ON r.room_nid = v.room_nid \
     WHERE m.room_nid = v.room_nid AND m.snapshot = r.snapshot AND m.user_id = v.user_id"
}
