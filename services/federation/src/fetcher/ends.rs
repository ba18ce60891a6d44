//! Tells who waits that the fetch for a parked event has ended, as far as both are in one process.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use ruma::{EventId, OwnedEventId, OwnedServerName, ServerName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Events that are watched, and for how long.
const WATCHED: u64 = 50_000;
const REMEMBER: Duration = Duration::from_secs(60);

/// Servers that are counted, and sagas of which one is asked at the same time.
const SERVERS: u64 = 20_000;
const AT_ONCE: usize = 4;

/// The events whose fetches are watched, and the servers that are asked. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fetches {
    watched: Cache<OwnedEventId, Arc<watch::Sender<bool>>>,
    turns: Cache<OwnedServerName, Arc<Semaphore>>,
}

/// The end of a fetch.
pub(crate) struct Ends(watch::Receiver<bool>);

impl Default for Fetches {
    fn default() -> Self {
        Self {
            watched: Cache::builder().max_capacity(WATCHED).time_to_live(REMEMBER).build(),
            turns: Cache::builder().max_capacity(SERVERS).time_to_idle(10 * REMEMBER).build(),
        }
    }
}

impl Fetches {
    /// Watches an event, from before it is parked.
    pub(crate) fn watch(&self, event_id: &EventId) -> Ends {
        let sender = self.watched.get_with(event_id.to_owned(), || Arc::new(watch::Sender::new(false)));
        Ends(sender.subscribe())
    }

    /// Says that nothing is being fetched for an event any more.
    pub(crate) fn end(&self, event_id: &EventId) {
        if let Some(sender) = self.watched.get(event_id) {
            sender.send_replace(true);
            self.watched.invalidate(event_id);
        }
    }

    /// Waits until a server may be asked on behalf of one more room. A server that answers slowly thus holds up few.
    pub(super) async fn turn(&self, server: &ServerName) -> Option<OwnedSemaphorePermit> {
        let turns = self.turns.get_with(server.to_owned(), || Arc::new(Semaphore::new(AT_ONCE)));
        // It is never closed.
        turns.acquire_owned().await.ok()
    }
}

impl Ends {
    /// Completes when the fetch has ended, or is not watched any more.
    pub(crate) async fn reached(mut self) {
        self.0.wait_for(|ended| *ended).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use ruma::event_id;

    use super::*;

    #[tokio::test]
    async fn an_end_is_told_to_whoever_watches() {
        let fetches = Fetches::default();
        let (a, b) = (event_id!("$a"), event_id!("$b"));
        fetches.end(a);
        let (first, second, other) = (fetches.watch(a), fetches.watch(a), fetches.watch(b));
        fetches.end(a);
        assert!(first.reached().now_or_never().is_some());
        assert!(second.reached().now_or_never().is_some());
        assert!(other.reached().now_or_never().is_none());
    }
}
