//! Works off the queues of inputs in turns: live traffic, bulk, and one by one what a batch was refused for.

use std::time::{Duration, Instant};

use plexus_proto::input::v1::InputLog;
use tracing::{debug, warn};

use super::{Engine, EngineError, MAX_ATTEMPTS, Step};
use crate::{
    error_chain::chain,
    metrics as names,
    worker::intake::{BATCH_RECORDS, Input},
};

/// Events after which a batch ends: one of live traffic, for which a record may hold 500, and one of the bulk lane, for
/// which whatever comes meanwhile waits.
const LIVE_EVENTS: usize = 512;
const BULK_EVENTS: usize = 32;

impl Engine {
    /// Whether the bulk lane goes on with something that goes in turn.
    fn has_bulk(&self) -> bool {
        !self.bulk_lane.is_busy() && self.intake.pending_bulk.front().is_some_and(|input| !input.off_turn)
    }

    /// Whether there is something to be processed in turn.
    pub(super) fn has_work(&self) -> bool {
        !self.intake.pending.is_empty() || self.has_bulk()
    }

    /// Works off what was read. After an error the rest stays, to be tried again.
    ///
    /// Bulk has batches of its own. While live traffic waits, it gets at most a quarter of the time: after a batch of it,
    /// live batches go first for three times as long as it took.
    pub(super) async fn work_off(&mut self) -> Result<(), EngineError> {
        while self.has_work() {
            let live_waits = !self.intake.pending.is_empty();
            let bulk_waits = self.has_bulk();
            let bulk = bulk_waits && (!live_waits || self.bulk_cooldown.is_zero());
            if !live_waits {
                self.bulk_cooldown = Duration::ZERO;
            }
            self.at_work = if bulk { InputLog::RoomBulk } else { InputLog::Room };
            let queue = self.intake.queue(self.at_work);
            let count = if bulk {
                batch_count(queue.iter().take_while(|input| !input.off_turn), BULK_EVENTS)
            } else {
                batch_count(queue.iter(), LIVE_EVENTS)
            };
            let count = count.min(self.pace.records());
            let started = Instant::now();
            let step = self.process_first(count, None).await?;
            if bulk {
                self.bulk_cooldown = started.elapsed() * 3;
            } else {
                self.bulk_cooldown = self.bulk_cooldown.saturating_sub(started.elapsed());
                self.last_live = Instant::now();
            }
            match step {
                Step::Committed(count) => {
                    self.intake.queue(self.at_work).drain(..count);
                }
                Step::Stale => {
                    self.reconcile().await?;
                    return Ok(());
                }
                Step::Overran(index) => self.leave_to_low_lane(index),
                Step::AtFault(failure) => {
                    debug!(reason = %chain(&failure), records = count, "a batch was refused; trying its records one by one");
                    if !self.one_by_one(count).await? {
                        return Ok(());
                    }
                }
            }
            // After bulk, whatever has arrived of live traffic goes first.
            if self.publisher.is_full() || bulk {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Processes records on their own, so that one that is at fault stops nobody else; `false` if the partitions have
    /// to be looked at again.
    async fn one_by_one(&mut self, count: usize) -> Result<bool, EngineError> {
        for _ in 0..count {
            let mut poison = None;
            loop {
                match self.process_first(1, poison.as_deref()).await? {
                    Step::Committed(_) => break,
                    Step::Overran(index) => self.leave_to_low_lane(index),
                    Step::Stale => {
                        self.reconcile().await?;
                        return Ok(false);
                    }
                    Step::AtFault(failure) => {
                        // Another owner may have done the same before us: then it is we who are at fault.
                        if self.reconcile().await? {
                            return Ok(false);
                        }
                        // Not even setting it aside worked: then it is not the record.
                        if poison.is_some() {
                            return Err(failure.into());
                        }
                        let Some(input) = self.intake.queue(self.at_work).front_mut() else {
                            return Ok(false);
                        };
                        input.attempts = input.attempts.saturating_add(1);
                        if input.attempts >= MAX_ATTEMPTS {
                            poison = Some(chain(&failure));
                        }
                    }
                }
            }
            self.intake.queue(self.at_work).pop_front();
        }
        Ok(true)
    }

    /// A record has cost more than the budget of live traffic: it is deferred when its batch is begun again.
    fn leave_to_low_lane(&mut self, index: usize) {
        let Some(input) = self.intake.queue(self.at_work).get_mut(index) else { return };
        input.overran = true;
        warn!(
            partition = input.partition,
            offset = input.offset,
            room.id = input.room_id().unwrap_or_default(),
            "a record costs much; its room is left to the low-priority lane"
        );
        metrics::counter!(names::OVERRUNS, "lane" => "live").increment(1);
    }

    /// Applies and commits the first `count` records that wait. `poison`: the only one has failed for this reason so
    /// often that it goes to `dead_letters`.
    async fn process_first(&mut self, count: usize, poison: Option<&str>) -> Result<Step, EngineError> {
        let mut queue = std::mem::take(self.intake.queue(self.at_work));
        let inputs = queue.make_contiguous();
        let step = self.process(&inputs[..count.min(inputs.len())], poison, None).await;
        *self.intake.queue(self.at_work) = queue;
        step
    }
}

/// Records that make a batch: as few as hold so many events, at least one if there are any.
pub(in crate::worker) fn batch_count<'a>(inputs: impl Iterator<Item = &'a Input>, most: usize) -> usize {
    let mut events = 0;
    let fitting = inputs.take(BATCH_RECORDS).take_while(|input| {
        let fits = events < most;
        events += input.events();
        fits
    });
    fitting.count()
}
