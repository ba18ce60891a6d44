//! Sliding sync: one thing at a time, and a model client that is told everything in every order.

mod encryption;
mod limits;
mod model;
mod rooms;
mod waiting;

use serde_json::{Value, json};

use super::world::{Replica, World};

const ALICE: &str = "@alice:test";
const BOB: &str = "@bob:test";

/// A connection, and the replica that it asks.
struct Connection<'a> {
    world: &'a World,
    replica: &'a Replica,
    token: String,
    pos: Option<String>,
}

impl<'a> Connection<'a> {
    fn new(world: &'a World, replica: &'a Replica) -> Self {
        Self { world, replica, token: world.login(ALICE, "D"), pos: None }
    }

    /// Asks after all that was committed was read, and goes on from the answer.
    async fn ask(&mut self, body: &Value) -> Value {
        self.replica.settle(self.world).await;
        let (status, answer) = self.replica.sliding(&self.token, &self.query(), body).await;
        assert_eq!(status, 200, "{answer}");
        self.pos = Some(answer["pos"].as_str().expect("an answer has a position").to_owned());
        answer
    }

    fn query(&self) -> Vec<(&str, &str)> {
        self.pos.iter().map(|pos| ("pos", pos.as_str())).collect()
    }
}

/// A list of all rooms.
fn all(window: u64, limit: u64, state: &[(&str, &str)]) -> Value {
    json!({"lists": {"all": {"ranges": [[0, window - 1]], "timeline_limit": limit, "required_state": state}}})
}

/// IDs of events.
fn ids(events: &Value) -> Vec<&str> {
    events.as_array().into_iter().flatten().filter_map(|event| event["event_id"].as_str()).collect()
}

/// Types and state keys of events, sorted.
fn keys(events: &Value) -> Vec<String> {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let events = events.as_array().into_iter().flatten();
    let mut keys: Vec<_> =
        events.map(|event| format!("{}|{}", text(event, "type"), text(event, "state_key"))).collect();
    keys.sort();
    keys
}

/// Rooms of an answer.
fn rooms(answer: &Value) -> Vec<&str> {
    answer["rooms"].as_object().into_iter().flatten().map(|(room, _)| room.as_str()).collect()
}
