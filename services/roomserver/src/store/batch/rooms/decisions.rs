//! `decisions` and `state_resets`: merges and writes why events were refused, and alarms.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Int8, Nullable, Text};
use indexmap::{IndexMap, IndexSet};
use ruma::OwnedEventId;

use super::events::array;
use crate::{
    rooms::{DecisionRow, StateResetRow},
    store::{batch::Pipeline, statement::statement},
};

/// Decisions of a batch.
#[derive(Default)]
pub(super) struct Decisions {
    decisions: IndexMap<OwnedEventId, DecisionRow>,
    dropped: IndexSet<OwnedEventId>,
    state_resets: Vec<StateResetRow>,
}

impl Decisions {
    /// Alarms that the batch raises.
    pub(super) fn state_resets(&self) -> &[StateResetRow] {
        &self.state_resets
    }

    /// Adds what one input decides, over the inputs before it.
    pub(super) fn merge(
        &mut self,
        decisions: Vec<DecisionRow>,
        dropped: Vec<OwnedEventId>,
        state_resets: Vec<StateResetRow>,
    ) {
        for id in dropped {
            self.decisions.shift_remove(&id);
            self.dropped.insert(id);
        }
        for row in decisions {
            self.dropped.shift_remove(&row.event_id);
            self.decisions.insert(row.event_id.clone(), row);
        }
        self.state_resets.extend(state_resets);
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        if !self.dropped.is_empty() {
            let event_id = self.dropped.iter().map(|id| id.as_str()).collect();
            pipeline.add(DeleteDecisions::NAME, DeleteDecisions { event_id, lifetime: PhantomData });
        }
        if !self.decisions.is_empty() {
            let rows = || self.decisions.values();
            pipeline.add(
                UpsertDecisions::NAME,
                UpsertDecisions {
                    event_id: rows().map(|row| row.event_id.as_str()).collect(),
                    room_nid: rows().map(|row| row.room_nid.0).collect(),
                    event_nid: rows().map(|row| row.event_nid.map(|nid| nid.0)).collect(),
                    stage: rows().map(|row| row.stage).collect(),
                    rule: rows().map(|row| row.rule.replace('\0', "\u{fffd}")).collect(),
                    decided_ts: rows().map(|row| row.decided_ts).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.state_resets.is_empty() {
            let rows = || self.state_resets.iter();
            pipeline.add(
                InsertStateResets::NAME,
                InsertStateResets {
                    room_nid: rows().map(|row| row.room_nid.0).collect(),
                    event_nid: rows().map(|row| row.event_nid.0).collect(),
                    lost_nid: rows().map(|row| row.lost_nid.0).collect(),
                    now_nid: rows().map(|row| row.now_nid.map(|nid| nid.0)).collect(),
                    latest_nids: rows().map(|row| array(&row.latest_nids)).collect(),
                    detected_ts: rows().map(|row| row.detected_ts).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }
}

statement! {
    /// Keeps why events were refused.
    UpsertDecisions {
        event_id: Array<Text> => Vec<&'a str>,
        room_nid: Array<Int8> => Vec<i64>,
        event_nid: Array<Nullable<Int8>> => Vec<Option<i64>>,
        stage: Array<Text> => Vec<&'a str>,
        rule: Array<Text> => Vec<String>,
        decided_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO decisions (event_id, room_nid, event_nid, stage, rule, decided_ts) SELECT * FROM unnest(",
    ") ON CONFLICT (event_id) DO UPDATE SET room_nid = excluded.room_nid, event_nid = excluded.event_nid, \
     stage = excluded.stage, rule = excluded.rule, decided_ts = excluded.decided_ts"
}

statement! {
    /// Forgets why events were refused.
    DeleteDecisions {
        event_id: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM decisions WHERE event_id = ANY(", ")"
}

statement! {
    /// Keeps alarms.
    InsertStateResets {
        room_nid: Array<Int8> => Vec<i64>,
        event_nid: Array<Int8> => Vec<i64>,
        lost_nid: Array<Int8> => Vec<i64>,
        now_nid: Array<Nullable<Int8>> => Vec<Option<i64>>,
        latest_nids: Array<Text> => Vec<String>,
        detected_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO state_resets (room_nid, event_nid, lost_nid, now_nid, latest_nids, detected_ts) \
     SELECT room_nid, event_nid, lost_nid, now_nid, latest_nids::bigint[], detected_ts FROM unnest(",
    ") AS v(room_nid, event_nid, lost_nid, now_nid, latest_nids, detected_ts)"
}
