//! Content hash and reference hash of events that were not built here.

use ruma::{EventId, OwnedEventId, signatures};

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

/// Whether the event carries its own content hash.
#[must_use]
pub fn content_hash_matches(event: &Object) -> bool {
    let claimed = event
        .get("hashes")
        .and_then(|hashes| hashes.as_object())
        .and_then(|hashes| hashes.get("sha256"))
        .and_then(|hash| hash.as_str());
    match (claimed, content_hash(event)) {
        (Some(claimed), Ok(computed)) => claimed.trim_end_matches('=') == computed,
        _ => false,
    }
}
