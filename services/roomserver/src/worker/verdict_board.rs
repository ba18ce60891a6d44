//! Verdict board: partitions of this instance, positions in the input logs, recent verdicts, and the writers that await them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use plexus_log::{Offset, PARTITIONS};
use plexus_proto::input::v1::{InputLog, Verdict, verdict::Outcome};
use tokio::sync::oneshot;

use super::input_batch::partition_column;

/// ID of an input: a UUIDv7.
pub(crate) type InputId = [u8; 16];

/// How long a verdict is remembered for callers who ask late; Postgres answers after that.
const REMEMBER: Duration = Duration::from_secs(30);
/// Verdicts remembered for each partition of each log.
const REMEMBERED: usize = 1024;
/// Bytes of answers in them.
const REMEMBERED_BYTES: usize = 256 * 1024;
/// Waiters of one partition after which those who have gone away are swept out.
const SWEEP_WAITERS: usize = 4096;

/// What the instance knows of the partitions; shared by the worker, which writes it, and the RPCs, which read it.
pub(crate) struct VerdictBoard {
    address: String,
    /// How many shards have heard of the group, and how many there are.
    joined: AtomicUsize,
    shards: AtomicUsize,
    partitions: Vec<Mutex<Partition>>,
}

#[derive(Default)]
struct Partition {
    /// The epoch under which we own it; `None` if we do not.
    epoch: Option<u64>,
    room: Lane,
    user: Lane,
    bulk: Lane,
    /// Inputs that wait for the low-priority lane, wherever the logs are by now.
    deferred: HashSet<InputId>,
}

/// One input log of a partition.
#[derive(Default)]
struct Lane {
    /// Next offset to process; `None` until it is known.
    position: Option<Offset>,
    recent: VecDeque<Recent>,
    /// Bytes of answers in `recent`.
    recent_bytes: usize,
    waiters: HashMap<Offset, Vec<Waiter>>,
}

struct Recent {
    offset: Offset,
    input_id: InputId,
    verdict: Verdict,
    at: Instant,
}

struct Waiter {
    input_id: InputId,
    answer: oneshot::Sender<Option<Verdict>>,
}

/// What the board knows of an input.
pub(crate) enum Lookup {
    /// The partition is not ours.
    NotOwner,
    /// The verdict.
    Known(Verdict),
    /// It was processed, or is of a log that is gone: look in `verdicts` by its ID.
    Past,
    /// It is still to be processed. Answers with the verdict; with `None` as for [`Lookup::Past`]; fails when the
    /// partition is lost.
    Pending(oneshot::Receiver<Option<Verdict>>),
}

/// A verdict to make known.
pub(crate) struct Decided {
    pub(crate) offset: Offset,
    pub(crate) input_id: InputId,
    pub(crate) verdict: Verdict,
}

impl VerdictBoard {
    /// Makes one that owns nothing. `address` is where others reach this instance.
    pub(crate) fn new(address: String) -> Self {
        Self {
            address,
            joined: AtomicUsize::new(0),
            shards: AtomicUsize::new(1),
            partitions: (0..PARTITIONS).map(|_| Mutex::default()).collect(),
        }
    }

    /// The address under which others reach this instance; it is what `partition_state.owner` says.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether the group has told what we own.
    pub(crate) fn has_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed) >= self.shards.load(Ordering::Relaxed)
    }

    /// Whether this instance owns the partition.
    pub(crate) fn owns(&self, partition: u32) -> bool {
        self.epoch(partition).is_some()
    }

    /// The partitions that this instance owns, as the database holds them.
    pub(super) fn owned(&self) -> Vec<i16> {
        (0..PARTITIONS).filter(|partition| self.owns(*partition)).map(partition_column).collect()
    }

    /// The epoch under which this instance owns the partition, if it does.
    pub(crate) fn epoch(&self, partition: u32) -> Option<u64> {
        self.slot(partition)?.lock().epoch
    }

    /// Asks what became of an input.
    pub(crate) fn look_up(&self, log: InputLog, partition: u32, offset: Offset, input_id: InputId) -> Lookup {
        let Some(slot) = self.slot(partition) else { return Lookup::NotOwner };
        let mut slot = slot.lock();
        if slot.epoch.is_none() {
            return Lookup::NotOwner;
        }
        let deferred = slot.deferred.contains(&input_id);
        slot.lane(log).look_up(offset, input_id, deferred)
    }

    fn slot(&self, partition: u32) -> Option<&Mutex<Partition>> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }
}

/// What only the worker does.
impl VerdictBoard {
    /// Sets how many shards have to hear of the group.
    pub(super) fn expect_shards(&self, count: usize) {
        self.shards.store(count, Ordering::Relaxed);
    }

    /// Notes that the group has spoken to a shard.
    pub(super) fn set_joined(&self) {
        self.joined.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a partition is ours. Positions are unknown until [`VerdictBoard::set_position`].
    pub(super) fn gain(&self, partition: u32, epoch: u64) {
        if let Some(slot) = self.slot(partition) {
            slot.lock().epoch = Some(epoch);
        }
    }

    /// Notes that a partition is no longer ours; those who wait are told so.
    pub(super) fn lose(&self, partition: u32) {
        if let Some(slot) = self.slot(partition) {
            *slot.lock() = Partition::default();
        }
    }

    /// Notes where reading goes on. Those who wait for what lies before are sent to the database.
    pub(super) fn set_position(&self, log: InputLog, partition: u32, position: Offset) {
        let Some(slot) = self.slot(partition) else { return };
        let mut slot = slot.lock();
        let Partition { room, user, bulk, deferred, .. } = &mut *slot;
        let lane = match log {
            InputLog::User => user,
            InputLog::RoomBulk => bulk,
            InputLog::Room | InputLog::Unspecified => room,
        };
        lane.position = Some(position);
        // Offsets of another log may lie ahead; what is remembered of them is void.
        lane.recent.retain(|recent| recent.offset < position);
        lane.recent_bytes = lane.recent.iter().map(|recent| payload_bytes(&recent.verdict)).sum();
        lane.release_before(position, deferred);
    }

    /// Makes verdicts known that were committed, in order of offset, and that everything before `position` is done.
    pub(super) fn publish(&self, log: InputLog, partition: u32, decided: Vec<Decided>, position: Offset) {
        let Some(slot) = self.slot(partition) else { return };
        let mut slot = slot.lock();
        slot.lane(log).publish(decided, position);
    }

    /// Notes which inputs of a partition wait for the low-priority lane, in place of what was known.
    pub(super) fn set_deferred(&self, partition: u32, inputs: impl Iterator<Item = InputId>) {
        if let Some(slot) = self.slot(partition) {
            slot.lock().deferred = inputs.collect();
        }
    }

    /// Notes that inputs wait for the low-priority lane. To be called before the log moves behind them.
    pub(super) fn defer(&self, partition: u32, inputs: &[InputId]) {
        if let Some(slot) = self.slot(partition) {
            slot.lock().deferred.extend(inputs);
        }
    }

    /// Makes verdicts known on inputs that were deferred. Whoever asks late finds them in the database.
    pub(super) fn publish_deferred(&self, log: InputLog, partition: u32, decided: Vec<Decided>) {
        let Some(slot) = self.slot(partition) else { return };
        let mut slot = slot.lock();
        for Decided { offset, input_id, verdict } in decided {
            slot.deferred.remove(&input_id);
            slot.lane(log).answer(offset, input_id, &verdict);
        }
    }
}

impl Partition {
    fn lane(&mut self, log: InputLog) -> &mut Lane {
        match log {
            InputLog::User => &mut self.user,
            InputLog::RoomBulk => &mut self.bulk,
            InputLog::Room | InputLog::Unspecified => &mut self.room,
        }
    }
}

impl Lane {
    fn look_up(&mut self, offset: Offset, input_id: InputId, deferred: bool) -> Lookup {
        if !deferred && self.position.is_some_and(|position| offset < position) {
            let found = self.recent.binary_search_by_key(&offset, |recent| recent.offset);
            let found = found.ok().and_then(|index| self.recent.get(index));
            return match found.filter(|recent| recent.input_id == input_id) {
                Some(recent) => Lookup::Known(recent.verdict.clone()),
                None => Lookup::Past,
            };
        }
        if self.waiters.len() >= SWEEP_WAITERS {
            self.waiters.retain(|_, waiters| {
                waiters.retain(|waiter| !waiter.answer.is_closed());
                !waiters.is_empty()
            });
        }
        let (answer, verdict) = oneshot::channel();
        self.waiters.entry(offset).or_default().push(Waiter { input_id, answer });
        Lookup::Pending(verdict)
    }

    fn publish(&mut self, decided: Vec<Decided>, position: Offset) {
        let now = Instant::now();
        for Decided { offset, input_id, verdict } in decided {
            self.answer(offset, input_id, &verdict);
            self.recent_bytes += payload_bytes(&verdict);
            self.recent.push_back(Recent { offset, input_id, verdict, at: now });
        }
        while self.recent.len() > REMEMBERED
            || self.recent_bytes > REMEMBERED_BYTES
            || self.recent.front().is_some_and(|oldest| now.duration_since(oldest.at) > REMEMBER)
        {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes = self.recent_bytes.saturating_sub(payload_bytes(&oldest.verdict));
        }
        self.position = Some(position);
    }

    fn answer(&mut self, offset: Offset, input_id: InputId, verdict: &Verdict) {
        for waiter in self.waiters.remove(&offset).unwrap_or_default() {
            let answer = (waiter.input_id == input_id).then(|| verdict.clone());
            // Whoever waited may have gone away.
            drop(waiter.answer.send(answer));
        }
    }

    fn release_before(&mut self, position: Offset, deferred: &HashSet<InputId>) {
        let past: Vec<Offset> = self.waiters.keys().copied().filter(|offset| *offset < position).collect();
        for offset in past {
            let (waiting, released): (Vec<_>, Vec<_>) = self
                .waiters
                .remove(&offset)
                .unwrap_or_default()
                .into_iter()
                .partition(|waiter| deferred.contains(&waiter.input_id));
            for waiter in released {
                drop(waiter.answer.send(None));
            }
            if !waiting.is_empty() {
                self.waiters.insert(offset, waiting);
            }
        }
    }
}

fn payload_bytes(verdict: &Verdict) -> usize {
    match &verdict.outcome {
        Some(Outcome::Accepted(accepted)) => accepted.payload.len(),
        Some(Outcome::Rejected(_) | Outcome::Parked(_) | Outcome::Unknown(_)) | None => 0,
    }
}
