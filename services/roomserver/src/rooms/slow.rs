//! Makes records slow for tests: as slow as the resolution of a large fork.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use plexus_proto::log::v1::Intent;
use serde::Deserialize;

use super::{
    effort::Budget,
    work::{Stop, Work},
};

/// Type of the events that take long.
pub(crate) const SLOW: &str = "org.example.slow";

/// How often it was all worked out, by room.
static COMPLETED: Mutex<Option<HashMap<String, u32>>> = Mutex::new(None);

/// How often a record of the room was worked out.
pub(crate) fn completed(room_id: &str) -> u32 {
    let completed = COMPLETED.lock().expect("no test panics with it");
    completed.as_ref().and_then(|rooms| rooms.get(room_id)).copied().unwrap_or(0)
}

/// How long.
#[derive(Deserialize)]
struct Content {
    /// How many tenths of the budget of live traffic.
    tenths: u32,
    /// How long each of them takes, in milliseconds.
    ms: u64,
}

/// Takes the time that the content of an intent asks for; once for a decision, as what was resolved is remembered.
pub(super) fn decide(work: &Work<'_>, intent: &Intent) -> Result<(), Stop> {
    if intent.r#type != SLOW {
        return Ok(());
    }
    let done = vec![(Some(u128::MAX), None)];
    if work.loaded.effort.resolved(&done).is_some() {
        return Ok(());
    }
    let content: Content =
        serde_json::from_slice(&intent.content).map_err(|error| Stop::Poison(error.to_string()))?;
    for _ in 0..content.tenths {
        work.charge(usize::try_from(Budget::LIVE.steps / 10).unwrap_or(usize::MAX))?;
        // Like a resolution, it does not give way to anything.
        let until = Instant::now() + Duration::from_millis(content.ms);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }
    let mut completed = COMPLETED.lock().expect("no test panics with it");
    *completed.get_or_insert_default().entry(work.room_id().to_string()).or_default() += 1;
    work.loaded.effort.remember(done, std::sync::Arc::default());
    Ok(())
}
