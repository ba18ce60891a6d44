//! Closes a batch: compares its partitions before and after, and tells what to write and to answer.

use std::collections::{BTreeMap, HashMap, HashSet};

use plexus_proto::input::v1::InputLog;
use ruma::OwnedRoomId;

use super::{BatchMode, InputBatch, partition_column};
use crate::{
    rooms::Room,
    store::batch::{Batch, BulkFence, Fence},
    worker::{
        InputId,
        partition::Partition,
        publisher::{Lane, Record},
        verdict_board::Decided,
    },
};

/// What a batch comes to, before its commit.
pub(in crate::worker) struct Done {
    /// What to write.
    pub(in crate::worker) batch: Batch,
    /// Partitions as they will be.
    pub(in crate::worker) touched: BTreeMap<u32, Partition>,
    /// Rooms as they will be; `None`: there is no such room.
    pub(in crate::worker) rooms: HashMap<OwnedRoomId, Option<Room>>,
    /// Users whose sessions the batch ends.
    pub(in crate::worker) signed_out: HashSet<String>,
    /// What to put out, by partition and in order.
    pub(in crate::worker) outputs: BTreeMap<(InputLog, u32), Vec<Record>>,
    /// What to answer, by partition and in order.
    pub(in crate::worker) decided: HashMap<(InputLog, u32), Vec<Decided>>,
    /// What to answer to inputs that were deferred before.
    pub(in crate::worker) decided_late: Vec<(InputLog, u32, Decided)>,
    /// Inputs that are deferred, by room.
    pub(in crate::worker) deferring: HashMap<String, (u32, Vec<InputId>)>,
    /// Inputs of rooms that were deferred before and are worked off.
    pub(in crate::worker) worked_off: HashMap<String, usize>,
    /// How many inputs were set aside.
    pub(in crate::worker) dead_letters: u64,
}

impl InputBatch<'_> {
    /// Closes the batch: compares what was with what will be. `published` tells how far the output logs are.
    pub(in crate::worker) fn finish(mut self, published: impl Fn(Lane) -> i64) -> Done {
        for (number, after) in &mut self.touched {
            let Some(before) = self.known.partitions.get(number) else { continue };
            if self.mode == BatchMode::BulkLane || after.bulk.stored != before.bulk.stored {
                if self.mode == BatchMode::BulkLane {
                    after.bulk_nid = after.counters.next_nid;
                    after.counters.next_nid = before.counters.next_nid;
                }
                self.batch.bulk_fences.push(BulkFence {
                    partition: partition_column(*number),
                    epoch: before.epoch,
                    offset_before: before.bulk.stored,
                    offset: after.bulk.stored,
                    input_id: after.bulk.stored_input_id.clone(),
                    next_nid: after.bulk_nid,
                });
            }
            if self.mode == BatchMode::BulkLane {
                continue;
            }
            let lane = |log| Lane { log, partition: *number };
            after.room_published = after.room_published.max(published(lane(InputLog::Room)));
            after.user_published = after.user_published.max(published(lane(InputLog::User)));
            self.batch.fences.push(Fence {
                partition: partition_column(*number),
                epoch: before.epoch,
                room_offset_before: before.room.stored,
                user_offset_before: before.user.stored,
                room_offset: after.room.stored,
                room_input_id: after.room.stored_input_id.clone(),
                user_offset: after.user.stored,
                user_input_id: after.user.stored_input_id.clone(),
                next_room_seq: after.counters.next_seq,
                next_user_seq: after.next_user_seq,
                next_nid: after.counters.next_nid,
                room_published_seq: after.room_published,
                user_published_seq: after.user_published,
            });
        }
        let Self { batch, touched, rooms, signed_out, outputs, decided, decided_late, .. } = self;
        let Self { deferring, worked_off, dead_letters, .. } = self;
        Done {
            batch,
            touched,
            rooms,
            signed_out,
            outputs,
            decided,
            decided_late,
            deferring,
            worked_off,
            dead_letters,
        }
    }
}
