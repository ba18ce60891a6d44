//! A connection of sliding sync.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    actor::{Room, User},
    wait::eventually,
    wire::Json as _,
};

pub(super) const PATH: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection of a user.
pub(super) struct Connection<'a> {
    user: &'a User,
    pub(super) pos: Option<String>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(user: &'a User) -> Self {
        Self { user, pos: None }
    }

    /// Asks once and goes on from the answer.
    pub(super) async fn asks(&mut self, body: &Value, timeout: u64) -> Value {
        let mut request = self.user.post(PATH, body.clone()).query("timeout", timeout);
        if let Some(pos) = &self.pos {
            request = request.query("pos", pos);
        }
        let answer = request.await.ok();
        self.pos = Some(answer.text("/pos"));
        answer
    }

    /// Begins anew until the answer is as wanted: servers may tell a little later than they answer.
    pub(super) async fn begins(
        &mut self,
        what: &str,
        body: &Value,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let ask = || async { self.user.post(PATH, body.clone()).await.ok() };
        let answer = eventually(what, ask, is_wanted).await;
        self.pos = Some(answer.text("/pos"));
        answer
    }

    /// Asks on until an answer tells of no room.
    pub(super) async fn comes_to_rest(&mut self, body: &Value) {
        let is_at_rest = |answer: &Value| answer["rooms"].as_object().is_none_or(serde_json::Map::is_empty);
        self.until("rest", body, is_at_rest).await;
    }

    /// Asks on until an answer is as wanted, and returns that answer.
    pub(super) async fn until(
        &mut self,
        what: &str,
        body: &Value,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.asks(body, 500).await;
            if is_wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "{} waited in vain for {what}; last: {answer}", self.user.name);
        }
    }
}

/// A list of all rooms with a window from the first on.
pub(super) fn all(window: u64, limit: u64, state: &Value) -> Value {
    json!({"lists": {"all": {"ranges": [[0, window - 1]], "timeline_limit": limit, "required_state": state}}})
}

/// A room in an answer.
pub(super) fn room_of<'a>(answer: &'a Value, room: &Room) -> Option<&'a Value> {
    answer["rooms"].get(&room.0)
}

/// IDs of events.
pub(super) fn ids(events: &Value) -> Vec<String> {
    events.as_array().into_iter().flatten().map(|event| event.text("/event_id")).collect()
}

/// Types and state keys of events, sorted.
pub(super) fn keys(events: &Value) -> Vec<String> {
    let events = events.as_array().into_iter().flatten();
    let mut keys: Vec<String> =
        events.map(|event| format!("{}|{}", event.text("/type"), event.text("/state_key"))).collect();
    keys.sort();
    keys
}
