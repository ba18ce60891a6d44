//! Events as clients see them.
//!
//! Events are stored as the canonical JSON that was signed. Here they lose what only servers need and gain what only
//! clients see; content stays the text it was.

mod parts;
mod relations;

use plexus_proto::room::v1::RoomEvent;
use ruma::{DeviceId, UserId};
use serde_json::value::RawValue;

use parts::{Client, Stored, StoredUnsigned, Stripped, Unsigned};
pub use relations::{Viewer, bundle};

/// Why an event cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The stored JSON lacks what every event has.
    #[error("stored event is malformed")]
    Malformed(#[from] serde_json::Error),
}

/// Which form of an event is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFormat {
    /// `ClientEvent`: with `room_id`.
    Client,
    /// `ClientEventWithoutRoomID`: for `/sync`, where the room is known.
    Sync,
}

/// What clients are told of an event beside the event.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventMeta<'a> {
    /// Event ID.
    pub event_id: &'a str,
    /// Room.
    pub room_id: &'a str,
    /// Transaction ID; set it only for the device that sent the event.
    pub txn_id: Option<&'a str>,
    /// Membership of the viewer at the event.
    pub membership: Option<&'a str>,
    /// For a state event: the event it replaced.
    pub replaces_event_id: Option<&'a str>,
    /// For a state event: JSON text of the content it replaced.
    pub prev_content: Option<&'a [u8]>,
    /// For a state event: the sender of the event it replaced.
    pub prev_sender: Option<&'a str>,
    /// Now, in milliseconds since the Unix epoch: for `age`, which is left out without it.
    pub now_ms: Option<i64>,
    /// What relations have made of the event (`m.relations`), as [`bundle`] makes it.
    pub relations: Option<&'a RawValue>,
}

impl<'a> EventMeta<'a> {
    /// Takes from an event what the viewer may be told.
    #[must_use]
    pub fn of(event: &'a RoomEvent, viewer: Option<(&UserId, &DeviceId)>, now_ms: i64) -> Self {
        let own = viewer.is_some_and(|(_, device)| {
            !event.txn_device_id.is_empty() && event.txn_device_id == device.as_str()
        });
        Self {
            event_id: &event.event_id,
            room_id: &event.room_id,
            txn_id: if own { filled(&event.txn_id) } else { None },
            membership: filled(&event.viewer_membership),
            replaces_event_id: filled(&event.replaces_event_id),
            prev_content: Some(&event.prev_content[..]).filter(|content| !content.is_empty()),
            prev_sender: filled(&event.prev_sender),
            now_ms: Some(now_ms),
            relations: None,
        }
    }
}

/// Puts an event into client format.
pub fn client_event(
    json: &[u8],
    meta: EventMeta<'_>,
    format: EventFormat,
) -> Result<Box<RawValue>, EventError> {
    let stored: Stored<'_> = serde_json::from_slice(json)?;
    show(&stored, &meta, format)
}

/// Puts an event that the room server answered into client format, for this viewer, without what relations made of it.
///
/// The transaction ID goes only to the device that sent the event.
pub fn client_room_event(
    event: &RoomEvent,
    viewer: &UserId,
    device: &DeviceId,
    now_ms: i64,
    format: EventFormat,
) -> Result<Box<RawValue>, EventError> {
    Viewer { user_id: viewer, device_id: device, now_ms, format }.show(event, None)
}

/// Puts a state event into stripped format: for invites, knocks and the like.
pub fn stripped_event(json: &[u8]) -> Result<Box<RawValue>, EventError> {
    let stored: Stored<'_> = serde_json::from_slice(json)?;
    let stripped = Stripped {
        content: stored.content,
        sender: &stored.sender,
        state_key: stored.state_key.as_deref().unwrap_or_default(),
        event_type: &stored.event_type,
    };
    Ok(serde_json::value::to_raw_value(&stripped)?)
}

fn show(stored: &Stored<'_>, meta: &EventMeta<'_>, format: EventFormat) -> Result<Box<RawValue>, EventError> {
    let kept: StoredUnsigned<'_> = match stored.unsigned {
        Some(unsigned) => serde_json::from_str(unsigned.get())?,
        None => StoredUnsigned::default(),
    };
    let redacted_because = kept.redacted_because.map(|event| redaction(event, meta, format)).transpose()?;
    let prev_content: Option<&RawValue> = meta.prev_content.map(serde_json::from_slice).transpose()?;
    let unsigned = Unsigned {
        age: meta.now_ms.map(|now| now.saturating_sub(stored.origin_server_ts).max(0)),
        relations: meta.relations,
        membership: meta.membership,
        prev_content,
        prev_sender: meta.prev_sender,
        redacted_because: redacted_because.as_deref(),
        replaces_state: meta.replaces_event_id,
        transaction_id: meta.txn_id,
    };
    let redacted = parts::RedactedEvent::find(stored)?;
    let client = Client {
        content: redacted.content.as_deref().unwrap_or(stored.content),
        event_id: meta.event_id,
        origin_server_ts: stored.origin_server_ts,
        redacts: redacted.event_id.as_deref(),
        room_id: match format {
            EventFormat::Client => Some(meta.room_id),
            EventFormat::Sync => None,
        },
        sender: &stored.sender,
        state_key: stored.state_key.as_deref(),
        event_type: &stored.event_type,
        unsigned: (!unsigned.is_empty()).then_some(unsigned),
    };
    Ok(serde_json::value::to_raw_value(&client)?)
}

/// The redaction event inside `unsigned` is shown like any other, but nothing is nested in it once more.
fn redaction(
    event: &RawValue,
    meta: &EventMeta<'_>,
    format: EventFormat,
) -> Result<Box<RawValue>, EventError> {
    let mut stored: Stored<'_> = serde_json::from_str(event.get())?;
    stored.unsigned = None;
    let event_id = stored.event_id.take().unwrap_or_default();
    let meta =
        EventMeta { event_id: &event_id, room_id: meta.room_id, now_ms: meta.now_ms, ..EventMeta::default() };
    show(&stored, &meta, format)
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
