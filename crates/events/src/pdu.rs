//! Events as the authorization rules look at them.

use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    events::TimelineEventType, state_res::Event,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An event that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("malformed event")]
pub struct PduError(#[from] serde_json::Error);

/// An event, its content still text.
#[derive(Debug, Clone)]
pub struct Pdu {
    event_id: OwnedEventId,
    rejected: bool,
    fields: Fields,
}

#[derive(Debug, Clone, Deserialize)]
struct Fields {
    #[serde(rename = "type")]
    event_type: TimelineEventType,
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    origin_server_ts: UInt,
    state_key: Option<String>,
    content: Box<RawValue>,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    depth: UInt,
    #[serde(default, deserialize_with = "event_id_or_nothing")]
    redacts: Option<OwnedEventId>,
}

/// Reads a field that only means something in events of one type: elsewhere it may hold anything.
fn event_id_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OwnedEventId>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().and_then(|id| id.try_into().ok()))
}

impl Pdu {
    /// Reads the JSON of an event that was checked before: one of the database, or one just built.
    ///
    /// # Errors
    ///
    /// Fails if a field is missing or has the wrong type.
    pub fn from_checked(event_id: OwnedEventId, json: &[u8], rejected: bool) -> Result<Self, PduError> {
        Ok(Self { event_id, rejected, fields: serde_json::from_slice(json)? })
    }

    /// Event ID.
    #[must_use]
    pub fn id(&self) -> &EventId {
        &self.event_id
    }

    /// Depth.
    #[must_use]
    pub fn depth(&self) -> i64 {
        self.fields.depth.into()
    }

    /// Content as JSON text.
    #[must_use]
    pub fn content_text(&self) -> &str {
        self.fields.content.get()
    }

    /// Reads the content, or fields of it.
    ///
    /// # Errors
    ///
    /// Fails if the content does not fit the type.
    pub fn content_as<'a, T: Deserialize<'a>>(&'a self) -> Result<T, PduError> {
        Ok(serde_json::from_str(self.fields.content.get())?)
    }

    /// Previous events.
    #[must_use]
    pub fn prev_event_ids(&self) -> &[OwnedEventId] {
        &self.fields.prev_events
    }

    /// Auth events.
    #[must_use]
    pub fn auth_event_ids(&self) -> &[OwnedEventId] {
        &self.fields.auth_events
    }
}

impl Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        self.fields.room_id.as_deref()
    }

    fn sender(&self) -> &UserId {
        &self.fields.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        MilliSecondsSinceUnixEpoch(self.fields.origin_server_ts)
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.fields.event_type
    }

    fn content(&self) -> &RawValue {
        &self.fields.content
    }

    fn state_key(&self) -> Option<&str> {
        self.fields.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.fields.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.fields.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.fields.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.rejected
    }
}
