//! Reading partitions.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

use super::{Shared, TopicLog, partition_at};
use crate::{BackendReader, LogError, PARTITIONS, RawEntry, StartAt};

/// How partitions tell a reader that they have something for it.
pub(super) struct Wake {
    /// A bit for each partition with unread records; written under the partition's lock.
    ready: AtomicU64,
    notify: Notify,
}

const _: () = assert!(PARTITIONS == u64::BITS, "one bit for each partition");

impl Wake {
    pub(super) fn ready(&self, partition: u32) {
        let before = self.ready.fetch_or(1 << partition, Ordering::AcqRel);
        // A reader with any bit set is awake, or has a permit waiting for it.
        if before == 0 {
            self.notify.notify_one();
        }
    }

    pub(super) fn drained(&self, partition: u32) {
        self.ready.fetch_and(!(1 << partition), Ordering::AcqRel);
    }

    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }
}

pub(super) struct MemoryReader {
    shared: Arc<Shared>,
    topic: TopicLog,
    wake: Arc<Wake>,
    assigned: Vec<u32>,
    /// Partition to begin with next time, so that a busy one cannot keep the others out.
    turn: u32,
}

impl MemoryReader {
    pub(super) fn open(shared: &Arc<Shared>, topic: TopicLog) -> Self {
        let wake = Arc::new(Wake { ready: AtomicU64::new(0), notify: Notify::new() });
        let mut readers = shared.readers.lock();
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(&wake));
        drop(readers);
        Self { shared: Arc::clone(shared), topic, wake, assigned: Vec::new(), turn: 0 }
    }

    /// Takes what is there, without waiting.
    fn take(&mut self, max: usize) -> Vec<RawEntry> {
        let mut batch = Vec::new();
        let ready = self.wake.ready.load(Ordering::Acquire);
        for step in 0..PARTITIONS {
            let partition = (self.turn + step) % PARTITIONS;
            if ready & (1 << partition) == 0 {
                continue;
            }
            if batch.len() == max {
                self.turn = partition;
                break;
            }
            if let Ok(log) = partition_at(&self.topic, partition) {
                let before = batch.len();
                log.read(&self.wake, max - before, &mut batch);
                self.turn = (partition + 1) % PARTITIONS;
            }
        }
        batch
    }
}

#[async_trait::async_trait]
impl BackendReader for MemoryReader {
    async fn assign(&mut self, partition: u32, start: StartAt) -> Result<(), LogError> {
        self.shared.check_open()?;
        partition_at(&self.topic, partition)?.attach(&self.wake, start);
        if !self.assigned.contains(&partition) {
            self.assigned.push(partition);
        }
        Ok(())
    }

    async fn unassign(&mut self, partition: u32) -> Result<(), LogError> {
        partition_at(&self.topic, partition)?.detach(&self.wake);
        self.wake.drained(partition);
        self.assigned.retain(|assigned| *assigned != partition);
        Ok(())
    }

    async fn next_batch(&mut self, max: usize) -> Result<Vec<RawEntry>, LogError> {
        loop {
            self.shared.check_open()?;
            // From here to the return nothing waits: a call dropped while it waits has taken nothing.
            let batch = self.take(max.max(1));
            if !batch.is_empty() {
                return Ok(batch);
            }
            self.wake.notify.notified().await;
        }
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        for partition in &self.assigned {
            if let Ok(log) = partition_at(&self.topic, *partition) {
                log.detach(&self.wake);
            }
        }
    }
}
