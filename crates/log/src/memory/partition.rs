//! One partition: a ring of records and the positions of those who read it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Shared, reader::Wake};
use crate::{LogError, Offset, RawEntry, RawRecord, StartAt, Watermarks, entry::headers_size};

/// Bytes a partition may hold. One record always fits, whatever its size.
const PARTITION_BYTES: usize = 8 << 20;

/// Bytes that all partitions together keep of records that have been read.
const KEPT_BYTES: usize = 32 << 20;

/// Records that a partition keeps of those read even where [`KEPT_BYTES`] are used up: more than the largest batch of
/// a worker, so that a successor can start where the last commit was.
const KEPT_RECORDS: usize = 512;

/// What a record costs beside its bytes.
const RECORD_OVERHEAD: usize = 128;

pub(super) struct Partition {
    index: u32,
    shared: Arc<Shared>,
    ring: Mutex<Ring>,
    /// Told when there may be room.
    freed: Notify,
    /// Makes writers wait in order of arrival; only the first watches `freed`.
    queue: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Ring {
    /// Offset of the first of `records`.
    low: Offset,
    records: VecDeque<RawRecord>,
    bytes: usize,
    cursors: Vec<Cursor>,
}

/// Where a reader is.
struct Cursor {
    next: Offset,
    wake: Arc<Wake>,
}

/// What became of an append.
pub(super) enum Pushed {
    At(Offset),
    /// No room, or others wait already: here it is back.
    Full(RawRecord),
}

impl Partition {
    pub(super) fn new(index: u32, shared: &Arc<Shared>) -> Self {
        Self {
            index,
            shared: Arc::clone(shared),
            ring: Mutex::default(),
            freed: Notify::new(),
            queue: tokio::sync::Mutex::new(()),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Appends a record if there is room and nobody is before it.
    pub(super) fn push(&self, record: RawRecord) -> Pushed {
        if self.waiting.load(Ordering::Acquire) > 0 { Pushed::Full(record) } else { self.try_push(record) }
    }

    /// Appends a record as soon as there is room for it and for those before it. Dropped while waiting, it has not
    /// happened.
    pub(super) async fn push_when_free(&self, mut record: RawRecord) -> Result<Offset, LogError> {
        let _waiting = Waiting::count(&self.waiting);
        let _turn = self.queue.lock().await;
        loop {
            self.shared.check_open()?;
            record = match self.try_push(record) {
                Pushed::At(offset) => return Ok(offset),
                Pushed::Full(record) => record,
            };
            self.freed.notified().await;
        }
    }

    fn try_push(&self, record: RawRecord) -> Pushed {
        let size = size_of(&record);
        let mut ring = self.ring.lock();
        self.make_room(&mut ring, size);
        let full = ring.records.len() >= self.shared.records_per_partition
            || (ring.bytes + size > PARTITION_BYTES && !ring.records.is_empty());
        if full {
            return Pushed::Full(record);
        }
        let offset = ring.high();
        ring.records.push_back(record);
        ring.bytes += size;
        self.shared.bytes.fetch_add(size, Ordering::Relaxed);
        for cursor in &ring.cursors {
            cursor.wake.ready(self.index);
        }
        Pushed::At(offset)
    }

    /// Drops the oldest records that no reader has yet to read, as far as the limits ask for it.
    fn make_room(&self, ring: &mut Ring, size: usize) {
        let unread = ring.cursors.iter().map(|cursor| cursor.next).min().unwrap_or(Offset::MAX);
        while ring.low < unread {
            let over = ring.records.len() >= self.shared.records_per_partition
                || ring.bytes + size > PARTITION_BYTES
                || (ring.records.len() >= KEPT_RECORDS
                    && self.shared.bytes.load(Ordering::Relaxed) + size > KEPT_BYTES);
            if !over {
                break;
            }
            let Some(gone) = ring.records.pop_front() else { break };
            let gone = size_of(&gone);
            ring.low += 1;
            ring.bytes -= gone;
            self.shared.bytes.fetch_sub(gone, Ordering::Relaxed);
        }
    }

    pub(super) fn watermarks(&self) -> Watermarks {
        let ring = self.ring.lock();
        Watermarks { low: ring.low, high: ring.high() }
    }

    /// Puts a reader at a position.
    pub(super) fn attach(&self, wake: &Arc<Wake>, start: StartAt) {
        let mut ring = self.ring.lock();
        let next = match start {
            StartAt::Offset(offset) if (ring.low..=ring.high()).contains(&offset) => offset,
            StartAt::Offset(_) | StartAt::Oldest => ring.low,
            StartAt::End => ring.high(),
        };
        ring.cursors.retain(|cursor| !Arc::ptr_eq(&cursor.wake, wake));
        ring.cursors.push(Cursor { next, wake: Arc::clone(wake) });
        if next < ring.high() {
            wake.ready(self.index);
        }
        drop(ring);
        self.wake_writers();
    }

    pub(super) fn detach(&self, wake: &Arc<Wake>) {
        self.ring.lock().cursors.retain(|cursor| !Arc::ptr_eq(&cursor.wake, wake));
        self.wake_writers();
    }

    /// Moves up to `max` records to `batch`, and the reader's position with them.
    pub(super) fn read(&self, wake: &Arc<Wake>, max: usize, batch: &mut Vec<RawEntry>) {
        let mut ring = self.ring.lock();
        // Under the lock, as in `try_push`: a record that comes after this look sets it again.
        wake.drained(self.index);
        let Ring { low, records, cursors, .. } = &mut *ring;
        let high = *low + records.len() as Offset;
        let Some(cursor) = cursors.iter_mut().find(|cursor| Arc::ptr_eq(&cursor.wake, wake)) else {
            return;
        };
        let skip = usize::try_from(cursor.next.saturating_sub(*low)).unwrap_or(usize::MAX);
        let before = batch.len();
        for (offset, record) in (cursor.next..).zip(records.iter().skip(skip).take(max)) {
            batch.push(RawEntry { partition: self.index, offset, record: record.clone() });
        }
        cursor.next += (batch.len() - before) as Offset;
        if cursor.next < high {
            wake.ready(self.index);
        }
        drop(ring);
        self.wake_writers();
    }

    /// Lets the first of the waiting writers look again.
    pub(super) fn wake_writers(&self) {
        // `notify_one` keeps a permit, so the writer cannot miss it between its look and its wait.
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.freed.notify_one();
        }
    }
}

impl Ring {
    fn high(&self) -> Offset {
        self.low + self.records.len() as Offset
    }
}

fn size_of(record: &RawRecord) -> usize {
    RECORD_OVERHEAD + record.key.len() + record.payload.len() + headers_size(&record.headers)
}

/// Counts a waiting writer for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::AcqRel);
        Self(counter)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
