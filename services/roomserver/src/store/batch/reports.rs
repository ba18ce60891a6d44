//! Writes reports of users to the operators.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Int8, Text};
use indexmap::IndexMap;

use super::Pipeline;
use crate::{store::statement::statement, users::Report};

/// Reports of a batch, by reporter and by what is reported.
#[derive(Default)]
pub(super) struct Reports {
    rows: IndexMap<[String; 4], Report>,
}

impl Reports {
    /// Adds a report, over an earlier one of the same.
    pub(super) fn merge(&mut self, reporter: &str, report: Report) {
        let key =
            [reporter.to_owned(), report.room_id.clone(), report.event_id.clone(), report.user_id.clone()];
        self.rows.insert(key, report);
    }

    /// Writes them, and drops the oldest of those who report too much.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        if self.rows.is_empty() {
            return;
        }
        let reporters = || self.rows.keys().map(|[reporter, ..]| reporter.as_str());
        pipeline.add(
            UpsertReports::NAME,
            UpsertReports {
                reporter: reporters().collect(),
                room_id: self.rows.values().map(|report| report.room_id.as_str()).collect(),
                event_id: self.rows.values().map(|report| report.event_id.as_str()).collect(),
                user_id: self.rows.values().map(|report| report.user_id.as_str()).collect(),
                reason: self.rows.values().map(|report| report.reason.as_str()).collect(),
                created_ts: self.rows.values().map(|report| report.created_ts).collect(),
                lifetime: PhantomData,
            },
        );
        pipeline
            .add(PruneReports::NAME, PruneReports { reporter: reporters().collect(), lifetime: PhantomData });
    }
}

statement! {
    /// Keeps reports.
    UpsertReports {
        reporter: Array<Text> => Vec<&'a str>,
        room_id: Array<Text> => Vec<&'a str>,
        event_id: Array<Text> => Vec<&'a str>,
        user_id: Array<Text> => Vec<&'a str>,
        reason: Array<Text> => Vec<&'a str>,
        created_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO reports (reporter, room_id, event_id, user_id, reason, created_ts) SELECT * FROM unnest(",
    ") ON CONFLICT (reporter, room_id, event_id, user_id) DO UPDATE SET reason = excluded.reason, \
     created_ts = excluded.created_ts"
}

statement! {
    /// Drops all but the last 1,000 reports of each of these users.
    PruneReports {
        reporter: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM reports r USING ( \
       SELECT DISTINCT v.reporter, ( \
         SELECT k.created_ts FROM reports k WHERE k.reporter = v.reporter ORDER BY k.created_ts DESC \
         OFFSET 1000 LIMIT 1) AS last FROM unnest(",
    ") AS v(reporter)) d WHERE r.reporter = d.reporter AND r.created_ts <= d.last"
}
