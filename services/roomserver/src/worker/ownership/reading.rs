//! Starts reading the input logs of a partition, and checks that they are the ones it was read from before.

use plexus_log::{InputRoom, InputRoomBulk, InputUser, Log, LogError, StartAt, Watermarks};
use tracing::warn;

use crate::worker::{
    engine::{Checked, Engine, EngineError},
    intake::Input,
    partition::{self, Check, INPUT_LOGS, Partition},
};

impl Engine {
    /// After a failure that changed nothing: what was read and not committed is still to be done.
    pub(super) fn keep_reading(&mut self, number: u32, mut taken: Partition) {
        let verdicts = &self.app.verdicts;
        if let Some(known) = self.partitions.get(&number) {
            for log in INPUT_LOGS {
                let known = known.lane(log);
                let (read, check) = (known.read, known.check.clone());
                let lane = taken.lane_mut(log);
                (lane.read, lane.check) = (read, check);
            }
        }
        verdicts.gain(number, taken.epoch_number());
        self.app.sessions.hold_partition(number, None);
        self.partitions.insert(number, taken);
    }

    /// Starts reading a partition where the database says, if the logs are still those it speaks of. Returns how many of
    /// them are not.
    pub(super) async fn start_reading(
        &mut self,
        number: u32,
        mut taken: Partition,
    ) -> Result<usize, EngineError> {
        self.rooms.drop_partition(number);
        let marks = watermarks(&self.app.log, number).await?;
        let mut anew = 0;
        for (log, marks) in INPUT_LOGS.into_iter().zip(marks) {
            let start = start_at(taken.lane_mut(log), marks);
            anew += usize::from(start == StartAt::Oldest);
            self.intake.assign(log, number, start).await?;
        }
        let verdicts = &self.app.verdicts;
        verdicts.gain(number, taken.epoch_number());
        for log in INPUT_LOGS {
            let lane = taken.lane(log);
            if lane.check.is_none() {
                verdicts.set_position(log, number, lane.read);
            }
        }
        self.app.sessions.hold_partition(number, None);
        self.partitions.insert(number, taken);
        Ok(anew)
    }

    /// Looks at a record before it is processed: whether its partition is ours, and whether it only shows that the log
    /// is still the one it was.
    pub(in crate::worker) async fn check(&mut self, input: &Input) -> Result<Checked, EngineError> {
        let Some(partition) = self.partitions.get_mut(&input.partition) else { return Ok(Checked::Skip) };
        let lane = partition.lane_mut(input.log);
        let (log, number) = (input.log, input.partition);
        let Some(Check { offset, input_id }) = lane.check.take() else {
            if input.offset < lane.read {
                return Ok(Checked::Skip);
            }
            if input.offset > lane.read {
                warn!(
                    partition = number,
                    log = log.as_str_name(),
                    from = lane.read,
                    to = input.offset,
                    "records of the input log have gone before they were read"
                );
            }
            lane.read = input.offset + 1;
            return Ok(Checked::Process);
        };
        if input.offset == offset && input.input_id == input_id {
            self.app.verdicts.set_position(log, number, lane.read);
            return Ok(Checked::Skip);
        }
        if input.offset > offset {
            // The record has expired since; what follows is to be processed, and the fence tells if that was wrong.
            self.app.verdicts.set_position(log, number, input.offset);
            lane.read = input.offset + 1;
            return Ok(Checked::Process);
        }
        warn!(
            partition = number,
            log = log.as_str_name(),
            "the input log is another one now; reading it from its beginning"
        );
        lane.read = 0;
        self.app.verdicts.set_position(log, number, 0);
        self.intake.assign(log, number, StartAt::Oldest).await?;
        Ok(Checked::Restarted)
    }
}

/// In the order of [`INPUT_LOGS`].
async fn watermarks(log: &Log, number: u32) -> Result<[Watermarks; 3], LogError> {
    let (room, user, bulk) = futures::try_join!(
        log.watermarks::<InputRoom>(number),
        log.watermarks::<InputUser>(number),
        log.watermarks::<InputRoomBulk>(number)
    )?;
    Ok([room, user, bulk])
}

/// Decides where reading starts. The log may have been made anew since: then its offsets mean something else, and
/// everything in it is read. Nothing is applied twice, since the verdicts on all inputs are kept.
fn start_at(lane: &mut partition::Lane, marks: Watermarks) -> StartAt {
    if lane.read > marks.high {
        lane.read = marks.low;
        return StartAt::Oldest;
    }
    match lane.fingerprint() {
        Some(check) if check.offset >= marks.low => {
            let start = StartAt::Offset(check.offset);
            lane.check = Some(check);
            start
        }
        Some(_) | None => StartAt::Offset(lane.read),
    }
}
