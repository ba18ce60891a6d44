//! What users hear of by `/sync`.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Room, User};
use crate::wire::{Json as _, Request};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

impl User {
    /// `GET /sync`, from the start and without waiting unless the query says else.
    pub(crate) fn syncs(&self) -> Request {
        self.get("/sync").query("set_presence", "offline")
    }

    /// `GET /sync` from a token on.
    pub(crate) fn syncs_since(&self, since: &str) -> Request {
        self.syncs().query("since", since)
    }

    /// Where `/sync` goes on from.
    pub(crate) async fn sync_token(&self) -> String {
        self.syncs().await.ok().text("/next_batch")
    }

    /// Syncs on from a token until an answer is as wanted, and returns that answer.
    pub(crate) async fn syncs_until(
        &self,
        since: &str,
        what: &str,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let end = Instant::now() + PATIENCE;
        let mut since = since.to_owned();
        loop {
            let answer = self.syncs_since(&since).query("timeout", 1000).await.ok();
            if is_wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "{} waited in vain for {what}; last: {answer}", self.name);
            since = answer.text("/next_batch");
        }
    }

    /// Syncs on from a token until an event is in the timeline of a room that they are in; returns the event.
    pub(crate) async fn hears(&self, since: &str, room: &Room, event: &str) -> Value {
        let find = |answer: &Value| {
            timeline(answer, room).into_iter().find(|found| found["event_id"] == event).cloned()
        };
        let answer = self.syncs_until(since, event, |answer| find(answer).is_some()).await;
        find(&answer).unwrap_or_default()
    }
}

/// The section of a room in an answer to `/sync`; `kind` is `join`, `invite`, `knock` or `leave`.
pub(crate) fn section<'a>(answer: &'a Value, kind: &str, room: &Room) -> Option<&'a Value> {
    answer.get("rooms")?.get(kind)?.get(&room.0)
}

/// The timeline of a room that one is in, in an answer to `/sync`.
pub(crate) fn timeline<'a>(answer: &'a Value, room: &Room) -> Vec<&'a Value> {
    let events = section(answer, "join", room).and_then(|room| room["timeline"]["events"].as_array());
    events.into_iter().flatten().collect()
}

/// The state before the timeline of a room that one is in, in an answer to `/sync`.
pub(crate) fn state<'a>(answer: &'a Value, room: &Room) -> Vec<&'a Value> {
    let events = section(answer, "join", room).and_then(|room| room["state"]["events"].as_array());
    events.into_iter().flatten().collect()
}
