//! Telling tasks to stop.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Tells tasks to stop, and waits for them.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    failure: Arc<OnceLock<String>>,
}

impl Shutdown {
    /// Makes one that nothing has stopped yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that [`Shutdown::finish`] waits for.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Completes when it is time to stop.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Whether it is time to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Tells all tasks to stop.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Tells all tasks to stop because of a failure that the process cannot work on with; `main` then exits non-zero.
    pub fn fail(&self, why: impl Into<String>) {
        // The first failure is the cause; later ones follow from it.
        drop(self.failure.set(why.into()));
        self.token.cancel();
    }

    /// The failure that stopped it, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Tells all tasks to stop and waits for them, at most for `limit`; returns whether all have ended.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }
}
