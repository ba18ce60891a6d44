//! Turns of one user at what is expensive: so many at a time, in the order in which they were asked for.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::MatrixError;

/// Parts of the map, each with a lock of its own.
const SHARDS: usize = 64;
/// Lookups in a part after which queues without anybody are dropped.
const LOOKUPS_BETWEEN_PRUNES: u32 = 256;
/// How long a request waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The queues, by a hash of whoever has one.
#[derive(Debug)]
pub(crate) struct Turns {
    at_once: usize,
    waiting: usize,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    queues: HashMap<u64, Arc<Queue>>,
    lookups: u32,
}

#[derive(Debug)]
struct Queue {
    places: Arc<Semaphore>,
    /// Those who have a turn, and those who wait.
    present: AtomicUsize,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _present: Present,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Present(Arc<Queue>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turns {
    pub(crate) fn new(at_once: usize, waiting: usize) -> Self {
        Self { at_once, waiting, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Waits for a turn; refuses if too many wait already, or if it takes too long.
    pub(crate) async fn take(&self, holder: u64) -> Result<Turn, MatrixError> {
        let queue = self.queue(holder);
        let most = self.at_once.saturating_add(self.waiting);
        let enter = |present: usize| (present < most).then_some(present + 1);
        if queue.present.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_err() {
            return Err(MatrixError::limit_exceeded(Duration::from_secs(1)));
        }
        let places = Arc::clone(&queue.places);
        let present = Present(queue);
        match timeout(LONGEST_WAIT, places.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _present: present, _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(MatrixError::limit_exceeded(Duration::from_secs(5))),
        }
    }

    fn queue(&self, holder: u64) -> Arc<Queue> {
        let [lowest, ..] = holder.to_le_bytes();
        let shard = &self.shards[usize::from(lowest) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.lookups += 1;
        if shard.lookups >= LOOKUPS_BETWEEN_PRUNES {
            shard.lookups = 0;
            shard.queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        }
        let new = || Queue { places: Arc::new(Semaphore::new(self.at_once)), present: AtomicUsize::new(0) };
        Arc::clone(shard.queues.entry(holder).or_insert_with(|| Arc::new(new())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_order_and_queues_have_an_end() {
        let turns = Arc::new(Turns::new(2, 3));
        let held = (turns.take(1).await.unwrap(), turns.take(1).await.unwrap());
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for number in 0..3 {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let turn = turns.take(1).await.unwrap();
                order.lock().unwrap().push(number);
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        assert!(turns.take(1).await.unwrap_err().is("M_LIMIT_EXCEEDED"));
        // Others are not concerned.
        drop(turns.take(2).await.unwrap());
        drop(held);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let turns = Turns::new(1, 1);
        let held = turns.take(1).await.unwrap();
        assert!(turns.take(1).await.unwrap_err().is("M_LIMIT_EXCEEDED"));
        drop(held);
        drop(turns.take(1).await.unwrap());
        for holder in 0..100_000 {
            drop(turns.take(holder).await.unwrap());
        }
        let known: usize = turns.shards.iter().map(|shard| shard.lock().unwrap().queues.len()).sum();
        assert!(known <= SHARDS * LOOKUPS_BETWEEN_PRUNES as usize, "{known}");
    }
}
