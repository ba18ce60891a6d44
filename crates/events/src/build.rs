//! Building events: the fields go in, canonical JSON with hash, ID and signature comes out.
//!
//! The JSON is written once, field by field in canonical order; only the content passes through a tree.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use ruma::{EventId, OwnedEventId, RoomId, ServerName, UserId, canonical_json::redact_content_in_place};
use sha2::{Digest as _, Sha256};

use crate::{
    MAX_AUTH_EVENTS, MAX_EVENT_BYTES, MAX_FIELD_BYTES, MAX_INTEGER, MAX_PREV_EVENTS,
    canonical::{self, CanonicalError, Object},
    signing::SigningKey,
    version::{RoomRules, UnsupportedVersion},
};

/// An event that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The room version is not served.
    #[error(transparent)]
    Version(#[from] UnsupportedVersion),
    /// The content has no canonical form.
    #[error(transparent)]
    Content(#[from] CanonicalError),
    /// The content cannot be written as JSON.
    #[error("failed to write the content as JSON")]
    Serialize(#[source] serde_json::Error),
    /// The room ID does not fit the room version or the sender.
    #[error("the room ID does not fit the room version and the sender")]
    RoomId,
    /// A field exceeds 255 bytes.
    #[error("`{0}` exceeds 255 bytes")]
    FieldTooLarge(&'static str),
    /// The event exceeds 65,536 bytes.
    #[error("the event exceeds 65,536 bytes")]
    TooLarge,
    /// There are more previous events or auth events than allowed.
    #[error("too many `{0}`")]
    TooMany(&'static str),
    /// A number is out of range.
    #[error("`{0}` is out of range")]
    OutOfRange(&'static str),
}

/// The fields of an event to build.
#[derive(Debug)]
pub struct Draft<'a> {
    /// Room; `None` for the create event of room versions 12 and later.
    pub room_id: Option<&'a RoomId>,
    /// Sender.
    pub sender: &'a UserId,
    /// Event type.
    pub event_type: &'a str,
    /// State key; `None` for a message event.
    pub state_key: Option<&'a str>,
    /// Content.
    pub content: Object,
    /// What it redacts, where the room version wants that outside of the content.
    pub redacts: Option<&'a EventId>,
    /// Previous events.
    pub prev_events: &'a [OwnedEventId],
    /// Auth events.
    pub auth_events: &'a [OwnedEventId],
    /// Depth.
    pub depth: i64,
    /// When it is sent.
    pub origin_server_ts: i64,
}

/// An event with its hashes: all but the signature.
#[derive(Debug)]
pub struct Hashed<'a> {
    draft: Draft<'a>,
    /// Canonical content, before redaction.
    content: Vec<u8>,
    content_hash: String,
    /// The redacted event without signatures: what the reference hash and the signature cover.
    redacted: Vec<u8>,
    event_id: OwnedEventId,
}

/// A finished event.
#[derive(Debug, Clone)]
pub struct Built {
    /// Event ID.
    pub event_id: OwnedEventId,
    /// Canonical JSON with the signature.
    pub json: Vec<u8>,
    /// Canonical JSON of the content.
    pub content: Vec<u8>,
}

impl<'a> Draft<'a> {
    /// Computes content hash and event ID.
    ///
    /// # Errors
    ///
    /// Fails if a limit of the specification is exceeded.
    pub fn hash(mut self, rules: &RoomRules) -> Result<Hashed<'a>, BuildError> {
        self.check_limits()?;
        let content = canonical::object_to_vec(&self.content);
        if content.len() > MAX_EVENT_BYTES {
            return Err(BuildError::TooLarge);
        }
        let plain = self.assemble(&content, None, None, true);
        let content_hash = STANDARD_NO_PAD.encode(Sha256::digest(&plain));
        redact_content_in_place(&mut self.content, &rules.rules.redaction, self.event_type);
        let redacted_content = canonical::object_to_vec(&self.content);
        let redacted = self.assemble(&redacted_content, Some(&content_hash), None, false);
        let alphabet = if rules.has_url_safe_event_ids() { URL_SAFE_NO_PAD } else { STANDARD_NO_PAD };
        let reference_hash = alphabet.encode(Sha256::digest(&redacted));
        let event_id =
            EventId::new_v2_or_v3(&reference_hash).map_err(|_| BuildError::FieldTooLarge("event_id"))?;
        Ok(Hashed { draft: self, content, content_hash, redacted, event_id })
    }

    fn check_limits(&self) -> Result<(), BuildError> {
        let fields = [
            ("type", self.event_type.len()),
            ("state_key", self.state_key.map_or(0, str::len)),
            ("sender", self.sender.as_str().len()),
            ("room_id", self.room_id.map_or(0, |id| id.as_str().len())),
            ("redacts", self.redacts.map_or(0, |id| id.as_str().len())),
        ];
        if let Some((field, _)) = fields.into_iter().find(|(_, length)| *length > MAX_FIELD_BYTES) {
            return Err(BuildError::FieldTooLarge(field));
        }
        if self.prev_events.len() > MAX_PREV_EVENTS {
            return Err(BuildError::TooMany("prev_events"));
        }
        if self.auth_events.len() > MAX_AUTH_EVENTS {
            return Err(BuildError::TooMany("auth_events"));
        }
        if !(0..=MAX_INTEGER).contains(&self.depth) {
            return Err(BuildError::OutOfRange("depth"));
        }
        if !(0..=MAX_INTEGER).contains(&self.origin_server_ts) {
            return Err(BuildError::OutOfRange("origin_server_ts"));
        }
        Ok(())
    }

    /// Writes the event. The order of the fields is that of their names.
    fn assemble(
        &self,
        content: &[u8],
        content_hash: Option<&str>,
        signature: Option<(&ServerName, &str, &str)>,
        with_redacts: bool,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(content.len() + 1024);
        out.extend_from_slice(b"{\"auth_events\":");
        write_ids(self.auth_events, &mut out);
        out.extend_from_slice(b",\"content\":");
        out.extend_from_slice(content);
        out.extend_from_slice(b",\"depth\":");
        canonical::write_integer(self.depth, &mut out);
        if let Some(hash) = content_hash {
            out.extend_from_slice(b",\"hashes\":{\"sha256\":\"");
            out.extend_from_slice(hash.as_bytes());
            out.extend_from_slice(b"\"}");
        }
        out.extend_from_slice(b",\"origin_server_ts\":");
        canonical::write_integer(self.origin_server_ts, &mut out);
        out.extend_from_slice(b",\"prev_events\":");
        write_ids(self.prev_events, &mut out);
        if let (Some(redacts), true) = (self.redacts, with_redacts) {
            out.extend_from_slice(b",\"redacts\":");
            canonical::write_string(redacts.as_str(), &mut out);
        }
        if let Some(room_id) = self.room_id {
            out.extend_from_slice(b",\"room_id\":");
            canonical::write_string(room_id.as_str(), &mut out);
        }
        out.extend_from_slice(b",\"sender\":");
        canonical::write_string(self.sender.as_str(), &mut out);
        if let Some((server_name, key_id, signature)) = signature {
            out.extend_from_slice(b",\"signatures\":{");
            canonical::write_string(server_name.as_str(), &mut out);
            out.extend_from_slice(b":{");
            canonical::write_string(key_id, &mut out);
            out.extend_from_slice(b":\"");
            out.extend_from_slice(signature.as_bytes());
            out.extend_from_slice(b"\"}}");
        }
        if let Some(state_key) = self.state_key {
            out.extend_from_slice(b",\"state_key\":");
            canonical::write_string(state_key, &mut out);
        }
        out.extend_from_slice(b",\"type\":");
        canonical::write_string(self.event_type, &mut out);
        out.push(b'}');
        out
    }
}

impl Hashed<'_> {
    /// The event ID. It does not depend on the signature.
    #[must_use]
    pub fn event_id(&self) -> &EventId {
        &self.event_id
    }

    /// The canonical content.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The event without a signature.
    #[must_use]
    pub fn unsigned_json(&self) -> Vec<u8> {
        self.draft.assemble(&self.content, Some(&self.content_hash), None, true)
    }

    /// Signs the event.
    ///
    /// # Errors
    ///
    /// Fails if the event is too large with its signature.
    pub fn sign(self, server_name: &ServerName, key: &SigningKey) -> Result<Built, BuildError> {
        let signature = key.sign(&self.redacted);
        let signature = (server_name, key.key_id(), signature.as_str());
        let json = self.draft.assemble(&self.content, Some(&self.content_hash), Some(signature), true);
        if json.len() > MAX_EVENT_BYTES {
            return Err(BuildError::TooLarge);
        }
        Ok(Built { event_id: self.event_id, json, content: self.content })
    }
}

fn write_ids(ids: &[OwnedEventId], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        canonical::write_string(id.as_str(), out);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests;
