//! Defers inputs to the low-priority lane, and applies what it has found out.

use std::sync::Arc;

use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Rejected, Verdict, verdict::Outcome as Decision},
};

use super::{InputBatch, partition_column};
use crate::{
    rooms::{Effort, LoadedData},
    store::batch::DeferredRow,
    worker::{engine::now_ms, intake::Input, low_lane::Prepared},
};

impl InputBatch<'_> {
    /// The room of an input that is left to the low-priority lane: the input has cost too much, or it comes behind one
    /// that has.
    pub(super) fn deferred_room<'i>(&self, input: &'i Input) -> Option<&'i str> {
        let room_id = input.room_id()?;
        let waits = input.overran || self.known.deferred.has(room_id) || self.deferring.contains_key(room_id);
        let is_new = input.deferred.is_none() && !self.verdicts.contains_key(&input.input_id);
        (waits && is_new).then_some(room_id)
    }

    /// Leaves an input to the low-priority lane; returns a verdict if too many wait there.
    pub(super) fn defer(&mut self, input: &Input, room_id: &str) -> Option<Verdict> {
        let of_room = self.deferring.get(room_id).map_or(0, |(_, inputs)| inputs.len());
        let others = self.deferring.values().filter(|(partition, _)| *partition == input.partition);
        let of_partition = others.map(|(_, inputs)| inputs.len()).sum();
        if !self.known.deferred.has_place(input.partition, room_id, (of_room, of_partition)) {
            let message = "too much waits for the room already".to_owned();
            let rejected = Rejected { reason: ErrorReason::LimitExceeded.into(), message };
            let verdict = Verdict { outcome: Some(Decision::Rejected(rejected)) };
            self.keep_verdict(input, input.input_id, &verdict);
            return Some(verdict);
        }
        self.batch.deferred.push(DeferredRow {
            partition: partition_column(input.partition),
            room_id: room_id.to_owned(),
            log: i16::try_from(i32::from(input.log)).unwrap_or(0),
            log_offset: i64::try_from(input.offset).unwrap_or(i64::MAX),
            input_id: input.input_id,
            payload: input.payload.clone(),
            deferred_ts: now_ms(),
        });
        let (_, inputs) =
            self.deferring.entry(room_id.to_owned()).or_insert_with(|| (input.partition, Vec::new()));
        inputs.push(input.input_id);
        // The log moves on behind it, although nobody is answered.
        self.decided.entry((input.log, input.partition)).or_default();
        None
    }

    /// Sets what the inputs may cost.
    pub(in crate::worker) fn set_effort(&mut self, effort: Effort) {
        self.loaded.effort = Arc::new(effort);
    }

    /// Goes on with what was prepared for the same inputs: all of it is loaded and resolved, under these numeric IDs.
    pub(in crate::worker) fn go_on_with(&mut self, prepared: Prepared, partition: u32) {
        let Prepared { mut loaded, first_nid, .. } = prepared;
        loaded.effort = Arc::new(loaded.effort.repeated());
        loaded.forget_others();
        self.loaded = loaded;
        if let Some(known) = self.known.partitions.get(&partition) {
            let mut touched = known.clone();
            touched.counters.next_nid = first_nid;
            self.touched.insert(partition, touched);
        }
    }

    /// Gives up the numeric IDs that were reserved: the partition goes on where it stands without them.
    pub(in crate::worker) fn end_prepared(&mut self, partition: u32) {
        let known = self.known.partitions.get(&partition).map(|known| known.counters.next_nid);
        if let (Some(touched), Some(next_nid)) = (self.touched.get_mut(&partition), known) {
            touched.counters.next_nid = next_nid;
        }
    }

    /// The next numeric ID in a partition.
    pub(in crate::worker) fn next_nid(&self, partition: u32) -> i64 {
        self.touched.get(&partition).map_or(0, |partition| partition.counters.next_nid)
    }

    /// All that was loaded, without what the inputs have changed, and all that was resolved.
    pub(in crate::worker) fn into_pristine(self) -> LoadedData {
        let Self { loaded, pristine, .. } = self;
        pristine.unwrap_or(loaded)
    }
}
