//! The parts of a request for a new room that ruma passes on as raw JSON.

use ruma::{
    OwnedUserId, RoomVersionId, UserId, api::client::room::create_room::v3::Request,
    room_version_rules::AuthorizationRules,
};
use serde_json::{Map, Value};

use super::{PlanError, StateEvent};
use crate::rooms::content;

/// `creation_content`: extra keys of the create event.
pub(super) struct CreationContent(Map<String, Value>);

impl CreationContent {
    pub(super) fn read(request: &Request) -> Result<Self, PlanError> {
        let malformed = |reason: String| PlanError::Malformed { field: "creation_content", reason };
        let Some(raw) = &request.creation_content else {
            return Ok(Self(Map::new()));
        };
        content::check(raw.json().get()).map_err(|error| malformed(error.to_string()))?;
        // Its known keys must have their types: a create event with others would make a room that nobody can read.
        raw.deserialize().map_err(|error| malformed(error.to_string()))?;
        serde_json::from_str(raw.json().get()).map(Self).map_err(|error| malformed(error.to_string()))
    }

    /// Makes the content of the create event. `trusted` users become creators where the room version knows of several.
    pub(super) fn into_event(
        self,
        creator: &UserId,
        version: &RoomVersionId,
        rules: &AuthorizationRules,
        trusted: &[OwnedUserId],
    ) -> Map<String, Value> {
        let Self(mut content) = self;
        content.remove("creator");
        if !rules.use_room_create_sender {
            content.insert("creator".to_owned(), Value::from(creator.as_str()));
        }
        content.insert("room_version".to_owned(), Value::from(version.as_str()));
        if rules.additional_room_creators {
            let mut creators: Vec<Value> = match content.remove("additional_creators") {
                Some(Value::Array(creators)) => creators,
                _ => Vec::new(),
            };
            creators.extend(trusted.iter().map(|user| Value::from(user.as_str())));
            let mut seen = std::collections::HashSet::new();
            creators.retain(|user| user != creator.as_str() && seen.insert(user.clone()));
            if !creators.is_empty() {
                content.insert("additional_creators".to_owned(), Value::Array(creators));
            }
        }
        content
    }
}

/// `initial_state`: state events to begin with.
pub(super) struct InitialState(Vec<StateEvent>);

impl InitialState {
    pub(super) fn read(request: &Request) -> Result<Self, PlanError> {
        request
            .initial_state
            .iter()
            .map(|raw| read_event(raw.json().get()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether it sets this type with an empty state key.
    pub(super) fn contains(&self, event_type: &str) -> bool {
        self.0.iter().any(|event| is(event, event_type))
    }

    /// Removes this type with an empty state key, and returns the content that was to come last.
    pub(super) fn take(&mut self, event_type: &str) -> Option<Value> {
        let content = self.0.iter().rfind(|event| is(event, event_type)).map(|event| event.content.clone());
        self.remove(event_type);
        content
    }

    /// Removes this type with an empty state key.
    pub(super) fn remove(&mut self, event_type: &str) {
        self.0.retain(|event| !is(event, event_type));
    }

    pub(super) fn into_events(self) -> Vec<StateEvent> {
        self.0
    }
}

fn is(event: &StateEvent, event_type: &str) -> bool {
    event.event_type == event_type && event.state_key.is_empty()
}

fn read_event(json: &str) -> Result<StateEvent, PlanError> {
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(rename = "type")]
        event_type: String,
        #[serde(default)]
        state_key: String,
        content: Map<String, Value>,
    }
    let malformed = |reason: String| PlanError::Malformed { field: "initial_state", reason };
    content::check(json).map_err(|error| malformed(error.to_string()))?;
    let entry: Entry = serde_json::from_str(json).map_err(|error| malformed(error.to_string()))?;
    content::check_key(&entry.event_type, Some(&entry.state_key))
        .map_err(|error| malformed(error.to_string()))?;
    Ok(StateEvent::new(&entry.event_type, &entry.state_key, Value::Object(entry.content)))
}
