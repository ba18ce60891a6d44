//! Content hash and reference hash of events that were not built here.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use ruma::{EventId, OwnedEventId, signatures};
use sha2::{Digest as _, Sha256};

use crate::{canonical::Object, version::RoomRules};

/// An event that cannot be hashed.
#[derive(Debug, thiserror::Error)]
#[error("failed to hash the event: {0}")]
pub struct HashError(String);

/// Computes the content hash: unpadded base64, as in `hashes.sha256`.
///
/// # Errors
///
/// Fails if the event is too large.
pub fn content_hash(event: &Object) -> Result<String, HashError> {
    signatures::content_hash(event).map(|hash| hash.encode()).map_err(|error| HashError(error.to_string()))
}

/// Computes the event ID from the reference hash.
///
/// # Errors
///
/// Fails if the event is too large or malformed.
pub fn event_id(event: &Object, rules: &RoomRules) -> Result<OwnedEventId, HashError> {
    let hash =
        signatures::reference_hash(event, &rules.rules).map_err(|error| HashError(error.to_string()))?;
    EventId::new_v2_or_v3(&hash).map_err(|error| HashError(error.to_string()))
}

/// Computes the event ID of a redacted event without signatures.
pub(crate) fn event_id_of(redacted: &[u8], rules: &RoomRules) -> Result<OwnedEventId, HashError> {
    let alphabet = if rules.has_url_safe_event_ids() { URL_SAFE_NO_PAD } else { STANDARD_NO_PAD };
    EventId::new_v2_or_v3(&alphabet.encode(Sha256::digest(redacted)))
        .map_err(|error| HashError(error.to_string()))
}

/// Whether the event carries its own content hash.
#[must_use]
pub fn content_hash_matches(event: &Object) -> bool {
    content_hash(event).is_ok_and(|computed| claims(event, &computed))
}

/// Whether the event carries the content hash of these bytes.
pub(crate) fn content_hash_is_of(event: &Object, hashed: &[u8]) -> bool {
    claims(event, &STANDARD_NO_PAD.encode(Sha256::digest(hashed)))
}

fn claims(event: &Object, computed: &str) -> bool {
    let hashes = event.get("hashes").and_then(|hashes| hashes.as_object());
    let claimed = hashes.and_then(|hashes| hashes.get("sha256")).and_then(|hash| hash.as_str());
    claimed.is_some_and(|claimed| claimed.trim_end_matches('=') == computed)
}
