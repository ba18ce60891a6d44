//! Reads jobs that change all rooms of a user.

use diesel::{
    Queryable,
    sql_types::{Array, Bool, Int4, Int8, SmallInt, Text},
};

use super::reads::query::query;
use crate::users::MemberJob;

/// A room where a job is left to do.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct Left {
    pub(crate) user_id: String,
    pub(crate) kind: i16,
    pub(crate) version: i64,
    pub(crate) room_id: String,
}

/// Tells whether a room (`m`) is left to do for a job (`j`).
macro_rules! is_left {
    () => {
        "((j.kind = 1 AND m.membership = 'join' AND m.profile_version < j.version) \
          OR (j.kind = 2 AND m.membership IN ('join', 'invite', 'knock')))"
    };
}

query! {
    /// Lists rooms that are left to do for the jobs of users of some partitions, a few of each user.
    fn list_left<'a>(
        partitions: [i16] as Array<SmallInt>,
        rooms_of_user: i32 as Int4,
        rooms: i32 as Int4,
    ) -> Left as (Text, SmallInt, Int8, Text) = concat!(
        "WITH jobs AS (SELECT * FROM member_jobs WHERE partition = ANY(?)) \
         SELECT j.user_id, j.kind, j.version, l.room_id FROM jobs j CROSS JOIN LATERAL ( \
           SELECT r.room_id FROM room_members m JOIN rooms r ON r.room_nid = m.room_nid AND r.snapshot = m.snapshot \
           WHERE m.user_id = j.user_id AND ", is_left!(), " AND cardinality(r.latest_nids) > 0 LIMIT ? \
         ) l LIMIT ?"
    );
}

query! {
    /// Lists one room that is left to do for a user, if there is any.
    fn list_left_of<'a>(user_id: str as Text) -> (String,) as (Text) = concat!(
        "SELECT r.room_id FROM member_jobs j JOIN room_members m ON m.user_id = j.user_id \
         JOIN rooms r ON r.room_nid = m.room_nid AND r.snapshot = m.snapshot \
         WHERE j.user_id = ? AND ", is_left!(), " AND cardinality(r.latest_nids) > 0 LIMIT 1"
    );
}

/// A job that is gone.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct Gone {
    pub(crate) user_id: String,
    /// Whether something was left to do.
    pub(crate) given_up: bool,
}

query! {
    /// Deletes jobs of users of some partitions that began before a time and have nothing left to do, and those that began
    /// before another time.
    fn finish<'a>(
        done_before: i64 as Int8,
        give_up_before: i64 as Int8,
        partitions: [i16] as Array<SmallInt>,
    ) -> Gone as (Text, Bool) = concat!(
        "WITH times AS (SELECT ?::bigint AS done, ?::bigint AS give_up), \
         old AS (SELECT j.*, EXISTS (SELECT FROM room_members m JOIN rooms r ON r.room_nid = m.room_nid AND r.snapshot = m.snapshot \
             WHERE m.user_id = j.user_id AND ", is_left!(), " AND cardinality(r.latest_nids) > 0) AS is_left \
           FROM member_jobs j, times t WHERE j.created_ts < t.done AND j.partition = ANY(?)) \
         DELETE FROM member_jobs d USING old o, times t \
         WHERE d.user_id = o.user_id AND d.kind = o.kind AND d.version = o.version \
           AND (NOT o.is_left OR o.created_ts < t.give_up) RETURNING d.user_id, o.is_left"
    );
}

/// The kind of a job; `None` if this version of the program does not know it.
pub(crate) fn job(kind: i16) -> Option<MemberJob> {
    match kind {
        1 => Some(MemberJob::UpdateProfile),
        2 => Some(MemberJob::Leave),
        _ => None,
    }
}
