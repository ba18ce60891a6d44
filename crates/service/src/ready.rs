//! Readiness: whether a process can do its work, and what it still waits for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{metrics, run::Shutdown};

/// How often a part is asked that cannot tell by itself: until it is ready for the first time, and from then on.
const ASK_AT_START: Duration = Duration::from_millis(50);
const ASK_LATER: Duration = Duration::from_secs(1);

/// What a process waits for before it is ready; cheap to clone.
#[derive(Debug, Clone)]
pub struct Readiness {
    parts: Arc<watch::Sender<BTreeMap<&'static str, bool>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { parts: Arc::new(watch::Sender::new(BTreeMap::new())) }
    }
}

impl Readiness {
    /// Makes one without parts: it is ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part that is not ready yet.
    #[must_use]
    pub fn part(&self, name: &'static str) -> Part {
        let part = Part { name, parts: Arc::clone(&self.parts) };
        part.set(false);
        part
    }

    /// Names of the parts that are not ready; empty means ready.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.parts.borrow().iter().filter(|(_, ready)| !**ready).map(|(name, _)| *name).collect()
    }

    /// Whether every part is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.parts.borrow().values().all(|ready| *ready)
    }

    /// Completes once every part is ready.
    pub async fn ready(&self) {
        let mut parts = self.parts.subscribe();
        // The sender lives as long as `self`, so this ends only when the condition holds.
        drop(parts.wait_for(|parts| parts.values().all(|ready| *ready)).await);
    }

    /// Completes when readiness has become other than `known`; returns what it is now.
    pub async fn changed_from(&self, known: bool) -> bool {
        let mut parts = self.parts.subscribe();
        drop(parts.wait_for(|parts| parts.values().all(|ready| *ready) != known).await);
        self.is_ready()
    }
}

/// One part of a process, which tells whether it is ready.
#[derive(Debug, Clone)]
pub struct Part {
    name: &'static str,
    parts: Arc<watch::Sender<BTreeMap<&'static str, bool>>>,
}

impl Part {
    /// Tells whether the part can do its work.
    pub fn set(&self, ready: bool) {
        self.parts.send_if_modified(|parts| parts.insert(self.name, ready) != Some(ready));
        let all = self.parts.borrow().values().all(|ready| *ready);
        ::metrics::gauge!(metrics::READY).set(if all { 1.0 } else { 0.0 });
    }

    /// Asks `probe` again and again whether the part can do its work, until shutdown.
    pub fn follow<F, A>(self, shutdown: &Shutdown, probe: F)
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = bool> + Send,
    {
        let stopping = shutdown.clone();
        let ask = async move {
            let mut pause = ASK_AT_START;
            loop {
                let ready = probe().await;
                self.set(ready);
                if ready {
                    pause = ASK_LATER;
                }
                tokio::time::sleep(pause).await;
            }
        };
        shutdown.spawn(async move {
            tokio::select! {
                () = stopping.requested() => {}
                () = ask => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_ready_when_all_of_its_parts_are() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let (one, two) = (readiness.part("one"), readiness.part("two"));
        one.set(true);
        assert_eq!(readiness.missing(), ["two"]);
        two.set(true);
        readiness.ready().await;
        two.set(false);
        assert!(!readiness.changed_from(true).await);
    }
}
