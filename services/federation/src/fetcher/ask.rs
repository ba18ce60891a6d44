//! Questions to other servers about a room. What they answer is bounded here, and checked by whoever asked.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use plexus_s2s::{Call, CallError, Class, Peers, encoded};
use ruma::{EventId, OwnedEventId, RoomId, ServerName};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};

use super::Failure;

/// Small answers that others wait for.
const EVENTS: Class = Class { deadline: Duration::from_secs(20), max_body: 8 << 20, ..Class::EVENTS };
/// IDs of a state: a hundred bytes each.
const STATE_IDS: Class = Class { deadline: Duration::from_secs(60), max_body: 32 << 20, ..Class::STATE };
/// States.
const STATE: Class = Class { deadline: Duration::from_secs(300), max_body: 128 << 20, ..Class::STATE };
/// Most events of one answer about missing events.
pub(super) const MAX_MISSING: usize = 20;

/// An event as it came.
pub(super) type Raw = Box<RawValue>;

/// A server that is asked about a room.
#[derive(Clone, Copy)]
pub(super) struct Peer<'a> {
    pub(super) peers: &'a Peers,
    pub(super) server: &'a ServerName,
    pub(super) room_id: &'a RoomId,
}

/// The IDs of a state and of its auth chain.
#[derive(Debug, Deserialize)]
pub(super) struct StateIds {
    pub(super) pdu_ids: Vec<OwnedEventId>,
    pub(super) auth_chain_ids: Vec<OwnedEventId>,
}

/// A state and its auth chain.
#[derive(Deserialize)]
pub(super) struct FullState {
    pub(super) pdus: Vec<Raw>,
    pub(super) auth_chain: Vec<Raw>,
}

impl Peer<'_> {
    /// Events between those that we have and those whose past is missing.
    pub(super) async fn missing_events(
        self,
        earliest: &[OwnedEventId],
        latest: &[OwnedEventId],
    ) -> Result<Vec<Raw>, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            events: Vec<Raw>,
        }
        let path = format!("/_matrix/federation/v1/get_missing_events/{}", encoded(self.room_id.as_str()));
        let body = json!({
            "earliest_events": earliest, "latest_events": latest, "limit": MAX_MISSING, "min_depth": 0,
        });
        let body = Bytes::from(body.to_string());
        let answer: Answer = self.ask(Method::POST, &path, Some(body), EVENTS).await?;
        Ok(answer.events)
    }

    /// Events, and what came before them.
    pub(super) async fn backfill(self, from: &[OwnedEventId], limit: usize) -> Result<Vec<Raw>, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            pdus: Vec<Raw>,
        }
        let mut path =
            format!("/_matrix/federation/v1/backfill/{}?limit={limit}", encoded(self.room_id.as_str()));
        for event_id in from {
            path.push_str("&v=");
            path.push_str(&encoded(event_id.as_str()));
        }
        let answer: Answer = self.ask(Method::GET, &path, None, EVENTS).await?;
        Ok(answer.pdus)
    }

    /// The auth chain of an event.
    pub(super) async fn event_auth(self, event_id: &EventId) -> Result<Vec<Raw>, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            auth_chain: Vec<Raw>,
        }
        let (room, event) = (encoded(self.room_id.as_str()), encoded(event_id.as_str()));
        let path = format!("/_matrix/federation/v1/event_auth/{room}/{event}");
        let answer: Answer = self.ask(Method::GET, &path, None, EVENTS).await?;
        Ok(answer.auth_chain)
    }

    /// One event.
    pub(super) async fn event(self, event_id: &EventId) -> Result<Raw, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            pdus: Vec<Raw>,
        }
        let path = format!("/_matrix/federation/v1/event/{}", encoded(event_id.as_str()));
        let answer: Answer = self.ask(Method::GET, &path, None, EVENTS).await?;
        let refused = || Failure::Refused(format!("{} does not tell {event_id}", self.server));
        answer.pdus.into_iter().next().ok_or_else(refused)
    }

    /// The IDs of the state before an event.
    pub(super) async fn state_ids(self, event_id: &EventId) -> Result<StateIds, Failure> {
        self.ask(Method::GET, &self.state_path("state_ids", event_id), None, STATE_IDS).await
    }

    /// The state before an event.
    pub(super) async fn state(self, event_id: &EventId) -> Result<FullState, Failure> {
        self.ask(Method::GET, &self.state_path("state", event_id), None, STATE).await
    }

    fn state_path(self, what: &str, event_id: &EventId) -> String {
        let (room, event) = (encoded(self.room_id.as_str()), encoded(event_id.as_str()));
        format!("/_matrix/federation/v1/{what}/{room}?event_id={event}")
    }

    async fn ask<T: DeserializeOwned>(
        self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        class: Class,
    ) -> Result<T, Failure> {
        let call = Call { destination: self.server, method, path, body, class, is_signed: true };
        let answer = self.peers.call(call).await.map_err(|error| failure(self.server, &error))?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::Invalid(format!("{} answers with nonsense: {error}", self.server)))
    }
}

/// What a failed request means: a server that says no has said so; one that has too much to do, or is away, may be asked
/// again.
fn failure(server: &ServerName, error: &CallError) -> Failure {
    let why = format!("{server}: {}", error.chain());
    match error {
        CallError::Refused(refusal)
            if refusal.status.is_client_error()
                && refusal.status != StatusCode::TOO_MANY_REQUESTS
                && refusal.status != StatusCode::UNAUTHORIZED =>
        {
            Failure::Refused(why)
        }
        CallError::TooLarge => Failure::Refused(why),
        CallError::BackOff { .. }
        | CallError::Discover(_)
        | CallError::Connect(_)
        | CallError::Http(_)
        | CallError::TimedOut
        | CallError::Refused(_)
        | CallError::Busy
        | CallError::Request(_) => Failure::Unreachable(why),
    }
}
