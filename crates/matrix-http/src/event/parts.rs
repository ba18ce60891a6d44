//! The fields that are read and written. What is not looked into stays raw text.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::filled;

#[derive(Deserialize)]
pub(super) struct Stored<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) event_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) sender: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) state_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) content: &'a RawValue,
    pub(super) origin_server_ts: i64,
    #[serde(borrow, default)]
    pub(super) redacts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) unsigned: Option<&'a RawValue>,
    /// Only redactions inside `unsigned` carry it.
    #[serde(default)]
    pub(super) event_id: Option<String>,
}

#[derive(Deserialize, Default)]
pub(super) struct StoredUnsigned<'a> {
    #[serde(borrow, default)]
    pub(super) redacted_because: Option<&'a RawValue>,
}

#[derive(Serialize)]
pub(super) struct Client<'a> {
    pub(super) content: &'a RawValue,
    pub(super) event_id: &'a str,
    pub(super) origin_server_ts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redacts: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) room_id: Option<&'a str>,
    pub(super) sender: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state_key: Option<&'a str>,
    #[serde(rename = "type")]
    pub(super) event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unsigned: Option<Unsigned<'a>>,
}

#[derive(Serialize)]
pub(super) struct Unsigned<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) age: Option<i64>,
    #[serde(rename = "m.relations", skip_serializing_if = "Option::is_none")]
    pub(super) relations: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) membership: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prev_content: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prev_sender: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redacted_because: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replaces_state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transaction_id: Option<&'a str>,
}

impl Unsigned<'_> {
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            age,
            relations,
            membership,
            prev_content,
            prev_sender,
            redacted_because,
            replaces_state,
            transaction_id,
        } = self;
        age.is_none()
            && relations.is_none()
            && membership.is_none()
            && prev_content.is_none()
            && prev_sender.is_none()
            && redacted_because.is_none()
            && replaces_state.is_none()
            && transaction_id.is_none()
    }
}

#[derive(Serialize)]
pub(super) struct Stripped<'a> {
    pub(super) content: &'a RawValue,
    pub(super) sender: &'a str,
    pub(super) state_key: &'a str,
    #[serde(rename = "type")]
    pub(super) event_type: &'a str,
}

/// What an `m.room.redaction` redacts: clients get it both at the top level (where room versions up to 10 have it) and
/// in the content (where version 11 put it).
#[derive(Default)]
pub(super) struct RedactedEvent {
    /// The event that is redacted.
    pub(super) event_id: Option<String>,
    /// The content, if it had to be completed.
    pub(super) content: Option<Box<RawValue>>,
}

impl RedactedEvent {
    pub(super) fn find(stored: &Stored<'_>) -> Result<Self, serde_json::Error> {
        if stored.event_type != "m.room.redaction" {
            return Ok(Self::default());
        }
        let top = stored.redacts.and_then(text);
        // A redacted redaction may have lost it in both places; content that is not an object stays as it is.
        let Ok(mut content) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(stored.content.get())
        else {
            return Ok(Self { event_id: top, content: None });
        };
        if let Some(inner) = content.get("redacts").copied() {
            return Ok(Self { event_id: top.or_else(|| text(inner)), content: None });
        }
        let Some(event_id) = top else {
            return Ok(Self::default());
        };
        let raw = serde_json::value::to_raw_value(&event_id)?;
        content.insert(Cow::Borrowed("redacts"), &raw);
        let content = serde_json::value::to_raw_value(&content)?;
        Ok(Self { event_id: Some(event_id), content: Some(content) })
    }
}

fn text(raw: &RawValue) -> Option<String> {
    let text: String = serde_json::from_str(raw.get()).ok()?;
    filled(&text).map(str::to_owned)
}
