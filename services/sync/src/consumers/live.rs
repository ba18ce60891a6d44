//! `Ephemeral` into the view: who types.
//!
//! It is lossy by design: it is read from its end on, nothing fills its holes, and a failure only means that for a while
//! nobody seems to type.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Weak},
    time::Duration,
};

use plexus_log::{Entry, Ephemeral as Topic, Log, LogError, PARTITIONS, Reader, StartAt};
use plexus_proto::log::v1::{Ephemeral, ephemeral::Body};
use plexus_service::Shutdown;
use ruma::{OwnedRoomId, UserId};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, warn};

use crate::{
    clock::now_ms,
    limits, metrics as names,
    positions::Positions,
    view::{Room, View},
};

/// How often ends of typing are looked for.
const TICK: Duration = Duration::from_millis(250);
/// How often what is over is forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// A record that is older than this tells nothing any more, in milliseconds; and no writer's clock is so far ahead.
const MAX_AGE: i64 = 10 * 60 * 1_000;

/// Applies what is ephemeral.
pub(crate) struct Live {
    log: Log,
    view: Arc<View>,
    positions: Arc<Positions>,
    shutdown: Shutdown,
    /// When somebody stops typing, and where.
    ends: BinaryHeap<Reverse<(i64, usize)>>,
    rooms: Slots,
}

/// Rooms that the ends name. (Rooms themselves have no order.)
#[derive(Default)]
struct Slots {
    rooms: Vec<Weak<Room>>,
    free: Vec<usize>,
}

impl Slots {
    fn put(&mut self, room: &Arc<Room>) -> usize {
        match self.free.pop() {
            Some(index) => {
                if let Some(slot) = self.rooms.get_mut(index) {
                    *slot = Arc::downgrade(room);
                }
                index
            }
            None => {
                self.rooms.push(Arc::downgrade(room));
                self.rooms.len() - 1
            }
        }
    }

    fn take(&mut self, index: usize) -> Option<Arc<Room>> {
        self.free.push(index);
        self.rooms.get_mut(index).map(std::mem::take)?.upgrade()
    }
}

impl Live {
    pub(crate) fn new(log: Log, view: Arc<View>, positions: Arc<Positions>, shutdown: Shutdown) -> Self {
        Self { log, view, positions, shutdown, ends: BinaryHeap::new(), rooms: Slots::default() }
    }

    /// Runs until shutdown.
    pub(crate) async fn run(mut self) {
        let mut pause = limits::BACKOFF.0;
        loop {
            match self.follow().await {
                Ok(()) | Err(LogError::Closed) => return,
                Err(failure) => warn!(error = %failure, "ephemeral log cannot be read, trying again"),
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.shutdown.requested() => return,
            }
            pause = (pause * 2).min(limits::BACKOFF.1);
        }
    }

    /// Reads from the end on; returns at shutdown.
    async fn follow(&mut self) -> Result<(), LogError> {
        let shutdown = self.shutdown.clone();
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = shutdown.requested() => return Ok(()),
        };
        let mut reader = opened?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                batch = reader.next_batch(limits::BATCH) => self.take(batch?),
                _ = tick.tick() => self.wake_ends(now_ms()),
                _ = sweep.tick() => self.view.sweep_typing(now_ms()),
            }
        }
    }

    async fn open(&self) -> Result<Reader<Topic>, LogError> {
        let mut reader = self.log.reader::<Topic>()?;
        let mut anew = false;
        for partition in 0..PARTITIONS {
            reader.assign(partition, StartAt::End).await?;
            let end = self.log.watermarks::<Topic>(partition).await?.high;
            let index = index(partition);
            // A log that ends before where we were is another one.
            anew |= end < self.positions.live.get(index);
            self.positions.live.set(index, end);
        }
        if anew {
            self.view.forget_typing();
        }
        Ok(reader)
    }

    fn take(&mut self, batch: Vec<Entry<Ephemeral>>) {
        let now = now_ms();
        for entry in batch {
            let position = entry.offset + 1;
            match entry.record {
                Ok(record) => self.apply(record, position, now),
                Err(failure) => {
                    debug!(partition = entry.partition, error = %failure, "ephemeral record cannot be read");
                    metrics::counter!(names::POISONED, "topic" => "Ephemeral").increment(1);
                }
            }
            // After it was applied: whoever is woken finds it.
            self.positions.live.set(index(entry.partition), position);
        }
    }

    fn apply(&mut self, record: Ephemeral, position: u64, now: i64) {
        let Some(Body::Typing(typing)) = record.body else {
            return;
        };
        let (Ok(room_id), Ok(user_id)) =
            (OwnedRoomId::try_from(record.room_id), <&UserId>::try_from(typing.user_id.as_str()))
        else {
            return;
        };
        if (record.produced_ts - now).abs() > MAX_AGE {
            return;
        }
        let until = record.produced_ts.saturating_add(i64::from(typing.timeout_ms));
        let until = (until > record.produced_ts).then_some(until);
        self.view.typing(&room_id).apply(user_id, until, position, now);
        self.view.types_until(until.unwrap_or_default());
        if let Some(room) = self.view.find_room(&room_id) {
            if let Some(until) = until
                && self.ends.len() < limits::TYPING_ENDS
            {
                self.ends.push(Reverse((until, self.rooms.put(&room))));
            }
            self.positions.live.set(room.partition, position);
            room.wake(None);
        }
    }

    fn wake_ends(&mut self, now: i64) {
        while let Some(Reverse((until, _))) = self.ends.peek()
            && *until <= now
        {
            if let Some(Reverse((_, slot))) = self.ends.pop()
                && let Some(room) = self.rooms.take(slot)
            {
                room.wake(None);
            }
        }
    }
}

fn index(partition: u32) -> usize {
    usize::try_from(partition).unwrap_or(usize::MAX)
}
