//! Writes jobs that change all rooms of a user.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Int2, Int8, Text};
use indexmap::IndexMap;
use plexus_log::partition_of;

use super::Pipeline;
use crate::{store::statement::statement, users::MemberJob};

/// Jobs that a batch begins: of one user and kind, the last one.
#[derive(Default)]
pub(super) struct MemberJobs(IndexMap<(String, MemberJob), (i64, i64)>);

impl MemberJobs {
    /// Adds one, over those of the commands before it.
    pub(super) fn merge(&mut self, user_id: &str, job: MemberJob, version: i64, created_ts: i64) {
        self.0.insert((user_id.to_owned(), job), (version, created_ts));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        if self.0.is_empty() {
            return;
        }
        let partition = |user: &str| i16::try_from(partition_of(user)).unwrap_or(i16::MAX);
        pipeline.add(
            UpsertMemberJobs::NAME,
            UpsertMemberJobs {
                user_id: self.0.keys().map(|(user, _)| user.as_str()).collect(),
                kind: self.0.keys().map(|(_, job)| kind_column(*job)).collect(),
                partition: self.0.keys().map(|(user, _)| partition(user)).collect(),
                version: self.0.values().map(|(version, _)| *version).collect(),
                created_ts: self.0.values().map(|(_, created_ts)| *created_ts).collect(),
                lifetime: PhantomData,
            },
        );
    }
}

/// A kind of jobs as the database holds it.
fn kind_column(job: MemberJob) -> i16 {
    match job {
        MemberJob::UpdateProfile => 1,
        MemberJob::Leave => 2,
    }
}

statement! {
    /// Begins jobs; one that is under way begins anew.
    UpsertMemberJobs {
        user_id: Array<Text> => Vec<&'a str>,
        kind: Array<Int2> => Vec<i16>,
        partition: Array<Int2> => Vec<i16>,
        version: Array<Int8> => Vec<i64>,
        created_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO member_jobs (user_id, kind, partition, version, created_ts) SELECT * FROM unnest(",
    ") ON CONFLICT (user_id, kind) DO UPDATE SET version = excluded.version, created_ts = excluded.created_ts"
}
