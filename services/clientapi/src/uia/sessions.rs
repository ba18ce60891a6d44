//! The sessions under way: in memory, a bounded number, for a bounded time.

use std::time::Duration;

use moka::{ops::compute::Op, sync::Cache};
use serde_json::{Map, Value};

use super::Stage;
use crate::secrets;

/// How long a session lives without progress.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Bytes of parameters that are remembered over all sessions; beyond it the least used are forgotten.
const MAX_WEIGHT: u64 = 16 * 1024 * 1024;
/// What a session weighs beside its parameters.
const BASE_WEIGHT: u32 = 512;

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Session {
    /// What it authenticates.
    pub(super) operation: String,
    /// Parameters it began with.
    pub(super) params: Map<String, Value>,
    /// Stages completed.
    pub(super) completed: Vec<Stage>,
}

/// The sessions under way. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    open: Cache<String, Session>,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        let weigh = |_: &String, session: &Session| {
            let params = Value::Object(session.params.clone()).to_string().len();
            u32::try_from(params).unwrap_or(u32::MAX).saturating_add(BASE_WEIGHT)
        };
        Self { open: Cache::builder().max_capacity(MAX_WEIGHT).weigher(weigh).time_to_idle(LIFETIME).build() }
    }

    /// Starts a session.
    pub(super) fn start(&self, operation: String, params: Map<String, Value>) -> (String, Session) {
        let session = Session { operation, params, completed: Vec::new() };
        let id = secrets::random_text();
        self.open.insert(id.clone(), session.clone());
        (id, session)
    }

    /// Finds a session.
    pub(super) fn find(&self, id: &str) -> Option<Session> {
        self.open.get(id)
    }

    /// Notes that a stage is completed; `None` if the session is gone.
    pub(super) fn complete(&self, id: &str, stage: Stage) -> Option<Session> {
        let result = self.open.entry_by_ref(id).and_compute_with(|entry| match entry {
            None => Op::Nop,
            Some(entry) => {
                let mut session = entry.into_value();
                if !session.completed.contains(&stage) {
                    session.completed.push(stage);
                }
                Op::Put(session)
            }
        });
        result.into_entry().map(moka::Entry::into_value)
    }

    /// Ends a session. Returns whether it was still there.
    pub(super) fn finish(&self, id: &str) -> bool {
        self.open.remove(id).is_some()
    }
}
