//! The logs inside one process: a bounded buffer with back-pressure, not a durable queue.

use std::sync::Arc;

use crate::{
    Backend, BackendReader, Log, LogError, Offset, OwnershipEvent, RawRecord, TopicSpec, Watermarks,
};

/// How much a partition of an in-process topic may hold.
#[derive(Debug, Clone, Copy)]
pub struct MemoryConfig {
    /// Records a partition keeps before the oldest go, or, where a reader has yet to read them, before writers wait.
    pub records_per_partition: usize,
    /// How long an append waits for room, before it fails with [`LogError::TimedOut`].
    pub append_timeout: std::time::Duration,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { records_per_partition: 4096, append_timeout: std::time::Duration::from_secs(30) }
    }
}

/// Opens logs that live in this process.
pub fn open(config: MemoryConfig) -> Log {
    Log::new(Arc::new(MemoryLog { config }))
}

struct MemoryLog {
    #[expect(dead_code, reason = "skeleton")]
    config: MemoryConfig,
}

#[async_trait::async_trait]
impl Backend for MemoryLog {
    async fn create_topics(&self, _topics: &[TopicSpec]) -> Result<(), LogError> {
        unimplemented!()
    }
    async fn append(
        &self,
        _topic: TopicSpec,
        _partition: u32,
        _record: RawRecord,
    ) -> Result<Offset, LogError> {
        unimplemented!()
    }
    async fn watermarks(&self, _topic: TopicSpec, _partition: u32) -> Result<Watermarks, LogError> {
        unimplemented!()
    }
    fn reader(&self, _topic: TopicSpec) -> Result<Box<dyn BackendReader>, LogError> {
        unimplemented!()
    }
    fn join_group(
        &self,
        _topic: TopicSpec,
        _group: &str,
    ) -> Result<tokio::sync::mpsc::Receiver<OwnershipEvent>, LogError> {
        unimplemented!()
    }
    async fn close(&self) {
        unimplemented!()
    }
}
