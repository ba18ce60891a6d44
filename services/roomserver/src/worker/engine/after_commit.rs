//! Carries out what follows the commit of a batch: caches, output records, verdicts, alarms.

use std::collections::HashMap;

use plexus_proto::input::v1::{InputLog, verdict::Outcome as Decision};
use ruma::UserId;
use tracing::warn;

use super::{Engine, now_ms};
use crate::{
    metrics as names,
    rooms::StateResetRow,
    worker::{
        input_batch::Done, intake::Input, partition::INPUT_LOGS, publisher::Lane, verdict_board::Decided,
    },
};

impl Engine {
    /// Takes over what a batch has come to, publishes its records and answers its inputs.
    pub(super) fn after_commit(&mut self, inputs: &[Input], done: Done) {
        measure(inputs, &done.decided);
        raise_alarms(done.batch.rooms.state_resets());
        metrics::counter!(names::DEAD_LETTERS).increment(done.dead_letters);
        for room in done.batch.facts.changed("m.room.guest_access") {
            self.guest_access.note(room);
        }
        if done.batch.rooms.purges() {
            self.app.purged.notify_one();
        }
        if done.batch.users.begins_jobs() {
            self.app.member_jobs.notify_one();
        }
        self.rooms.commit(done.rooms);
        for id in &done.signed_out {
            if let Ok(id) = <&UserId>::try_from(id.as_str()) {
                self.app.sessions.evict_user(id);
                self.app.session_leases.end(plexus_log::partition_of(id.as_str()), id.as_str());
            }
        }
        for ((log, partition), records) in done.outputs {
            self.publisher.push(Lane { log, partition }, records);
        }
        for (room_id, (partition, inputs)) in &done.deferring {
            self.deferred.add(*partition, room_id, inputs.len());
            self.app.verdicts.defer(*partition, inputs);
        }
        for (room_id, count) in &done.worked_off {
            self.deferred.remove(room_id, *count);
        }
        for (log, partition, decided) in done.decided_late {
            self.app.verdicts.publish_deferred(log, partition, vec![decided]);
        }
        let mut decided = done.decided;
        for (number, after) in done.touched {
            let verdicts = &self.app.verdicts;
            for log in INPUT_LOGS {
                let lane = after.lane(log);
                if let Some(decided) = decided.remove(&(log, number)) {
                    verdicts.publish(log, number, decided, u64::try_from(lane.stored).unwrap_or(0));
                }
            }
            self.partitions.insert(number, after);
        }
    }
}

/// Makes known that keys of states changed although no event says so. What is known of it is in `state_resets`.
fn raise_alarms(resets: &[StateResetRow]) {
    for reset in resets {
        warn!(
            room.nid = reset.room_nid.0,
            event.nid = reset.event_nid.0,
            lost.nid = reset.lost_nid.0,
            "the state of a room lost an entry that nobody contested"
        );
    }
    metrics::counter!(names::STATE_RESETS).increment(u64::try_from(resets.len()).unwrap_or(0));
}

/// Records the size, the lag and the verdicts of a batch.
#[expect(clippy::cast_precision_loss, reason = "measurements are floats")]
pub(in crate::worker) fn measure(inputs: &[Input], decided: &HashMap<(InputLog, u32), Vec<Decided>>) {
    metrics::histogram!(names::BATCH_SIZE).record(inputs.len() as f64);
    let now = now_ms();
    if let Some(oldest) = inputs.iter().map(|input| input.produced_ts).filter(|ts| *ts > 0).min() {
        metrics::histogram!(names::INPUT_LAG).record(now.saturating_sub(oldest).max(0) as f64 / 1000.0);
    }
    let (mut accepted, mut rejected) = (0, 0);
    for verdict in decided.values().flatten().map(|decided| &decided.verdict) {
        match verdict.outcome {
            Some(Decision::Accepted(_)) => accepted += 1,
            Some(Decision::Rejected(_) | Decision::Parked(_) | Decision::Unknown(_)) | None => rejected += 1,
        }
    }
    metrics::counter!(names::INPUTS, "outcome" => "accepted").increment(accepted);
    metrics::counter!(names::INPUTS, "outcome" => "rejected").increment(rejected);
}
