//! Gives partitions up in order at a shutdown.

use std::time::{Duration, Instant};

use tracing::info;

use super::{Engine, EngineError};
use crate::error_chain::chain;

/// How long no input may come before the worker stops, and how long that may take.
const DRAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));
/// How long publishing may take.
const PUBLISH_DRAIN: Duration = Duration::from_secs(2);

impl Engine {
    /// Works on for a moment, so that whoever has just written gets an answer.
    pub(super) async fn drain(&mut self) -> Result<(), EngineError> {
        let end = Instant::now() + DRAIN.1;
        while Instant::now() < end {
            match tokio::time::timeout(DRAIN.0, self.intake.next()).await {
                Ok(inputs) => {
                    let inputs = inputs?;
                    self.accept(inputs).await?;
                    self.work_off().await?;
                }
                Err(_quiet) => break,
            }
        }
        Ok(())
    }

    /// Gives everything up in order: the next owner need not publish or process anything twice.
    pub(super) async fn shut_down(mut self) {
        self.end_bulk().await;
        let published = tokio::time::timeout(PUBLISH_DRAIN, self.publisher.is_idle()).await;
        if published.is_err() {
            info!("not everything was published; the next owner will do it");
        }
        if let Err(failure) = self.flush().await {
            info!(reason = %chain(&failure), "could not save how far the output logs are");
        }
        let all: Vec<u32> = self.partitions.keys().copied().collect();
        if let Err(failure) = self.release(&all).await {
            info!(reason = %chain(&failure), "could not give up the partitions; the next owner will take them");
        }
        self.publisher.stop();
    }
}
